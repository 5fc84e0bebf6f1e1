"""ECN re-ranking beside its dense definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscam.metrics.ranking import evaluate_ranking
from crosscam.retrieval import pairwise_distances, rerank_ecn
from crosscam.retrieval.cross_neighborhoods import CrossNeighborhoods


def people(noise: float, num_ids: int = 8, per_id: int = 6) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(1, num_ids + 1), per_id)
    x = rng.normal(size=(num_ids, 24))[pids - 1] + noise * rng.normal(size=(len(pids), 24))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    is_query = np.arange(len(pids)) % per_id == 0
    return x[is_query], x[~is_query], pids[is_query], pids[~is_query]


def dense(query: Any, gallery: Any, k: int, t: int, q: int) -> np.ndarray:
    """The paper's equations with a full matrix of list distances and loops over neighbors."""
    x = np.concatenate([query, gallery]).astype(np.float64)
    order = np.argsort(((x[:, None] - x[None]) ** 2).sum(axis=2), axis=1, kind="stable")
    place = np.argsort(order, axis=1) + 1
    weight = np.maximum(0, k + 1 - place)
    similarity = weight @ weight.T
    distance = 1 - similarity / similarity.max()
    expanded = [
        [*order[i, 1 : t + 1], *(m for n in order[i, 1 : t + 1] for m in order[n, 1 : q + 1])] for i in range(len(x))
    ]
    result = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for g in range(len(gallery)):
            other = len(query) + g
            there = sum(distance[n, other] for n in expanded[i])
            back = sum(distance[n, i] for n in expanded[other])
            result[i, g] = (there + back) / (2 * len(expanded[i]))
    return result


@pytest.mark.parametrize(("k", "t", "q"), [(25, 3, 8), (5, 1, 1), (3, 6, 2), (48, 47, 2), (1, 2, 4)])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_equals_the_dense_definition(k: int, t: int, q: int, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscam.retrieval.distances.BLOCK_ELEMENTS", 1000)
    query, gallery, _, _ = people(noise)
    found = rerank_ecn(query, gallery, k=k, t=t, q=q)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(query, gallery, k, t, q), rtol=0, atol=1e-6)


def test_it_helps_and_tensors_give_tensors() -> None:
    query, gallery, query_pids, gallery_pids = people(1.0)
    cameras = np.ones(len(query)), np.full(len(gallery), 2)
    labels = (query_pids, gallery_pids, *(c.astype(np.int64) for c in cameras))
    before = evaluate_ranking(pairwise_distances(query, gallery), *labels).mAP
    step = CrossNeighborhoods(k=10, t=3, q=4)
    assert evaluate_ranking(step.distances(query, gallery), *labels).mAP > before + 0.02
    found = rerank_ecn(torch.from_numpy(query), gallery, k=10, t=3, q=4)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), step.distances(query, gallery))


def test_what_cannot_be_ranked_is_refused() -> None:
    query, gallery, _, _ = people(1.0)
    for settings, message in (
        ({"k": 49}, "k is 49. Expected 1 to 48"),
        ({"t": 0}, "t is 0. Expected 1 to 47"),
        ({"q": 48}, "q is 48. Expected 1 to 47"),
    ):
        with pytest.raises(ValueError, match=message):
            rerank_ecn(query, gallery, **settings)
    with pytest.raises(ValueError, match="no queries"):
        rerank_ecn(query[:0], gallery)
