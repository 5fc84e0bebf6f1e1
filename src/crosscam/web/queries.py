"""Uploaded pictures while somebody searches with them: in memory alone, few, and not for long."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.filling import small_jpeg

PREVIEW_HEIGHT = 384
PREVIEW_WIDTH = 512


@dataclass(frozen=True, eq=False)
class Query:
    """Pictures of one person to search with.

    Attributes:
        key: the same for the same bytes, so that feedback finds them again.
        descriptors: (N, D), one for each picture.
        previews: N small JPEGs.
        entry: the gallery entry that is searched with, None for uploads.
        camid: the camera of the query where it is known.
    """

    key: str
    descriptors: NDArray[np.float32]
    previews: tuple[bytes, ...] = ()
    entry: int | None = None
    camid: int | None = None


def key_of(pictures: Sequence[bytes]) -> str:
    """Name of a set of pictures, from their bytes."""
    digest = hashlib.sha256()
    for data in sorted(hashlib.sha256(picture).digest() for picture in pictures):
        digest.update(data)
    return f"p{digest.hexdigest()[:24]}"


def preview(image: NDArray[np.uint8], height: int = PREVIEW_HEIGHT, width: int = PREVIEW_WIDTH) -> bytes:
    """A small JPEG of an (H, W, 3) RGB image, without anything that the original file said about itself."""
    return small_jpeg(image, height, width, quality=85)


class QueryStore:
    """The last uploads.

    Args:
        limit: how many; the least recently used goes first.
        seconds: how long one is kept without use.
        clock: seconds, for tests.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._kept: OrderedDict[str, tuple[float, Query]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, query: Query) -> None:
        """Keep a query."""
        with self._lock:
            self._kept[query.key] = (self._clock(), query)
            self._kept.move_to_end(query.key)
            self._drop()

    def get(self, key: str) -> Query | None:
        """A kept query, None where there is none (any more)."""
        with self._lock:
            self._drop()
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept[key] = (self._clock(), found[1])
            self._kept.move_to_end(key)
            return found[1]

    def _drop(self) -> None:
        oldest = self._clock() - self._seconds
        while self._kept and (len(self._kept) > self._limit or next(iter(self._kept.values()))[0] < oldest):
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
