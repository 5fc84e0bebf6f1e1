"""Files of descriptors: .npz, .parquet, or a folder of .parquet files; and the parts that they are joined from.

Parts are known by number, each with a digest and with what its images looked like.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_number
from crosscam.errors import ArgumentError, DataError
from crosscam.system import needed
from crosscam.system.files import GONE, Stamp, folder_in_place, stamp_of, write_atomically

NEXT_STEP = "Free some space, and give the same command again: it goes on from there."


@dataclass(frozen=True, slots=True)
class Entry:
    """One image and what is known of it; see :class:`crosscam.Sample`.

    The camera's name is not in the representation, by which an unfinished extraction of an earlier version is known.
    """

    path: Path
    pid: int | None = None
    camid: int | None = None
    time: float | None = None
    track: str | None = None
    camera: str | None = field(default=None, repr=False)


def check_name(out: Path) -> None:
    """Refuse a name that no file of descriptors can have, before any work is done.

    Raises:
        DataError: another ending, something else of that name, or a package is missing.
    """
    is_folder = out.suffix == ""
    if out.suffix not in (".npz", ".parquet", "") or out.is_dir():
        raise DataError(
            f"{out} cannot be written. Expected the name of a file that ends in .npz or .parquet, or of a new folder "
            "for a Parquet dataset."
        )
    if is_folder and out.exists():
        raise DataError(f"{out} exists and is a file. Give the name of a new folder, or of an .npz or .parquet file.")
    if out.suffix != ".npz":
        _pyarrow()


def write_joined(out: Path, parts: PartsOnDisk, fingerprint: str) -> None:
    """Write a result from its parts.

    Args:
        out: .npz with ``paths``, ``descriptors`` and ``fingerprint``, and ``pids``, ``camids``, ``times``, ``tracks``,
            ``cameras`` (names) where any is known (the smallest 64-bit number, NaN or nothing where one is not);
            .parquet with ``path``, ``pid``, ``camid``, ``time``, ``track``, ``camera`` and ``descriptor`` (a list of
            fixed length, float32) and the fingerprint in its metadata; or a folder of such files, one a part.
        parts: what to write.
        fingerprint: of the model.
    """
    if out.suffix == ".npz":
        write_atomically(out, lambda path: _write_npz(path, parts, fingerprint), next_step=NEXT_STEP)
        return
    pairs = zip(parts.entries(), parts.rows(), strict=True)
    if out.suffix == ".parquet":
        write_atomically(out, lambda path: _write_parquet(path, pairs, fingerprint), next_step=NEXT_STEP)
        return
    with folder_in_place(out, next_step=NEXT_STEP) as unfinished:
        for number, pair in enumerate(pairs):
            write = partial(_write_parquet, pairs=iter([pair]), fingerprint=fingerprint)
            write_atomically(unfinished / f"part-{number:06d}.parquet", write)


# What an .npz file holds where a number is not known, as an exported gallery does.
UNKNOWN = -(2**63)


def _whole(value: int | None, name: str) -> int | None:
    return None if value is None else whole_number(value, name)


def _time(entry: Entry) -> float | None:
    if entry.time is None:
        return None
    if isinstance(entry.time, bool) or not isinstance(entry.time, int | float | np.integer | np.floating):
        raise ArgumentError(f"{entry.path}: time is {entry.time!r}. Expected seconds, or None.")
    return float(entry.time)


def _track(entry: Entry) -> str | None:
    if entry.track is not None and not isinstance(entry.track, str):
        raise ArgumentError(f"{entry.path}: track is {entry.track!r}. Expected a name, or None.")
    return entry.track


# By the name in Parquet: the kind of number, what an .npz file holds where it is not known, and the value.
COLUMNS: dict[str, tuple[str, Any, Callable[[Entry], Any]]] = {
    "path": ("<U", "", lambda e: str(e.path)),
    "pid": ("<i8", UNKNOWN, lambda e: _whole(e.pid, "pid")),
    "camid": ("<i8", UNKNOWN, lambda e: _whole(e.camid, "camid")),
    "time": ("<f8", np.nan, _time),
    "track": ("<U", "", _track),
    "camera": ("<U", "", lambda e: e.camera),
}


def _write_npz(path: Path, parts: PartsOnDisk, fingerprint: str) -> None:
    count = sum(map(len, parts.entries()))
    dim = next((rows.shape[1] for rows in parts.rows()), 0)
    known = {name for entries in parts.entries() for e in entries for name in COLUMNS if getattr(e, name) is not None}
    with open(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (kind, _, _) in COLUMNS.items():
            if name not in known | {"path"}:
                continue
            if kind == "<U":
                kind += str(max((len(x) for entries in parts.entries() for x in _cells(entries, name)), default=1) or 1)
            _write_array(archive, f"{name}s", kind, (count,), (_cells(entries, name) for entries in parts.entries()))
        _write_array(archive, "descriptors", "<f4", (count, dim), parts.rows())
        _write_array(archive, "fingerprint", f"<U{len(fingerprint)}", (), iter([fingerprint]))


def _cells(entries: Sequence[Entry], column: str) -> list[Any]:
    _, unknown, value = COLUMNS[column]
    return [unknown if (found := value(e)) is None else found for e in entries]


def _write_array(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], pieces: Iterator[Any]) -> None:
    """One array of an .npz whose pieces are never in memory together, which numpy's own writer would need."""
    dtype = np.dtype(kind)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        written = 0
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype=dtype).tobytes())
            written += len(piece) if shape else 1
    if written != (shape[0] if shape else 1):
        raise DataError(f"{written:,} of {shape[0] if shape else 1:,} {name} were there to be written. Extract again.")


def _pyarrow() -> Any:
    said = "Writing Parquet needs pyarrow: pip install 'crosscam[data]'; or give an .npz file."
    needed("pyarrow.parquet", said)
    return needed("pyarrow", said)


def _write_parquet(path: Path, pairs: Iterator[tuple[list[Entry], NDArray[np.float32]]], fingerprint: str) -> None:
    pyarrow = _pyarrow()
    types = {"<U": pyarrow.string(), "<i8": pyarrow.int64(), "<f8": pyarrow.float64()}
    writer = None
    try:
        for entries, rows in pairs:
            columns = [pyarrow.array([value(e) for e in entries], types[kind]) for kind, _, value in COLUMNS.values()]
            numbers = pyarrow.array(rows.reshape(-1), pyarrow.float32())
            columns.append(pyarrow.FixedSizeListArray.from_arrays(numbers, rows.shape[1]))
            fields = [(name, types[kind]) for name, (kind, _, _) in COLUMNS.items()]
            fields.append(("descriptor", pyarrow.list_(pyarrow.float32(), rows.shape[1])))
            schema = pyarrow.schema(fields, metadata={"crosscam.fingerprint": fingerprint})
            writer = writer or pyarrow.parquet.ParquetWriter(path, schema)
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
    finally:
        if writer is not None:
            writer.close()


def as_array(stamps: Sequence[Stamp]) -> NDArray[np.int64]:
    """(m, 3) int64."""
    return np.array(stamps, np.int64).reshape(-1, len(GONE))


@dataclass(frozen=True, eq=False)
class Part:
    """What came of one part's images.

    Attributes:
        kept: (n,) places of the images that were described, within the part.
        descriptors: (n, D) float32.
        failures: place and reason of each image that could not be read.
        stamps: (m, 3) what all m images looked like when they were read; see :func:`stamp_of`.
    """

    kept: NDArray[np.int64]
    descriptors: NDArray[np.float32]
    failures: tuple[tuple[int, str], ...] = ()
    stamps: NDArray[np.int64] = field(default_factory=lambda: as_array(()))


class PartsOnDisk:
    """The folder of the parts; :meth:`entries` and :meth:`rows` start again at each call, with one part in memory.

    Args:
        entries: all images of the extraction.
        folder: where the parts are.
        part_size: images of each part but the last.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path, part_size: int) -> None:
        self.all_entries, self.folder, self.part_size = entries, folder, part_size
        self.numbers = range(-(-len(entries) // part_size))

    def images(self, number: int) -> Sequence[Entry]:
        """The images of one part."""
        return self.all_entries[number * self.part_size : (number + 1) * self.part_size]

    def file(self, number: int) -> Path:
        """Where a part is kept."""
        return self.folder / f"{number:06d}.npz"

    def save(self, number: int, part: Part) -> None:
        """Write a part (StorageError: the disk is full)."""
        places, reasons = zip(*part.failures, strict=True) if part.failures else ((), ())
        arrays: dict[str, NDArray[Any]] = {
            "kept": part.kept,
            "descriptors": part.descriptors,
            "failed": np.array(places, np.int64),
            "reasons": np.array(reasons, np.str_),
            "stamps": part.stamps,
        }
        digest = np.array(_digest(number, arrays))

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays, digest=digest)  # type: ignore[arg-type]

        write_atomically(self.file(number), write, next_step=NEXT_STEP)

    def is_good(self, number: int) -> bool:
        """Whether a part is there, whole, of this number, and of the images as they are now."""
        try:
            with np.load(self.file(number)) as found:
                arrays = {name: found[name] for name in found.files}
            whole = str(arrays.pop("digest")) == _digest(number, arrays)
        except Exception:  # a flipped bit makes the reader of the archive raise nearly anything
            return False
        images = self.images(number)
        if not whole or len(arrays["kept"]) + len(arrays["failed"]) != len(images):
            return False
        return bool(np.array_equal(arrays["stamps"], as_array([stamp_of(e.path) for e in images])))

    def _read(self, number: int, name: str) -> NDArray[np.generic]:
        with np.load(self.file(number)) as part:
            found: NDArray[np.generic] = part[name]
        return found

    def entries(self) -> Iterator[list[Entry]]:
        """The described images of each part."""
        for number in self.numbers:
            images = self.images(number)
            yield [images[int(i)] for i in self._read(number, "kept")]

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """(n, D) descriptors of each part."""
        for number in self.numbers:
            yield self._read(number, "descriptors").astype(np.float32)

    def failures(self) -> Iterator[tuple[Path, str]]:
        """Path and reason of each image that could not be read."""
        for number in self.numbers:
            images = self.images(number)
            pairs = zip(self._read(number, "failed"), self._read(number, "reasons"), strict=True)
            yield from ((images[int(i)].path, str(reason)) for i, reason in pairs)


def _digest(number: int, arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(str(number).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
