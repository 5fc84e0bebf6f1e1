"""How a gallery lies in a Milvus database: its address, its two collections, and filters in Milvus' words.

The collection NAME holds the entries. Its vector is a kept row (see :mod:`crosscam.gallery.segments`) under the inner
product and a flat index, so that any weights rank exactly. The collection NAME_about holds JSON values by key. Milvus
has no missing values that every version compares alike, so numbers and texts stand for them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crosscam.errors import GalleryError
from crosscam.gallery.entries import Entry, NewEntry, Where
from crosscam.system import needed
from crosscam.system.files import make_folder
from crosscam.system.text import parse_json

NO_PID = -(2**62)
NO_TIME = 9e99
LONGEST_TEXT = 65_535
NOBODY = "id < 0"
EVERYBODY = "id >= 0"
FIELDS = ("id", "path", "camid", "pid", "time", "track", "added")
LITE = "milvus+lite://"
# Entries that one request reads or writes.
AT_ONCE = 1000


@dataclass(frozen=True)
class Address:
    """Where a Milvus gallery is.

    Attributes:
        uri: what the client connects to.
        collection: of the entries.
    """

    uri: str
    collection: str

    @staticmethod
    def parse(place: str) -> Address:
        """From ``milvus://host:port/collection``, ``https://host:port/collection`` or ``milvus+lite://FILE.db``.

        Raises:
            GalleryError: no host, or no collection.
        """
        if place.startswith(LITE):
            return Address(place.removeprefix(LITE), "crosscam")
        parts = urlsplit(place)
        collection = parts.path.strip("/")
        if not parts.netloc or not collection.isidentifier():
            raise GalleryError(f"{place} is not a valid gallery address. Expected milvus://HOST:PORT/COLLECTION.")
        scheme = "http" if parts.scheme == "milvus" else parts.scheme
        return Address(f"{scheme}://{parts.netloc}", collection)

    @property
    def about(self) -> str:
        """The collection of values about the gallery."""
        return f"{self.collection}_about"


def connect(address: Address, token: str) -> Any:
    """A client.

    Raises:
        GalleryError: pymilvus is missing, or the database does not answer.
    """
    pymilvus = needed("pymilvus", "A gallery in Milvus needs pymilvus: pip install 'crosscam[milvus]'.", GalleryError)
    try:
        if "://" not in address.uri:
            make_folder(Path(address.uri).absolute().parent)
        return pymilvus.MilvusClient(address.uri, token=token)
    except (pymilvus.MilvusException, ConnectionError, OSError) as error:
        raise GalleryError(
            f"{address.uri} does not answer: {error}. A Lite file serves one process at a time."
        ) from error


def create_collections(client: Any, address: Address, width: int) -> None:
    """The two empty collections, with vectors of ``width`` numbers."""
    from pymilvus import DataType

    entries = client.create_schema(auto_id=False)
    entries.add_field("id", DataType.INT64, is_primary=True)
    entries.add_field("row", DataType.FLOAT_VECTOR, dim=width)
    entries.add_field("camid", DataType.INT64)
    entries.add_field("pid", DataType.INT64)
    entries.add_field("time", DataType.DOUBLE)
    entries.add_field("added", DataType.DOUBLE)
    for name in ("track", "path", "thumbnail"):
        entries.add_field(name, DataType.VARCHAR, max_length=LONGEST_TEXT)
    about = client.create_schema(auto_id=False)
    about.add_field("key", DataType.VARCHAR, is_primary=True, max_length=256)
    about.add_field("value", DataType.VARCHAR, max_length=LONGEST_TEXT)
    about.add_field("row", DataType.FLOAT_VECTOR, dim=2)
    for name, schema in ((address.collection, entries), (address.about, about)):
        flat = client.prepare_index_params()
        flat.add_index("row", index_type="FLAT", metric_type="IP")
        client.create_collection(name, schema=schema, index_params=flat, consistency_level="Strong")


def condition(where: Where) -> str:
    """Conditions as a Milvus expression."""
    parts = [EVERYBODY]
    for column, name in (("id", "ids"), ("pid", "pids"), ("camid", "camids"), ("track", "tracks")):
        only, without = getattr(where, name), getattr(where, f"not_{name}")
        if only is not None:
            parts.append(f"{column} in {_values(only)}" if only else NOBODY)
        if without:
            parts.append(f"{column} not in {_values(without)}")
    if where.time_from is not None or where.time_to is not None:
        parts.append("time < 8e99")
    parts += [f"time >= {float(where.time_from)!r}"] if where.time_from is not None else []
    parts += [f"time <= {float(where.time_to)!r}"] if where.time_to is not None else []
    parts += [f"added < {float(where.added_before)!r}"] if where.added_before is not None else []
    return " and ".join(parts)


def to_record(id_: int, entry: NewEntry, row: list[float], thumbnail: bytes | None, added: float) -> dict[str, Any]:
    """One entry as Milvus keeps it.

    Raises:
        GalleryError: a text or thumbnail that is too long for it.
    """
    text = "" if thumbnail is None else base64.b64encode(thumbnail).decode()
    for name, value in (("path", entry.path), ("track", entry.track or ""), ("thumbnail", text)):
        if len(value.encode()) > LONGEST_TEXT:
            raise GalleryError(f"The {name} of {entry.path[:80]} has more than {LONGEST_TEXT:,} bytes in Milvus.")
    return {
        "id": id_,
        "row": row,
        "camid": int(entry.camid),
        "pid": NO_PID if entry.pid is None else int(entry.pid),
        "time": NO_TIME if entry.time is None else float(entry.time),
        "track": entry.track or "",
        "path": entry.path,
        "added": added,
        "thumbnail": text,
    }


def to_entry(record: dict[str, Any], names: Mapping[int, str]) -> Entry:
    """An entry from what Milvus keeps, and the names of cameras."""
    pid, time = int(record["pid"]), float(record["time"])
    return Entry(
        int(record["id"]),
        record["path"],
        int(record["camid"]),
        None if pid == NO_PID else pid,
        None if time == NO_TIME else time,
        record["track"] or None,
        float(record["added"]),
        names.get(int(record["camid"])),
    )


class Tables:
    """The two collections of a gallery, read and written by key.

    Args:
        client: as :func:`connect` gives it.
        address: of the gallery.
        place: the same as the user wrote it, for messages.
    """

    def __init__(self, client: Any, address: Address, place: str) -> None:
        self._client, self._address, self._place = client, address, place

    def select(self, where: Where, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What an entry holds, of all entries that fit."""
        found = self._client.query_iterator(
            self._address.collection, batch_size=AT_ONCE, filter=condition(where), output_fields=list(fields)
        )
        while batch := found.next():
            yield from batch
        found.close()

    def records(self, ids: Sequence[int], fields: Sequence[str]) -> list[dict[str, Any]]:
        """What the named entries hold, in that order.

        Raises:
            GalleryError: an entry that is not there.
        """
        found: dict[int, dict[str, Any]] = {}
        for first in range(0, len(ids), AT_ONCE):
            some = Where(ids=tuple(int(i) for i in ids[first : first + AT_ONCE]))
            for record in self._client.query(
                self._address.collection, filter=condition(some), output_fields=list(fields)
            ):
                found[int(record["id"])] = record
        lost = [int(i) for i in ids if int(i) not in found]
        if lost:
            raise GalleryError(f"{self._place} has no entry {lost[0]}. It may have been forgotten.")
        return [found[int(i)] for i in ids]

    def about(self, key: str) -> Any:
        """A JSON value by key; None without one."""
        found = self._client.query(self._address.about, filter=f"key == {json.dumps(key)}", output_fields=["value"])
        return parse_json(found[0]["value"]) if found else None

    def set_about(self, key: str, value: Any) -> None:
        """Keep a JSON value; None removes it."""
        if value is None:
            self._client.delete(self._address.about, filter=f"key == {json.dumps(key)}")
            return
        self._client.upsert(self._address.about, [{"key": key, "value": json.dumps(value), "row": [1.0, 0.0]}])


def _values(values: Iterable[object]) -> str:
    return json.dumps([v if isinstance(v, str) else int(v) for v in values])  # type: ignore[call-overload]
