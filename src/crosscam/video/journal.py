"""Detections of a video while it is watched, so that after a kill no frame goes to the detector twice."""

from __future__ import annotations

import json
import os
import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from crosscam.inference.engines.base import cache_folder
from crosscam.system.files import cannot_write
from crosscam.video.detections import Detections, as_detections

FLUSHED_EVERY = 2.0


class Journal:
    """A file with one line for each frame, in order; boxes and scores alone, readable by its owner alone.

    Args:
        name: of the video and all that decides its detections.
    Raises:
        StorageError: at each call: the cache folder is full, or cannot be written.
    """

    def __init__(self, name: str) -> None:
        self.path = cache_folder() / "watch" / f"{name}.jsonl"
        self._file: IO[str] | None = None
        self._old: IO[bytes] | None = None
        self._flushed = clock.monotonic()

    def __enter__(self) -> Journal:
        """Open it; a line that a kill cut in two is taken off."""
        with self._written():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(handle, "r+b") as file:
                file.truncate(_whole_lines(file))
            self._old = open(self.path, "rb")
            self._file = open(self.path, "a", encoding="ascii")
        return self

    def __exit__(self, *error: object) -> None:
        """Close it; it stays for the next time."""
        files, self._old, self._file = (self._old, self._file), None, None
        with self._written():
            for file in files:
                if file is not None:
                    file.close()

    def read(self, number: int) -> Detections | None:
        """What was found in a frame; None once the frames go on where the file ends."""
        if self._old is None:
            return None
        line = self._old.readline()
        found = _parsed(line)
        if found is not None and found[0] == number:
            return found[1]
        # The end, or another sequence of frames: what follows is not of this one.
        end = self._old.tell() - len(line)
        self._old.close()
        self._old = None
        if self._file is not None:
            self._file.truncate(end)
        return None

    def write(self, number: int, found: Detections) -> None:
        """Keep what was found in a frame."""
        assert self._file is not None
        rows = np.column_stack((found.boxes, found.scores)).tolist()
        with self._written():
            self._file.write(json.dumps([number, rows], separators=(",", ":")) + "\n")
            if clock.monotonic() - self._flushed > FLUSHED_EVERY:
                self._file.flush()
                self._flushed = clock.monotonic()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Tell where there is no space, or no right to write."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path, error, "Free some space, or set CROSSCAM_CACHE to another folder.") from error

    def remove(self) -> None:
        """Once the video is watched to its end."""
        self.__exit__()
        self.path.unlink(missing_ok=True)


def _whole_lines(file: IO[bytes]) -> int:
    """Bytes up to the end of the last whole line."""
    size = file.seek(0, os.SEEK_END)
    while size > 0:
        start = max(0, size - 65_536)
        file.seek(start)
        found = file.read(size - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _parsed(line: bytes) -> tuple[int, Detections] | None:
    try:
        number, rows = json.loads(line)
        return int(number), as_detections(np.array(rows, dtype=np.float64).reshape(-1, 5))
    except (ValueError, TypeError):
        return None
