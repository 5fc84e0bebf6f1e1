"""Identity scores against the slow way: every assignment of found people to true ones."""

from __future__ import annotations

import tracemalloc
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

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


def whole_table(true: list[int], found: list[int], weights: list[int]) -> tuple[int, int, int, int]:
    """Hits, right pairs, pairs that were made and pairs that are, from tables of everybody with everybody."""
    who, guess, counts = np.array(true, np.int64), np.array(found, np.int64), np.array(weights, np.int64)
    real = who >= 0
    rows, columns = np.unique(who[real], return_inverse=True)[1], np.unique(guess, return_inverse=True)[1]
    table = np.zeros((int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1), np.int64)
    np.add.at(table, (rows, columns[real]), counts[real])
    made, are = guess[:, None] == guess[None], (who[:, None] == who[None]) & real[:, None]
    upper = np.triu(np.ones((len(who), len(who)), bool), 1)
    hits = table[linear_sum_assignment(table, maximize=True)].sum()
    return int(hits), int((made & are & upper).sum()), int((made & upper).sum()), int((are & upper).sum())


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_the_whole_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, people = int(rng.integers(0, 200)) * (seed > 2), int(rng.integers(1, 40))
    true = rng.integers(-1, people, count) if seed != 5 else np.full(count, -1)
    found = np.where(rng.random(count) < 0.4, rng.integers(0, people, count), true + 100)
    weights = rng.integers(0, 300, count)
    hits, right, made, are = whole_table(true.tolist(), found.tolist(), weights.tolist())
    scores = identity_scores(true, found, weights, missed=3)
    total = int(weights[true >= 0].sum()) + 3
    assert scores.idf1 == 2 * hits / (total + int(weights.sum()))
    assert scores.idr == hits / total
    assert scores.link_precision == (right / made if made else 1)
    assert scores.link_recall == (right / are if are else 1)
    assert (scores.people, scores.found) == (len(set(true[true >= 0].tolist())), len(set(found.tolist())))


def test_memory_grows_with_the_tracks_alone() -> None:
    numbers = np.arange(20_000)
    tracemalloc.start()
    try:
        scores = identity_scores(numbers // 2, numbers // 2 // 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (scores.people, scores.found) == (10_000, 3_334)
    assert peak < 20_000_000
