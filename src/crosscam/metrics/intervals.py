"""How sure a score is: bootstrap intervals over the tested identities and the trainings (seeds).

Queries of one person resemble each other, so whole identities are drawn, with all their queries; and where a row was
trained several times, its trainings are drawn too. Two rows are compared on the same draws of identities.

Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993 (percentile intervals, paired samples).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError

Values = NDArray[np.float64]
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval, in the unit of the values."""

    value: float
    low: float
    high: float


def mean_interval(
    values: Values, pids: NDArray[np.int64], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of a mean over queries, for example of mAP; see :func:`paired_difference`."""
    return paired_difference(values, np.zeros_like(values[:1]), pids, level=level, resamples=resamples, seed=seed)


def paired_difference(
    a: Values, b: Values, pids: NDArray[np.int64], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of mean(a) - mean(b) over the same queries.

    Args:
        a, b: (S, Q) and (T, Q), one row for each training; NaN for a query that is not counted, at the same queries or
            nowhere in b.
        pids: (Q,) identities of the queries.
        level, resamples, seed: coverage, number of draws, and their seed.
    Raises:
        ValueError: shapes that do not fit, or no counted query.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.shape[1] != len(pids) or b.shape[1] != len(pids) or not len(a) or not len(b):
        raise ArgumentError(
            f"Values of {a.shape} and {b.shape} for {len(pids)} queries: expected (trainings, queries)."
        )
    counted = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
    if not counted.any():
        raise ArgumentError("No query is counted, so there is no mean.")
    _, identity = np.unique(pids[counted], return_inverse=True)
    sums_a, sums_b, counts = (_per_identity(x[:, counted], identity) for x in (a, b, np.ones((1, len(pids)))))
    rng = np.random.default_rng(seed)
    num_ids = len(counts[0])
    draws = rng.multinomial(num_ids, np.full(num_ids, 1 / num_ids), size=resamples).astype(np.float64)
    drawn = _drawn_mean(draws, sums_a, rng) - _drawn_mean(draws, sums_b, rng)
    differences = drawn / (draws @ counts[0])
    low, high = np.quantile(differences, ((1 - level) / 2, (1 + level) / 2))
    value = float(a[:, counted].mean() - b[:, counted].mean())
    return Interval(value, float(low), float(high))


def _per_identity(values: Values, identity: NDArray[np.int64]) -> Values:
    """(S, Q) -> (S, I) sums over each identity's queries."""
    return np.stack([np.bincount(identity, weights=row) for row in values])


def _drawn_mean(draws: Values, sums: Values, rng: np.random.Generator) -> Values:
    """(R, I) counts of drawn identities and (S, I) sums -> (R,) sums of the draws, a mean over drawn trainings."""
    trainings = len(sums)
    shares = rng.multinomial(trainings, np.full(trainings, 1 / trainings), size=len(draws)) / trainings
    mean: Values = ((draws @ sums.T) * shares).sum(axis=1)
    return mean
