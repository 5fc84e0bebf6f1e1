"""What the server remembers of a gallery between requests, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from crosscam.gallery import Gallery, GalleryInfo

T = TypeVar("T")
FRESH_SECONDS = 3.0


class Remembered(Generic[T]):
    """A value that is worked out again when entries come or go.

    Args:
        info: the gallery's state.
        work_out: gives the value.
    """

    def __init__(self, info: Callable[[], GalleryInfo], work_out: Callable[[], T]) -> None:
        self._info, self._work_out = info, work_out
        self._kept: tuple[object, T] | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """The value for the entries of now."""
        with self._lock:
            info = self._info()
            state = (info.entries, info.wiped, info.added, info.cameras)
            if self._kept is None or self._kept[0] != state:
                self._kept = (state, self._work_out())
            return self._kept[1]


class State:
    """What ``gallery.info()`` said last; where that is old, it is asked again in the background.

    Args:
        gallery: opened for reading.
        clock: seconds, for tests.
    """

    def __init__(self, gallery: Gallery, clock: Callable[[], float] = time.monotonic) -> None:
        self._gallery, self._clock = gallery, clock
        self._known: tuple[float, GalleryInfo] | None = None
        self._asking: threading.Thread | None = None
        self._lock = threading.Lock()

    def info(self) -> GalleryInfo:
        """The last known state; the first time, and after :meth:`changed`, the present one."""
        with self._lock:
            if self._known is None:
                self._known = (self._clock(), self._gallery.info())
            elif self._clock() - self._known[0] > FRESH_SECONDS and not (self._asking and self._asking.is_alive()):
                self._asking = threading.Thread(target=self._ask, daemon=True)
                self._asking.start()
            return self._known[1]

    def _ask(self) -> None:
        found = self._gallery.info()
        with self._lock:
            # A change in the meantime has made the answer old before it was there.
            if self._known is not None:
                self._known = (self._clock(), found)

    def changed(self) -> None:
        """Forget what is known, because it is so no longer."""
        with self._lock:
            self._known = None

    def close(self) -> None:
        """Wait until all requests to the gallery are done."""
        if self._asking:
            self._asking.join()
