from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from crosscam.metrics.counting import check_labels, count_closer, find_matches
from crosscam.metrics.ranking import evaluate_ranking

NAMES = ("others_before", "others_not_after", "matches_before", "matches_not_after")


def case(num_query: int, num_gallery: int, levels: int, dtype: Any, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    distances = (rng.integers(0, levels, (num_query, num_gallery)) / levels).astype(dtype)
    labels = check_labels(
        distances.shape,
        rng.integers(0, 30, num_query),
        rng.integers(-1, 30, num_gallery),
        rng.integers(0, 3, num_query),
        rng.integers(0, 3, num_gallery),
    )
    return distances, find_matches(labels)


def test_a_block_counts_as_within_the_whole() -> None:
    distances, matches = case(25, 300, 40, np.float32)
    whole = count_closer(distances, matches)
    part = slice(matches.offsets[10], matches.offsets[17])
    block = count_closer(distances[10:17], matches, 10)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(block, name), getattr(whole, name)[part])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [3, 8, 10**9])
def test_counts_against_a_loop(levels: int, dtype: Any) -> None:
    distances, matches = case(6, 120, levels, dtype, seed=4)
    places = count_closer(distances, matches)
    for query in range(6):
        mine = range(matches.offsets[query], matches.offsets[query + 1])
        own_matches = matches.columns[list(mine)]
        same = set(matches.same_columns[matches.same_offsets[query] : matches.same_offsets[query + 1]])
        others = [g for g in range(120) if matches.usable[g] and g not in same]
        for m in mine:
            own = (distances[query, matches.columns[m]], matches.columns[m])
            assert places.others_before[m] == sum((distances[query, g], g) < own for g in others)
            assert places.others_not_after[m] == sum(distances[query, g] <= own[0] for g in others)
            assert places.matches_before[m] == sum((distances[query, g], g) < own for g in own_matches)
            assert places.matches_not_after[m] == sum(distances[query, g] <= own[0] for g in own_matches)


def test_nan_is_refused_with_its_place() -> None:
    distances, matches = case(5, 40, 10, np.float32)
    distances[3, 7] = np.nan
    with pytest.raises(ValueError, match="Distances hold NaN, first at query 3, gallery 7"):
        count_closer(distances, matches)


def test_threads_may_evaluate_at_once() -> None:
    rng = np.random.default_rng(0)
    arguments = (
        rng.random((200, 3000), dtype=np.float32),
        rng.integers(1, 50, 200),
        rng.integers(-1, 50, 3000),
        rng.integers(0, 4, 200),
        rng.integers(0, 4, 3000),
    )
    scores: list[float] = []
    threads = [threading.Thread(target=lambda: scores.append(evaluate_ranking(*arguments).mAP)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scores) == 4
    assert len(set(scores)) == 1
