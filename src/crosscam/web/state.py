"""The state of a gallery, at hand without waiting: counting a million entries takes seconds, a page milliseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from crosscam.gallery import Gallery, GalleryInfo

FRESH_SECONDS = 3.0


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
        """Wait until nobody asks the gallery any more."""
        if self._asking:
            self._asking.join()
