"""Who asked for what, and when: one JSON line for each search and each change, appended and never rewritten.

No descriptor and no image is written, only numbers of entries. A line is one write to a file opened for appending, so
lines of several threads or processes do not mix; it is on disk before the answer goes out.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crosscam.errors import WebError
from crosscam.system.text import parse_json

FILE = "audit.jsonl"
TAIL_BYTES = 1_000_000
TRIES = 3


class AuditError(WebError):
    """A line that could not be kept; what it was to tell of must not be answered."""


class AuditLog:
    """The audit log of a gallery.

    Args:
        path: the file; it is made, readable for its owner alone.
    Raises:
        WebError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._handle = _opened(path)
        except OSError as error:
            raise WebError(
                f"The audit log {path} cannot be written ({error.strerror}). Searches are not served without one; "
                "give --audit FILE."
            ) from error

    def write(self, who: str, what: str, **details: Any) -> None:
        """Append one line.

        Args:
            who: the token's holder, or "local".
            what: the verb, such as "search".
            details: what JSON holds; no descriptors, no images.
        Raises:
            AuditError: the disk is full, or the log was moved and cannot be made anew.
        """
        line = {"when": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who, "what": what, **details}
        data = (json.dumps(line, ensure_ascii=True) + "\n").encode()
        with self._lock:
            try:
                for _ in range(TRIES):
                    if not self._in_place():
                        # Renamed or deleted, as by a program that changes logs over: the line belongs into the
                        # new file.
                        old, self._handle = self._handle, _opened(self.path)
                        os.close(old)
                    self._append(data)
                    if self._in_place():
                        return
            except OSError as error:
                raise AuditError(
                    f"The audit log cannot be written ({error.strerror}), so nothing is answered."
                ) from error
        raise AuditError("The audit log is replaced again and again, so nothing is answered.")

    def _append(self, data: bytes) -> None:
        if os.write(self._handle, data) != len(data):
            raise AuditError("The audit log cannot be written (the disk is full), so nothing is answered.")
        os.fsync(self._handle)

    def _in_place(self) -> bool:
        """Whether the open file is the one that has the log's name."""
        try:
            return os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last lines, newest first; a line that a crash tore is left out."""
        try:
            with os.fdopen(_regular(self.path, os.O_RDONLY), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:  # moved away, and nothing has happened since
            return []
        except OSError as error:
            raise AuditError(f"The audit log cannot be read ({error.strerror}).") from error
        found = []
        for line in reversed(lines):
            try:
                value = parse_json(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


class NotAFileError(OSError):
    """A pipe or a device in the place of the audit log."""


def _opened(path: Path) -> int:
    return _regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _regular(path: Path, flags: int) -> int:
    """Open an ordinary file: a pipe would wait for its other end for ever, and a device need not end."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotAFileError(errno.EINVAL, "it is not an ordinary file")
    return handle
