"""One writer at a time: locks that end with their process, however that ends, on every system.

A lock is a small file: inside a folder, ``.crosscam.lock``; beside any other file, ``.NAME.lock``. It is removed when
it is let go of; one that a kill left is free.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from crosscam.errors import BusyError, StorageError
from crosscam.system.files import clear_unfinished, make_folder

FOLDER_LOCK = ".crosscam.lock"
# Places whose lock is held by what called; another thread of this process is somebody else.
_mine: ContextVar[frozenset[tuple[int, str]]] = ContextVar("places", default=frozenset())
_UNKNOWN, _SIGNED = "another process", "process "


class Lock:
    """A lock on one lock file in a folder that exists. Two of them exclude each other within one process as well."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = FileLock(file, thread_local=False)

    def take(self, *, wait: float = 0.0) -> bool:
        """Take the lock; False if somebody else holds it for ``wait`` seconds. OSError if it cannot be written."""
        try:
            self._lock.acquire(timeout=-1 if math.isinf(wait) else wait)
        except Timeout:
            return False
        if self._is_ours():
            with suppress(OSError):  # Windows lets nobody write a locked file.
                self._write(f"{_SIGNED}{os.getpid()} on {socket.gethostname()}")
        return True

    def holder(self) -> str:
        """Who holds it, in words, as far as that can be seen."""
        try:
            text = self.file.read_text(encoding="utf-8", errors="replace")[:200].strip()
        except OSError:  # Windows lets nobody else read a locked file.
            return _UNKNOWN
        return text if text.startswith(_SIGNED) and "\n" not in text else _UNKNOWN

    def release(self, *, remove: bool = False) -> None:
        """Let the next one in, and ``remove`` the lock file; a waiting process sees that it was removed."""
        if self._is_ours():
            with suppress(OSError):
                if remove:
                    self.file.unlink()
                else:
                    self._write("")
        self._lock.release()

    def _write(self, text: str) -> None:
        with open(self.file, "r+b") as file:
            file.write(text.encode())
            file.truncate()

    def _is_ours(self) -> bool:
        """Where the system has no locks, the file itself is the lock, and what it says belongs to the library."""
        with suppress(OSError):
            content = self.file.read_bytes()
            return not content or content.startswith(_SIGNED.encode())
        return False


@contextmanager
def only_writer(place: Path, *, folder: bool = False) -> Iterator[None]:
    """Keep every other crosscam process from writing to a file, or ``folder`` (made then), for the time of the block.

    What killed writers left unfinished there is removed first. A block within a block of the same place is the same.

    Raises:
        BusyError: another process writes there; the message says which.
        StorageError: nothing can be written there.
    """
    # "." has no name that a lock beside it could have.
    there = Path(os.path.abspath(place))
    key = (os.getpid(), str(there))
    if key in _mine.get():
        yield
        return
    with exclusive(
        there / FOLDER_LOCK if folder else there.parent / f".{there.name}.lock",
        lambda who: BusyError(f"{place} is being written by {who}. Wait until it is done, or choose another place."),
        lambda why: StorageError(f"Cannot write {place} ({why}). Check the path, and who may write there."),
    ):
        before = _mine.set(_mine.get() | {key})
        try:
            clear_unfinished(there, folder=folder)
            yield
        finally:
            _mine.reset(before)


@contextmanager
def exclusive(
    file: Path, busy: Callable[[str], Exception], cannot: Callable[[str], Exception], *, wait: float = 0.0
) -> Iterator[None]:
    """Hold a lock file, whose folder is made, for the time of the block; ``wait`` seconds for another process.

    Raises:
        What ``busy`` makes of the process that holds it, and ``cannot`` of the reason why it cannot be written.
    """
    try:
        make_folder(file.parent)
        lock = Lock(file)
        taken = lock.take(wait=wait)
    except OSError as error:
        raise cannot(error.strerror or str(error)) from error
    if not taken:
        raise busy(lock.holder())
    try:
        yield
    finally:
        lock.release(remove=True)


@contextmanager
def held(file: Path, *, wait: bool, remove: bool = False) -> Iterator[bool]:
    """Hold a lock file for the time of the block; False if another process holds it and it does not ``wait``."""
    lock = Lock(file)
    if not lock.take(wait=math.inf if wait else 0.0):
        yield False
        return
    try:
        yield True
    finally:
        lock.release(remove=remove)
