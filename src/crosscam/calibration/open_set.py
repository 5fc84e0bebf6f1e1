"""What a threshold on the distance lets through and what it misses: FMR, FNMR, their trade-off, and its uncertainty.

FMR is the share of pairs of different people that are closer than a threshold, FNMR the share of pairs of the same
person that are not. A rate counts as resolved where it rests on at least ``MIN_ERRORS`` pairs: with 30 errors the rate
is within about a third of its true value at 90 % confidence, if pairs were independent (the "rule of 30": Doddington
et al., The NIST speaker recognition evaluation, Speech Communication 31, 2000). They are not, as one person is in many
pairs; the intervals therefore resample people, not pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.calibration.pair_counts import BINS, WIDTH, Labeled, PairCounts, Tail
from crosscam.metrics.counting import Ints

MIN_ERRORS = 30
REPLICATES = 400
DET_POINTS_PER_DECADE = 16


@dataclass(frozen=True)
class OperatingPoint:
    """What is missed at one wanted false-match rate ``fmr``. Rates are fractions, None where it cannot be resolved.

    Below the distance ``threshold`` two images match; ``fnmr``, of 95 % interval ``low`` to ``high`` over people, is
    the share of genuine pairs that is missed there; ``note`` tells why there is no figure.
    """

    fmr: float
    threshold: float | None
    fnmr: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class DetPoint:
    """One point of the trade-off: at ``threshold``, both error rates."""

    threshold: float
    fmr: float
    fnmr: float


def pairs_needed(rate: float) -> int:
    """How many pairs resolve an error rate."""
    return int(np.ceil(MIN_ERRORS / rate - 1e-6))


def edge_at_fmr(impostor: Ints, fmr: float) -> int:
    """The farthest edge below which at most the share ``fmr`` of (BINS,) impostor counts lies; edge k is k * WIDTH."""
    total = int(impostor.sum())
    # A rate such as 0.1 is not exact in binary: without the slack, 10 of 100 pairs could count as too many.
    return int(np.searchsorted(np.cumsum(impostor), fmr * total * (1 + 1e-12), side="right"))


def edge_at_fnmr(genuine: Ints, fnmr: float) -> int:
    """The closest edge at or beyond which at most the share ``fnmr`` of the genuine pairs lies."""
    beyond = int(genuine.sum()) - np.concatenate([[0], np.cumsum(genuine)])
    return int(np.argmax(beyond <= fnmr * int(genuine.sum()) * (1 + 1e-12)))


def rate_below(histogram: Ints, edge: int) -> float:
    """Share of the pairs that lies below an edge."""
    return float(histogram[:edge].sum() / histogram.sum())


def operating_points(
    data: Labeled, counts: PairCounts, tail: Tail, rates: Sequence[float], replicates: int = REPLICATES
) -> tuple[OperatingPoint, ...]:
    """FNMR at each wanted FMR, with intervals where the rate can be resolved."""
    total = int(counts.impostor.sum())
    resolved = [rate for rate in rates if total >= pairs_needed(rate)]
    spread = iter(_intervals(data, counts, tail, resolved, replicates))
    points = []
    for rate in rates:
        if rate not in resolved:
            note = f"needs {pairs_needed(rate):,} pairs of different people; there are {total:,}"
            points.append(OperatingPoint(rate, None, None, None, None, note))
            continue
        edge = edge_at_fmr(counts.impostor, rate)
        low, high = next(spread)
        points.append(OperatingPoint(rate, edge * WIDTH, 1 - rate_below(counts.genuine, edge), low, high))
    return tuple(points)


def _intervals(
    data: Labeled, counts: PairCounts, tail: Tail, rates: Sequence[float], replicates: int
) -> list[tuple[float, float]]:
    """95 % percentile intervals of FNMR: people are drawn with replacement, and the threshold is set anew each time.

    A person drawn twice counts twice, and the two copies are not compared. Distractors are drawn among themselves.
    """
    random = np.random.default_rng(0)
    per_identity = data.per_identity
    num_identities, people = len(per_identity), data.num_people
    found = np.empty((replicates, len(rates)))
    for k in range(replicates):
        weight = np.concatenate([_drawn(random, people), _drawn(random, num_identities - people)])
        genuine = np.bincount(counts.bin, weights=weight[counts.identity] * counts.count, minlength=BINS)
        share = weight[tail.first] * weight[tail.second] * tail.weight
        impostor = np.cumsum(np.bincount(tail.bin, weights=share, minlength=BINS))
        total = impostor_pairs(per_identity, people, weight)
        edges = np.searchsorted(impostor, np.asarray(rates) * total, side="right")
        below = np.concatenate([[0.0], np.cumsum(genuine)])
        found[k] = 1 - below[np.minimum(edges, BINS)] / max(below[-1], 1.0)
    return [(float(np.percentile(x, 2.5)), float(np.percentile(x, 97.5))) for x in found.T]


def _drawn(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return random.multinomial(count, np.full(count, 1 / count)).astype(np.float64) if count else np.empty(0)


def impostor_pairs(per_identity: Ints, num_people: int, weight: NDArray[np.float64]) -> float:
    """Pairs of two people across cameras, where identity i stands ``weight[i]`` times; two distractors are no pair.

    ``per_identity`` has (K, C) images, the ``num_people`` identities that are people first.
    """

    def across(counts: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        summed = weights @ counts
        own = np.square(weights) @ (np.square(counts.sum(axis=1)) - np.square(counts).sum(axis=1))
        return float((summed.sum() ** 2 - np.square(summed).sum() - own) / 2)

    images = per_identity.astype(np.float64)
    return across(images, weight) - across(images[num_people:], weight[num_people:])


def det_curve(counts: PairCounts) -> tuple[DetPoint, ...]:
    """Both rates at thresholds for evenly spaced logarithms of the FMR, down to what the pairs can resolve."""
    total = int(counts.impostor.sum())
    lowest = min(0.0, np.log10(MIN_ERRORS / total))
    steps = int(np.ceil(-lowest * DET_POINTS_PER_DECADE))
    edges = sorted({edge_at_fmr(counts.impostor, float(10**x)) for x in np.linspace(lowest, 0.0, steps + 1)})
    return tuple(
        DetPoint(edge * WIDTH, rate_below(counts.impostor, edge), 1 - rate_below(counts.genuine, edge))
        for edge in edges
    )
