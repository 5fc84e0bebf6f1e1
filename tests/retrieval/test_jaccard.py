from __future__ import annotations

import numpy as np
import pytest
from dense_neighborhoods import dense_jaccard, dense_neighborhoods

from crosscam.adaptation import pseudo_labels
from crosscam.adaptation.pseudo_labels import near_pairs
from crosscam.errors import ArgumentError
from crosscam.retrieval.reranking import SparseRows


def people(num_ids: int = 12, per_id: int = 5, noise: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(num_ids, 24)), per_id, axis=0) + noise * rng.normal(size=(num_ids * per_id, 24))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def dense(rows: SparseRows) -> np.ndarray:
    full = np.full((len(rows.offsets) - 1,) * 2, np.inf)
    full[np.repeat(np.arange(len(full)), np.diff(rows.offsets)), rows.columns] = rows.values
    return full


@pytest.mark.parametrize(("k1", "k2", "limit"), [(30, 6, 0.6), (8, 4, 0.9), (5, 1, 0.3), (200, 200, 0.99)])
def test_all_near_pairs_and_no_others_as_the_paper_defines_them(k1: int, k2: int, limit: float) -> None:
    x = people()
    expected = dense_jaccard(dense_neighborhoods(x, min(k1, len(x) - 1), min(k2, len(x)))[1])
    np.fill_diagonal(expected, np.inf)
    found = dense(near_pairs(x, limit, k1=k1, k2=k2))
    kept = expected <= limit
    assert 0 < kept.sum() < kept.size
    assert np.array_equal(np.isfinite(found), kept)
    assert np.allclose(found[kept], expected[kept], atol=1e-6)


def test_dbscan_on_the_near_pairs_is_dbscan_on_the_dense_matrix() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    from scipy.sparse import csr_matrix

    x = people(20, 6, 0.9)
    matrix = dense_jaccard(dense_neighborhoods(x, 30, 6)[1])
    np.fill_diagonal(matrix, 0.0)
    expected = cluster.DBSCAN(eps=0.35, min_samples=4, metric="precomputed").fit_predict(matrix)
    assert expected.max() > 3
    assert (expected < 0).any()
    rows = near_pairs(x, 0.35)
    sparse = csr_matrix((rows.values, rows.columns, rows.offsets), shape=(len(x), len(x)))
    assert np.array_equal(cluster.DBSCAN(eps=0.35, min_samples=4, metric="precomputed").fit_predict(sparse), expected)


def test_far_too_many_pairs_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudo_labels, "MOST_PAIRS", 3)
    with pytest.raises(ArgumentError, match="More than 3 pairs for each of 60 images"):
        near_pairs(people(), 0.9)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Found 1 image"):
        near_pairs(people()[:1], 0.5)
    with pytest.raises(ArgumentError, match="limit=1"):
        near_pairs(people(), 1.0)
