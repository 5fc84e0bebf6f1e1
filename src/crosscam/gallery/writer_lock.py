"""One writer at a time, by a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from crosscam.errors import GalleryBusyError, GalleryError

LOCK = "writer.lock"


class WriterLock:
    """Held from its making to :meth:`release`.

    ``flock`` belongs to the open file and not to the process: two writers in one process exclude each other as well,
    and nobody loses the lock because something else in the process reads and closes the file.

    Raises:
        GalleryBusyError: somebody else holds it; the message says who.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise GalleryError(
                f"{folder} cannot be written: {error.strerror or error}. Check who may write there."
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = os.read(self._handle, 200).decode(errors="replace") or "another writer"
            os.close(self._handle)
            raise GalleryBusyError(
                f"{folder} is being written by {who}. Wait until it is done, or open the gallery for reading."
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def release(self) -> None:
        """Let the next writer in."""
        if self._handle < 0:
            return
        os.ftruncate(self._handle, 0)
        os.close(self._handle)
        self._handle = -1

    def abandon(self) -> None:
        """In a forked child: let go of the parent's lock, which ends with the last process that has the file open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
