"""The SQLite file of a gallery: its tables, formats and checksums, how it is made, and how it is opened."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from crosscam.errors import GalleryError
from crosscam.gallery.entries import ModelIdentity
from crosscam.gallery.segments import value_crc
from crosscam.models.output import Layout

FORMAT = 2
DATABASE = "gallery.sqlite"
ABOUT = ("model", "layout", "segment_rows")


_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents(name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER) WITHOUT ROWID;
CREATE TABLE tracks(code INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE segments(number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, thumb_bytes INTEGER NOT NULL,
    row_sum INTEGER);
CREATE TABLE entries(
    id INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL, row INTEGER NOT NULL, camid INTEGER NOT NULL,
    pid INTEGER, time REAL, track INTEGER, added REAL NOT NULL, path TEXT NOT NULL,
    thumb_at INTEGER, thumb_size INTEGER, row_crc INTEGER NOT NULL, thumb_crc INTEGER,
    entry_crc INTEGER);
CREATE TABLE wipes(segment INTEGER NOT NULL, row INTEGER NOT NULL, thumb_at INTEGER, thumb_size INTEGER);
"""
SINCE_1 = (
    "ALTER TABLE segments ADD COLUMN row_sum INTEGER",
    "ALTER TABLE documents ADD COLUMN crc INTEGER",
    "ALTER TABLE entries ADD COLUMN entry_crc INTEGER",
)


def create_database(file: Path, layout: Layout, model: ModelIdentity, segment_rows: int) -> None:
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
            set_up(connection)
            connection.executescript(_SCHEMA)
            rows = [(key, json.dumps(value)) for key, value in about.items()]
            rows.append(("crc", json.dumps(about_crc(dict(rows)))))
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        part.rename(file)
    except (sqlite3.Error, OSError) as error:
        raise GalleryError(f"{file} cannot be written: {error}. Free some space, or choose another place.") from error


@contextmanager
def readable(what: str) -> Iterator[None]:
    """What SQLite gives although nobody can have written it, as an error of the database.

    Raises:
        sqlite3.DatabaseError: a value of another kind than was written.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError) as error:
        raise sqlite3.DatabaseError(f"{what} cannot be read: {error}") from error


def about_crc(texts: Mapping[str, str]) -> int:
    """The checksum of what a gallery says of its model and shape, from its values as JSON."""
    return value_crc("about", "\n".join(texts[key] for key in ABOUT))


def set_up(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchone()


def connect(file: Path, mode: str) -> sqlite3.Connection:
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
