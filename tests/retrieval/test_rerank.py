from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from dense_neighborhoods import dense_neighborhoods

from crosscam.metrics.ranking import evaluate_ranking
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.reranking import rerank


def people(num_ids: int, per_id: int, noise: float, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Query and gallery descriptors of clustered identities, and their pids."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, num_ids + 1), per_id)
    x = rng.normal(size=(num_ids, 24))[pids - 1] + noise * rng.normal(size=(len(pids), 24))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    is_query = np.arange(len(pids)) % per_id == 0
    return x[is_query], x[~is_query], pids[is_query], pids[~is_query]


def dense_oracle(query: Any, gallery: Any, k1: int, k2: int, share: float) -> np.ndarray:
    """The paper's definitions with sets and a dense matrix of neighbourhoods."""
    distance, encoded = dense_neighborhoods(np.concatenate([query, gallery]), k1, k2)

    result = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for g in range(len(gallery)):
            a, b = encoded[i], encoded[len(query) + g]
            jaccard = 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum()
            original = distance[i, len(query) + g] / distance[i].max()
            result[i, g] = share * original + (1 - share) * jaccard
    return result


@pytest.mark.parametrize(
    ("k1", "k2", "share"), [(20, 6, 0.3), (5, 1, 0.3), (7, 3, 0.0), (1, 1, 0.5), (12, 30, 0.3), (8, 4, 1.0)]
)
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_equals_the_dense_definition(
    k1: int, k2: int, share: float, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscam.retrieval.reranking.ROWS_AT_A_TIME", 17)
    monkeypatch.setattr("crosscam.retrieval.distances.BLOCK_ELEMENTS", 1000)
    query, gallery, _, _ = people(12, 6, noise)
    found = rerank(query, gallery, k1=k1, k2=k2, lambda_value=share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense_oracle(query, gallery, k1, k2, share), rtol=0, atol=1e-5)


def test_every_image_a_neighbour() -> None:
    query, gallery, _, _ = people(4, 3, 0.5)
    found = rerank(query, gallery, k1=11, k2=12)
    np.testing.assert_allclose(found, dense_oracle(query, gallery, 11, 12, 0.3), rtol=0, atol=1e-5)


def signs(count: int, dim: int = 8) -> Any:
    """Rows of four entries of 1 or -1: whole distances, exact in float32, and hardly a row without ties."""
    rng = np.random.default_rng(5)
    rows = np.zeros((count, dim), dtype=np.float32)
    for row in rows:
        row[rng.permutation(dim)[:4]] = rng.choice([-1.0, 1.0], 4)
    return rows


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (5, 1), (3, 4), (59, 60)])
@pytest.mark.parametrize("block", [700, 10**6])
def test_ties_rank_by_index_as_in_the_dense_definition(
    k1: int, k2: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The mean of whole numbers is not whole, and taking it off would round distances apart that are equal.
    monkeypatch.setattr("crosscam.retrieval.distances.center_of", lambda x: torch.zeros(x.shape[1]).double())
    monkeypatch.setattr("crosscam.retrieval.distances.BLOCK_ELEMENTS", block)
    x = signs(60)
    x[40:50] = x[0:10]  # the same image twice
    found = rerank(x[:20], x[20:], k1=k1, k2=k2)
    np.testing.assert_allclose(found, dense_oracle(x[:20], x[20:], k1, k2, 0.3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("num_query", "num_gallery"), [(1, 5), (5, 1), (1, 1)])
def test_very_few_images(num_query: int, num_gallery: int) -> None:
    query, gallery, _, _ = people(6, 4, 0.5)
    query, gallery = query[:num_query], gallery[:num_gallery]
    k1 = num_query + num_gallery - 1  # more than the gallery holds
    found = rerank(query, gallery, k1=k1, k2=1)
    np.testing.assert_allclose(found, dense_oracle(query, gallery, k1, 1, 0.3), rtol=0, atol=1e-5)


def test_it_improves_clustered_rankings() -> None:
    query, gallery, query_pids, gallery_pids = people(40, 8, 0.9)
    labels = (query_pids, gallery_pids, np.zeros_like(query_pids), np.ones_like(gallery_pids))
    plain = evaluate_ranking(pairwise_distances(query, gallery), *labels).mAP
    assert evaluate_ranking(rerank(query, gallery, k1=8, k2=3), *labels).mAP > plain + 0.05


def test_permuting_the_gallery_permutes_the_distances() -> None:
    query, gallery, _, _ = people(15, 5, 0.8, seed=3)
    order = np.random.default_rng(0).permutation(len(gallery))
    np.testing.assert_allclose(rerank(query, gallery[order]), rerank(query, gallery)[:, order], rtol=0, atol=1e-5)


def test_equal_descriptors_stay_finite_and_repeatable() -> None:
    same = np.ones((9, 4), dtype=np.float32)
    found = rerank(same[:3], same[3:], k1=4, k2=2)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, rerank(same[:3], same[3:], k1=4, k2=2))


def test_tensors_give_tensors() -> None:
    query, gallery, _, _ = people(6, 4, 0.5)
    found = rerank(torch.from_numpy(query), torch.from_numpy(gallery), k1=5, k2=2)
    np.testing.assert_array_equal(found.numpy(), rerank(query, gallery, k1=5, k2=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 24}, "k1 is 24. Expected 1 to 23 for 6 queries and 18 gallery images; choose a smaller k1"),
        ({"k1": 0}, "k1 is 0. Expected at least 1"),
        ({"k2": 25}, "k2 is 25. Expected 1 to 24"),
        ({"lambda_value": 1.5}, "lambda_value is 1.5"),
        ({"query_descriptors": np.ones((0, 24))}, "There are no queries"),
        ({"gallery_descriptors": np.ones((0, 24))}, "There are no gallery images"),
        ({"query_descriptors": np.ones((6, 23))}, r"\(6, 23\) and gallery descriptors \(18, 24\)"),
        ({"query_descriptors": np.full((6, 24), np.nan)}, "descriptor of query 0 is not finite"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    query, gallery, _, _ = people(6, 4, 0.5)
    arguments = {"query_descriptors": query, "gallery_descriptors": gallery, **options}
    with pytest.raises(ValueError, match=message):
        rerank(**arguments)
