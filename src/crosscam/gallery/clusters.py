"""Tracks that are one person so far, which of them are compared, and what speaks for two being one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.judging import Rows, Transit
from crosscam.gallery.people import Evidence, Pair
from crosscam.gallery.track_table import Ints

ROWS_AT_ONCE = 1024


@dataclass(eq=False)
class Cluster:
    """Tracks that are one person so far.

    Attributes:
        members: numbers of the tracks, rising.
        total: (D,) sum of their rows.
        person: number of the person of an earlier run; None for new tracks.
        spans: by camera, the times in which the person was seen there, each with the number of the video.
    """

    members: list[int]
    total: NDArray[np.float64]
    person: int | None
    spans: dict[int, list[tuple[float, float, int]]] = field(default_factory=dict)

    def take_in(self, other: Cluster) -> None:
        """Add the tracks of another cluster, which is the same person."""
        self.members = sorted(self.members + other.members)
        self.total = self.total + other.total
        self.person = other.person if self.person is None else self.person
        for camid, spans in other.spans.items():
            self.spans.setdefault(camid, []).extend(spans)

    def excludes(self, other: Cluster) -> bool:
        """Whether some camera saw both at once, so that they are two people."""
        return any(
            exclude(span, at)
            for camid in self.spans.keys() & other.spans.keys()
            for span in self.spans[camid]
            for at in other.spans[camid]
        )


@dataclass(frozen=True)
class Candidate:
    """What speaks for two clusters being one person; ``first`` and ``second`` are the tracks that lie closest in time.

    Attributes:
        odds: logarithm of the odds of one person, before rivals.
        alone: the same by the distance alone.
    """

    first: int
    second: int
    odds: float
    alone: float
    distance: float
    gap: float | None
    usual: Transit | None


@dataclass(frozen=True)
class Linked:
    """What came out.

    Attributes:
        clusters: tracks of each person, and the person's number where it had one; by first track.
        links: for the tracks that were linked.
        proposals: for pairs of people who are perhaps one.
        transits: that were used.
    """

    clusters: tuple[tuple[tuple[int, ...], int | None], ...]
    links: tuple[Evidence, ...]
    proposals: tuple[Evidence, ...]
    transits: dict[tuple[int, int], Transit]


def exclude(one: tuple[float, float, int], other: tuple[float, float, int]) -> bool:
    """Whether two tracks of one camera are two people: they overlap in time, in one video as far as that is known."""
    return one[0] <= other[1] and other[0] <= one[1] and (one[2] == other[2] or 0 in (one[2], other[2]))


def nearest_pairs(tracks: Rows, camids: Ints, new: NDArray[np.bool_], count: int) -> Iterator[Pair]:
    """For each new track, the nearest others of each camera."""
    chosen = np.flatnonzero(new)
    for camid in np.unique(camids):
        there = np.flatnonzero(camids == camid)
        # One more: a track's nearest at its own camera is itself.
        k = min(count + 1, len(there))
        for first in range(0, len(chosen), ROWS_AT_ONCE):
            rows = chosen[first : first + ROWS_AT_ONCE]
            products = tracks[rows] @ tracks[there].T
            nearest = np.argpartition(-products, k - 1, axis=1)[:, :k]
            for row, columns in zip(rows.tolist(), there[nearest].tolist(), strict=True):
                yield from ((row, other) for other in columns if other != row)
