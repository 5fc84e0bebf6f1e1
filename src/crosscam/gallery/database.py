"""What a gallery knows about its entries, in SQLite: the one place that decides what counts.

Write-ahead log with ``synchronous=FULL``: a commit is on the disk when it returns. ``secure_delete`` overwrites what is
removed. Descriptors and thumbnails are not in here, so neither the log nor a freed page ever holds a byte of them.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosscam.errors import ArgumentError, GalleryError
from crosscam.gallery import camera_names
from crosscam.gallery.database_file import FORMAT, SINCE_1, about_crc, connect, readable, set_up
from crosscam.gallery.entries import Entry, ModelIdentity
from crosscam.gallery.people_document import PRUNED
from crosscam.gallery.segments import entry_crc, value_crc
from crosscam.models.output import Block, Layout
from crosscam.system.text import parse_json

IDS_AT_ONCE = 500
CHECKED = "id, path, camid, pid, time, tracks.name, added, row_crc, thumb_size, thumb_crc"
"""What the checksum of an entry covers; where its row and thumbnail lie is covered by their own checksums."""
Slot = tuple[int, int, int, int | None, int | None, int, int | None]
"""id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc."""


class Database:
    """One connection to a gallery's database; not for several threads at once."""

    def __init__(self, file: Path, *, write: bool) -> None:
        self._file = file
        try:
            self.connection = connect(file, "mode=rw" if write else "mode=ro")
            if write:
                set_up(self.connection)
            found = int(self.meta("format"))
        except (sqlite3.Error, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise GalleryError(f"{file} cannot be read as a gallery: {reason}. Restore it from a backup.") from error
        if not 1 <= found <= FORMAT:
            self.connection.close()
            raise GalleryError(f"{file} has format {found}, this crosscam reads {FORMAT}. Install a later crosscam.")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on the disk at the end of the block.

        Raises:
            GalleryError: the disk is full or fails; nothing is changed.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error | OSError):
                raise GalleryError(f"{self._file.parent} cannot be written: {error}. Nothing was changed.") from error
            raise

    def meta(self, key: str) -> Any:
        """A value about the gallery."""
        with readable(f"its {key}"):
            (text,) = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return parse_json(text)

    def settle(self) -> None:
        """Commit something that nobody committed before, so that what is read from now on is final.

        A writer that is killed between the flush of its commit and the note of it in the log's shared index has not
        committed for those who share that index, but has for whoever builds it anew when all of them are gone. A commit
        overwrites what that one left in the log; the value differs each time, so that the log's chain of checksums,
        which decides what a new index takes in, breaks right here.

        Raises:
            GalleryError: the disk is full or fails.
        """
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('writer', ?)", (json.dumps(secrets.token_hex(8)),))

    def upgrade(self, sums: Callable[[int], int | None]) -> None:
        """Give a gallery of format 1 its checksums.

        Args:
            sums: the sum of a segment's rows; None where they are damaged, so that it is never vouched for.
        """
        if int(self.meta("format")) == FORMAT:
            return
        with self.transaction() as connection:
            for statement in SINCE_1:
                connection.execute(statement)
            for number in self.segments():
                connection.execute("UPDATE segments SET row_sum = ? WHERE number = ?", (sums(number), number))
            self.check_entries(None)
            self.drop_feedback()
            for name, text in connection.execute("SELECT name, value FROM documents").fetchall():
                connection.execute("UPDATE documents SET crc = ? WHERE name = ?", (value_crc(name, text), name))
            texts = dict(connection.execute("SELECT key, value FROM meta"))
            added = (("crc", about_crc(texts)), ("format", FORMAT))
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in added]
            )

    def check_entries(self, ids: Sequence[int] | None) -> None:
        """Within a transaction: the checksums of entries as they are now; None for all."""
        query = f"SELECT {CHECKED} FROM entries LEFT JOIN tracks ON track = code"
        found = self.connection.execute(query) if ids is None else self._by_id(f"{query} WHERE id IN", ids)
        checks = [(entry_crc(fields), fields[0]) for fields in found]
        self.connection.executemany("UPDATE entries SET entry_crc = ? WHERE id = ?", checks)

    def sums(self) -> dict[int, int | None]:
        """What the rows of the entries of each segment add up to, by number; None where that is not known."""
        if int(self.meta("format")) < FORMAT:
            return dict.fromkeys(self.segments())
        found = dict(self.connection.execute("SELECT number, row_sum FROM segments"))
        return {number: total if isinstance(total, int) else None for number, total in found.items()}

    def model(self) -> ModelIdentity:
        """What made the descriptors."""
        with readable("its model"):
            found = self.meta("model")
            return ModelIdentity(str(found["fingerprint"]), str(found["name"]))

    def layout(self) -> Layout:
        """The blocks of a descriptor."""
        with readable("its layout"):
            found = self.meta("layout")
            return tuple(Block(n, a, b, parts, kind, (top, low)) for n, a, b, parts, kind, top, low in found)

    def data_version(self) -> int:
        """Changes when another connection has changed anything."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def bump_generation(self) -> None:
        """Within a transaction: tell readers that entries were changed, removed or moved."""
        self.connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def segments(self) -> dict[int, tuple[int, int]]:
        """Counted rows and thumbnail bytes of each segment, by number."""
        found = self.connection.execute("SELECT number, rows, thumb_bytes FROM segments ORDER BY number").fetchall()
        if not all(isinstance(value, int) and 0 <= value < 1 << 48 for row in found for value in row):
            raise sqlite3.DatabaseError("a segment has no number, or no size that a file can have")
        return {number: (rows, thumbs) for number, rows, thumbs in found}

    def track_names(self) -> dict[str, int]:
        """The code of each track."""
        return dict(self.connection.execute("SELECT name, code FROM tracks"))

    def track_codes(self, names: Sequence[str | None]) -> list[int | None]:
        """Within a transaction: codes of tracks, new ones made."""
        codes: dict[str | None, int | None] = {None: None}
        for name in names:
            if name not in codes:
                self.connection.execute("INSERT OR IGNORE INTO tracks(name) VALUES (?)", (name,))
                row = self.connection.execute("SELECT code FROM tracks WHERE name = ?", (name,)).fetchone()
                codes[name] = row[0]
        return [codes[name] for name in names]

    def drop_unused_tracks(self) -> None:
        """Within a transaction: the name of a track goes with its last entry."""
        self.connection.execute(
            "DELETE FROM tracks WHERE code NOT IN (SELECT track FROM entries WHERE track IS NOT NULL)"
        )

    def camera_names(self) -> dict[int, str]:
        """Names by camid, of those cameras that have one."""
        return camera_names.read_names(self.document(camera_names.DOCUMENT))

    def put_camera_names(self, names: Mapping[int, str]) -> None:
        """Within a transaction: all names of cameras."""
        self.put_document(camera_names.DOCUMENT, camera_names.as_document(names))

    def drop_unused_cameras(self) -> bool:
        """Within a transaction: the name of a camera goes with its last entry; whether one went."""
        names = self.camera_names()
        if not names:
            return False
        used = {camid for (camid,) in self.connection.execute("SELECT DISTINCT camid FROM entries")}
        left = {camid: name for camid, name in names.items() if camid in used}
        if len(left) < len(names):
            self.put_camera_names(left)
        return len(left) < len(names)

    def entries(self, ids: Sequence[int], *, checked: bool = False) -> dict[int, Entry]:
        """Those of these entries that there are, by id.

        Args:
            ids: which.
            checked: compare each with its checksum, where the gallery has some; takes as long again as to read them.
        Raises:
            sqlite3.DatabaseError: one is not what was kept.
        """
        checked = checked and int(self.meta("format")) >= FORMAT
        columns = f"{CHECKED}, entry_crc" if checked else "id, path, camid, pid, time, tracks.name, added"
        found, names = {}, self.camera_names()
        for row in self._by_id(f"SELECT {columns} FROM entries LEFT JOIN tracks ON track = code WHERE id IN", ids):
            if checked and entry_crc(row[:-1]) != row[-1]:
                raise sqlite3.DatabaseError(f"entry {row[0]} is not what was kept (checksum)")
            found[row[0]] = Entry(*(*row[:7], names.get(row[2])))
        return found

    def known_paths(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Those of some paths that entries have, with the newest entry of each; looks at every entry once."""
        asked = json.dumps(list(paths))
        columns, names = "id, path, camid, pid, time, tracks.name, added", self.camera_names()
        query = (
            f"SELECT {columns} FROM entries LEFT JOIN tracks ON track = code "
            "WHERE path IN (SELECT value FROM json_each(?)) ORDER BY id"
        )
        return {row[1]: Entry(*(*row, names.get(row[2]))) for row in self.connection.execute(query, (asked,))}

    def slots(self, ids: Sequence[int]) -> dict[int, Slot]:
        """Where those of these entries that there are lie, by id."""
        columns = "id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc"
        return {row[0]: row for row in self._by_id(f"SELECT {columns} FROM entries WHERE id IN", ids)}

    def checkpoint(self) -> bool:
        """Empty the write-ahead log, so that nothing removed is left in it; False while a reader holds it."""
        (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def document(self, name: str, *, checked: bool = True) -> Any:
        """A document, None where there is none.

        Args:
            name: of the document.
            checked: compare it with its checksum, where it has one (galleries of format 1 have none).
        Raises:
            sqlite3.DatabaseError: it is not what was kept.
        """
        row = self.connection.execute("SELECT * FROM documents WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        with readable(f"the document {name}"):
            if checked and len(row) > 2 and value_crc(name, row[1]) != row[2]:
                raise ArgumentError("it is not what was kept (checksum)")
            return parse_json(row[1])

    def put_document(self, name: str, value: Any) -> None:
        """Within a transaction: set, or remove for None."""
        if value is None:
            self.connection.execute("DELETE FROM documents WHERE name = ?", (name,))
            return
        text = json.dumps(value)
        row = (name, text, value_crc(name, text))
        self.connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", row)

    def drop_feedback(self) -> None:
        """Within a transaction: feedback, answers and journeys go with the entries that they name."""
        for name, pruned in PRUNED.items():
            left = pruned(self.document(name, checked=False), self.slots)
            if left is not None:
                self.put_document(name, left or None)

    def vacuum(self) -> None:
        """Write the database anew from what is in it.

        ``secure_delete`` overwrites what is removed where it stands; copies that the database made when it moved cells
        between its pages are not overwritten, and no such copy is in a database that is written anew.
        """
        self.connection.execute("VACUUM")

    def _by_id(self, query: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(ids), IDS_AT_ONCE):
            some = [int(i) for i in ids[first : first + IDS_AT_ONCE]]
            yield from self.connection.execute(f"{query} ({','.join('?' * len(some))})", some)
