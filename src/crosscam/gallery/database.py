"""What a gallery knows about its entries, in SQLite: the one place that decides what counts.

Write-ahead log with ``synchronous=FULL``: a commit is on the disk when it returns. ``secure_delete`` overwrites what is
removed. Descriptors and thumbnails are not in here, so neither the log nor a freed page ever holds a byte of them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from crosscam.errors import GalleryError
from crosscam.gallery.records import Entry, ModelIdentity
from crosscam.models.output import Block, Layout

FORMAT = 1
DATABASE = "gallery.sqlite"
IDS_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tracks(code INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE segments(number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, thumb_bytes INTEGER NOT NULL);
CREATE TABLE entries(
    id INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL, row INTEGER NOT NULL, camid INTEGER NOT NULL,
    pid INTEGER, time REAL, track INTEGER, added REAL NOT NULL, path TEXT NOT NULL,
    thumb_at INTEGER, thumb_size INTEGER, row_crc INTEGER NOT NULL, thumb_crc INTEGER);
CREATE TABLE wipes(segment INTEGER NOT NULL, row INTEGER NOT NULL, thumb_at INTEGER, thumb_size INTEGER);
"""

Slot = tuple[int, int, int, int | None, int | None, int, int | None]
"""id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc."""


class Database:
    """One connection to a gallery's database; not for several threads at once."""

    def __init__(self, file: Path, *, write: bool) -> None:
        self._file = file
        try:
            self.connection = _connect(file, "mode=rw" if write else "mode=ro")
            if write:
                _set_up(self.connection)
            found = int(self.meta("format"))
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise GalleryError(f"{file} cannot be read as a gallery: {error}. Restore it from a backup.") from error
        if found != FORMAT:
            raise GalleryError(f"{file} has format {found}, this crosscam reads {FORMAT}. Install a later crosscam.")

    @staticmethod
    def create(file: Path, layout: Layout, model: ModelIdentity, segment_rows: int) -> None:
        """A new database without entries, complete when it has its name.

        Raises:
            GalleryError: it cannot be written.
        """
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)
        about = {
            "format": FORMAT,
            "model": {"fingerprint": model.fingerprint, "name": model.name},
            "layout": [[b.name, b.start, b.stop, b.num_parts, b.kind, *b.rows] for b in layout],
            "segment_rows": segment_rows,
            "generation": 0,
        }
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                _set_up(connection)
                connection.executescript(_SCHEMA)
                rows = [(key, json.dumps(value)) for key, value in about.items()]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            part.rename(file)
        except (sqlite3.Error, OSError) as error:
            raise GalleryError(
                f"{file} cannot be written: {error}. Free some space, or choose another place."
            ) from error

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
        (text,) = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(text)

    def model(self) -> ModelIdentity:
        """What made the descriptors."""
        return ModelIdentity(**self.meta("model"))

    def layout(self) -> Layout:
        """The blocks of a descriptor."""
        return tuple(Block(n, a, b, parts, kind, (top, low)) for n, a, b, parts, kind, top, low in self.meta("layout"))

    def data_version(self) -> int:
        """Changes when another connection has changed anything."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def bump_generation(self) -> None:
        """Within a transaction: tell readers that entries were changed, removed or moved."""
        self.connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def segments(self) -> dict[int, tuple[int, int]]:
        """Counted rows and thumbnail bytes of each segment, by number."""
        found = self.connection.execute("SELECT number, rows, thumb_bytes FROM segments ORDER BY number")
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

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """Those of these entries that there are, by id."""
        columns = "id, path, camid, pid, time, tracks.name, added"
        return {
            row[0]: Entry(*row)
            for row in self._by_id(f"SELECT {columns} FROM entries LEFT JOIN tracks ON track = code WHERE id IN", ids)
        }

    def slots(self, ids: Sequence[int]) -> dict[int, Slot]:
        """Where those of these entries that there are lie, by id."""
        columns = "id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc"
        return {row[0]: row for row in self._by_id(f"SELECT {columns} FROM entries WHERE id IN", ids)}

    def checkpoint(self) -> bool:
        """Empty the write-ahead log, so that nothing removed is left in it; False while a reader holds it."""
        (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def document(self, name: str) -> Any:
        """A document, None where there is none."""
        row = self.connection.execute("SELECT value FROM documents WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_document(self, name: str, value: Any) -> None:
        """Set, or remove for None."""
        with self.transaction() as connection:
            if value is None:
                connection.execute("DELETE FROM documents WHERE name = ?", (name,))
            else:
                connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (name, json.dumps(value)))

    def _by_id(self, query: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(ids), IDS_AT_ONCE):
            some = [int(i) for i in ids[first : first + IDS_AT_ONCE]]
            yield from self.connection.execute(f"{query} ({','.join('?' * len(some))})", some)


def _set_up(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchone()


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    def opened(options: str) -> sqlite3.Connection:
        uri = f"{file.absolute().as_uri()}?{options}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout=10000")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return connection

    try:
        return opened(mode)
    except sqlite3.OperationalError:
        # A reader makes the log's shared memory where there is none. In a folder that it cannot write, without a log,
        # nobody writes either, and the database is as good as a constant.
        log = file.with_name(f"{file.name}-wal")
        if mode == "mode=ro" and not os.access(file.parent, os.W_OK) and not log.exists():
            return opened("mode=ro&immutable=1")
        raise
