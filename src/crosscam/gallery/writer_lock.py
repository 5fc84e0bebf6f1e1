"""One writer at a time, by a lock that ends with its process, however that ends."""

from __future__ import annotations

from pathlib import Path

from crosscam.errors import GalleryBusyError, GalleryError
from crosscam.system.locks import Lock

LOCK = "writer.lock"


class WriterLock:
    """Held from its making to :meth:`release`. Two writers in one process exclude each other as well.

    Raises:
        GalleryBusyError: somebody else holds it; the message says who.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = Lock(folder / LOCK)
        try:
            taken = self._lock.take()
        except OSError as error:
            raise GalleryError(
                f"{folder} cannot be written: {error.strerror or error}. Check who may write there."
            ) from error
        if not taken:
            raise GalleryBusyError(
                f"{folder} is being written by {self._lock.holder()}. Wait until it is done, or open the gallery for "
                "reading."
            )

    def release(self) -> None:
        """Let the next writer in."""
        self._lock.release()
