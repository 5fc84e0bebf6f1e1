from __future__ import annotations

import numpy as np
import pytest

from crosscam.errors import ArgumentError
from crosscam.retrieval import set_distances


@pytest.mark.parametrize("kind", ["minimum", "mean"])
def test_sets_are_compared_as_a_plain_loop_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(7, 5)).astype(np.float32), random.normal(size=(11, 5)).astype(np.float32)
    asked, there = np.array([1, 0, 1, 2, 1, 0, 2]), np.array([3, 0, 1, 1, 2, 0, 3, 3, 2, 1, 4])
    merge = np.min if kind == "minimum" else np.mean
    expected = [
        [merge([np.linalg.norm(q - g) for q in query[asked == a] for g in gallery[there == b]]) for b in range(5)]
        for a in range(3)
    ]
    found = set_distances(query, gallery, asked, there, kind)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    monkeypatch.setattr("crosscam.retrieval.distances.BLOCK_ELEMENTS", 22)
    np.testing.assert_allclose(set_distances(query, gallery, asked, there, kind), expected, rtol=1e-5)


def test_sets_of_one_are_images() -> None:
    rows = np.eye(3, dtype=np.float32)
    for kind in ("minimum", "mean"):
        np.testing.assert_allclose(
            set_distances(rows, rows[::-1], np.arange(3), np.arange(3), kind),
            np.sqrt(2 * (1 - np.eye(3)[::-1])),
            atol=1e-3,
        )


@pytest.mark.parametrize(
    ("sets", "kind", "told"),
    [
        ([0, 2, 2], "mean", "without gaps"),
        ([0, 1], "mean", "each of 3 images"),
        ([-1, 0, 1], "mean", "from 0"),
        ([], "mean", "each of 3"),
        ([0, 1, 2], "median", "Unknown distance of sets 'median'"),
    ],
)
def test_what_is_no_set_is_refused(sets: list[int], kind: str, told: str) -> None:
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ArgumentError, match=told):
        set_distances(rows, rows, np.arange(3), np.array(sets, np.int64), kind)
