"""Identity scores against the slow way: every assignment of found people to true ones."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from crosscam.metrics.identity import identity_scores


def slow_idf1(true: list[int], found: list[int], weights: list[int], missed: int) -> float:
    names, guesses = sorted({t for t in true if t >= 0}), sorted(set(found))
    guesses += [-5 - k for k in range(len(names))]  # nobody
    best = 0
    for chosen in permutations(guesses, len(names)):
        pairs = set(zip(names, chosen, strict=True))
        best = max(best, sum(w for t, f, w in zip(true, found, weights, strict=True) if (t, f) in pairs))
    total = sum(w for t, w in zip(true, weights, strict=True) if t >= 0) + missed + sum(weights)
    return 2 * best / total


@pytest.mark.parametrize("seed", range(12))
def test_as_every_assignment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 9))
    true, found = rng.integers(-1, 3, count).tolist(), rng.integers(1, 5, count).tolist()
    weights, missed = rng.integers(0, 9, count).tolist(), int(rng.integers(0, 4))
    scores = identity_scores(true, found, weights, missed=missed)
    if sum(weights):
        assert scores.idf1 == pytest.approx(slow_idf1(true, found, weights, missed))
    pairs = list(combinations(range(count), 2))
    said = [(a, b) for a, b in pairs if found[a] == found[b]]
    real = [(a, b) for a, b in pairs if true[a] == true[b] >= 0]
    right = len(set(said) & set(real))
    assert scores.link_precision == (right / len(said) if said else 1)
    assert scores.link_recall == (right / len(real) if real else 1)


def test_perfect_split_and_swapped() -> None:
    assert identity_scores([5, 5, 7], [1, 1, 2]).idf1 == 1
    split = identity_scores([5, 5, 7, 7], [1, 2, 3, 3], [10, 10, 10, 10])
    assert (split.idf1, split.idp, split.idr) == (0.75, 0.75, 0.75)
    assert (split.link_precision, split.link_recall) == (1.0, 0.5)
    assert identity_scores([5, 5], [1, 1], [10, 10], missed=20).idr == 0.5
    with pytest.raises(ValueError, match="a weight of 0 or more for each"):
        identity_scores([1, 2], [1], [1])
