from __future__ import annotations

import numpy as np
import pytest

from crosscam.metrics.intervals import mean_interval, paired_difference

RNG = np.random.default_rng(0)


def people(num_ids: int = 60, queries: int = 4) -> np.ndarray:
    return np.repeat(np.arange(num_ids), queries)


def test_the_value_is_the_difference_of_the_means_over_counted_queries() -> None:
    pids = people()
    a, b = RNG.random((3, len(pids))), RNG.random((2, len(pids)))
    a[:, 5] = b[:, 5] = np.nan
    found = paired_difference(a, b, pids)
    assert found.value == pytest.approx(np.nanmean(a) - np.nanmean(b))
    assert found.low < found.value < found.high


def test_equal_rows_differ_by_nothing() -> None:
    pids = people()
    a = RNG.random((1, len(pids)))
    found = paired_difference(a, a, pids)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_pairing_makes_a_constant_gain_certain_while_the_means_are_not() -> None:
    pids = people()
    b = RNG.random((1, len(pids)))
    found = paired_difference(b + 0.01, b, pids)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)
    alone = mean_interval(b, pids)
    assert alone.high - alone.low > 0.02


def test_draws_are_of_identities_and_not_of_queries() -> None:
    """Queries that repeat each other add no certainty."""
    per_person = RNG.random((1, 60))
    once = mean_interval(per_person, np.arange(60))
    repeated = mean_interval(np.repeat(per_person, 9, axis=1), people(60, 9))
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=1e-9)


def test_trainings_that_disagree_widen_the_interval() -> None:
    pids = people()
    base = RNG.random(len(pids))
    same = paired_difference(np.stack([base] * 3), base[None], pids)
    apart = paired_difference(np.stack([base - 0.05, base, base + 0.05]), base[None], pids)
    assert same.high - same.low == pytest.approx(0, abs=1e-12)
    assert apart.high - apart.low > 0.05


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        person = rng.normal(size=40)
        values = np.repeat(person, 3)[None] + 0.1 * rng.normal(size=(1, 120))
        found = mean_interval(values, people(40, 3), resamples=400, seed=trial, level=0.9)
        hits += found.low <= 0 <= found.high
    assert 165 <= hits <= 193


def test_nothing_counted_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="No query is counted"):
        mean_interval(np.full((1, 3), np.nan), np.arange(3))
    with pytest.raises(ValueError, match="expected"):
        mean_interval(np.zeros((1, 3)), np.arange(4))
