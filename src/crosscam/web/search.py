"""What a search asks for, and what it found, in plain objects that the page, the API and the exports share.

Uploaded images stay in memory while they are searched with: few, and not for long.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.calibration.calibration import Calibration, Verdict
from crosscam.gallery import Entry, Hit, SearchOptions, Where
from crosscam.gallery.filling import small_jpeg
from crosscam.gallery.fragments import last_part
from crosscam.report.hits import is_right
from crosscam.report.pairs import SimilarPair

PREVIEW_HEIGHT = 384
PREVIEW_WIDTH = 512


@dataclass(frozen=True, eq=False)
class Query:
    """Images of one person to search with.

    Attributes:
        key: the same for the same bytes, so that feedback finds them again.
        descriptors: (N, D), one for each image.
        previews: N small JPEGs.
        entry: the gallery entry that is searched with, None for uploads.
        camid: the camera of the query where it is known.
    """

    key: str
    descriptors: NDArray[np.float32]
    previews: tuple[bytes, ...] = ()
    entry: int | None = None
    camid: int | None = None


def key_of(images: Sequence[bytes]) -> str:
    """Name of a set of images, from their bytes."""
    digest = hashlib.sha256()
    for data in sorted(hashlib.sha256(image).digest() for image in images):
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


PAGE_SIZE = 24


def asked_for(options: SearchOptions, start: int) -> dict[str, object]:
    """For the audit log and reports: what is not as on the page by default."""
    default = SearchOptions(k=PAGE_SIZE)
    where = options.where
    found: dict[str, object] = {"cameras": where.camids, "not_cameras": where.not_camids}
    found |= {"time_from": where.time_from, "time_to": where.time_to}
    found = {name: value for name, value in found.items() if value is not None}
    if start:
        found["start"] = start
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in ("where", "weights") and value != getattr(default, field.name):
            found["limit" if field.name == "k" else field.name] = value
    changed = {name: value for name, value in (options.weights or {}).items() if value != 1}
    return found | ({"weights": changed} if changed else {})


@dataclass(frozen=True, eq=False)
class Ranked:
    """One hit with what it means.

    Attributes:
        rank: from 1 on.
        hit: of the gallery.
        verdict: same, unsure or other; None without a calibration that holds for this search.
        probability: likewise.
        likeness: what the page of pairs says of the query and this hit; empty where it says nothing.
        right: whether it shows the query's person; None where either identity is unknown.
    """

    rank: int
    hit: Hit
    verdict: Verdict | None
    probability: float | None
    likeness: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Known:
    """What the gallery knows about a query.

    Attributes:
        own: entries that show the query's own image.
        camid: its camera; None where the gallery does not tell.
        pid: its identity, above 0; None likewise.
    """

    own: tuple[Entry, ...] = ()
    camid: int | None = None
    pid: int | None = None

    @classmethod
    def of(cls, own: Sequence[Entry]) -> Known:
        """By the entries of the query's own image, where they agree."""
        camids, pids = {entry.camid for entry in own}, {entry.pid for entry in own}
        pid = pids.pop() if len(pids) == 1 else None
        return cls(tuple(own), camids.pop() if len(camids) == 1 else None, pid if pid is not None and pid > 0 else None)


@dataclass(frozen=True, eq=False)
class Found:
    """The answer to a search.

    Attributes:
        query: what was searched with.
        known: what the gallery knows about it.
        asked: how, where not as by default.
        hits: in order.
        more: whether there may be further hits.
        confirmed: entries that somebody confirmed; they were searched with as well and are not among the hits.
        rejected: entries that somebody rejected; they are not among the hits.
        note: what the search asked for and no entry has; empty where there is nothing.
        rests_on: what the verdicts rest on, or why there are none.
        prior: what the probabilities take for granted; None without any.
        percentages: the same in a sentence; empty without any.
        seconds: how long the gallery took.
    """

    query: Query
    known: Known
    asked: dict[str, object]
    hits: tuple[Ranked, ...]
    more: bool
    confirmed: tuple[Entry, ...]
    rejected: tuple[Entry, ...]
    note: str
    rests_on: str
    prior: float | None
    percentages: str
    seconds: float


def judged(
    hits: list[Hit], start: int, query: Query, known: Known, calibration: Calibration | None, pair: SimilarPair | None
) -> tuple[Ranked, ...]:
    """Hits with their ranks and what is known about them.

    Args:
        hits: nearest first.
        start: hits before them.
        query: what was searched with.
        known: about the query.
        calibration: one that holds for this search, for verdicts and probabilities.
        pair: the pair of the page of pairs that the query is in.
    """
    likeness = {pair.first.id: pair.verdict, pair.second.id: pair.verdict} if pair else {}
    return tuple(
        Ranked(
            start + n,
            hit,
            calibration.verdict(hit.distance, query.camid, hit.entry.camid) if calibration else None,
            calibration.probability(hit.distance) if calibration else None,
            likeness.get(hit.entry.id, ""),
            is_right(known.pid, hit.entry.pid),
        )
        for n, hit in enumerate(hits, 1)
    )


def vars_of(where: Where) -> dict[str, Any]:
    """The conditions by name."""
    return {name: getattr(where, name) for name in where.__dataclass_fields__}


def name_of(entry: Entry) -> str:
    """The last part of the path that an entry was added with: folders never leave the gallery."""
    return last_part(entry.path) or f"entry {entry.id}"
