"""Query expansion, beside the plain loop that its papers write down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import crosscam
from crosscam.retrieval.expansion import ROWS_AT_A_TIME


def plain(query: np.ndarray, gallery: np.ndarray, k: int, alpha: float) -> np.ndarray:
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    rows = []
    for q in query:
        cosines = gallery @ q
        total = q.copy()
        for place in sorted(range(len(gallery)), key=lambda i: -cosines[i])[:k]:
            if cosines[place] > 0:
                total += cosines[place] ** alpha * gallery[place]
        rows.append(total / np.linalg.norm(total))
    return np.stack(rows)


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.0), (5, 0.0), (5, 3.0), (40, 0.5)])
def test_as_the_plain_loop(k: int, alpha: float) -> None:
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(ROWS_AT_A_TIME + 3, 6)), random.normal(size=(40, 6))
    found = crosscam.expand_queries(query, gallery, k=k, alpha=alpha)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain(query, gallery, k, alpha), atol=1e-5)
    of_tensors = crosscam.expand_queries(torch.from_numpy(query), torch.from_numpy(gallery), k=k, alpha=alpha)
    np.testing.assert_array_equal(of_tensors.numpy(), found)


def test_a_query_between_two_people_moves_to_the_larger_group() -> None:
    gallery = np.array([[1.0, 0.1], [1.0, 0.12], [1.0, 0.08], [0.1, 1.0]])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query = np.array([[0.7, 0.714]])
    before = crosscam.pairwise_distances(query, gallery)
    after = crosscam.pairwise_distances(crosscam.expand_queries(query, gallery, k=4, alpha=0), gallery)
    assert after[0, 0] < before[0, 0]
    assert after[0, 3] > before[0, 3]


def test_senseless_settings_are_refused() -> None:
    rows = np.eye(3)
    for settings, message in (
        ({"k": 4}, "k=4: expected from 1 to"),
        ({"k": 0}, "k=0"),
        ({"k": 1, "alpha": -1}, "alpha=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            crosscam.expand_queries(rows, rows, **settings)
