from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscam.retrieval import distances
from crosscam.retrieval.distances import distance_blocks, pairwise_distances


def exact(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    difference = query[:, None].astype(np.float64) - gallery[None].astype(np.float64)
    return np.sqrt((difference**2).sum(axis=2))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_equals_the_definition(offset: float) -> None:
    rng = np.random.default_rng(0)
    query = (rng.normal(size=(13, 40)) + offset).astype(np.float32)
    gallery = (rng.normal(size=(29, 40)) + offset).astype(np.float32)
    distances = pairwise_distances(query, gallery)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, exact(query, gallery), rtol=3e-5)
    np.testing.assert_allclose(pairwise_distances(query, gallery, squared=True), distances**2, rtol=1e-5)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_close_pairs_keep_their_digits(gap: float) -> None:
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(50, 64)).astype(np.float32)
    query = (gallery + gap * rng.normal(size=gallery.shape)).astype(np.float32)
    distances = pairwise_distances(query, gallery)
    np.testing.assert_allclose(np.diag(distances), np.diag(exact(query, gallery)), rtol=0.02 if gap < 1e-5 else 1e-3)


def test_nothing_is_nearer_to_a_descriptor_than_itself() -> None:
    x = torch.nn.functional.normalize(torch.randn(60, 128, generator=torch.Generator().manual_seed(0)))
    distances = pairwise_distances(x, x)
    assert (distances.diagonal() == 0).all()
    assert (distances >= 0).all()


def test_equal_descriptors_are_at_distance_zero() -> None:
    x = np.full((5, 7), 0.3, dtype=np.float32)
    np.testing.assert_array_equal(pairwise_distances(x, x), np.zeros((5, 5)))


@pytest.mark.parametrize("block_size", [1, 4, 10, 99])
def test_blocks_cover_every_query_once(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(10, 6, generator=generator), torch.randn(8, 6, generator=generator)
    expected = pairwise_distances(query, gallery)
    monkeypatch.setattr(distances, "BLOCK_ELEMENTS", 8 * block_size)
    blocks = list(distance_blocks(query, gallery))
    assert [first for first, _ in blocks] == list(range(0, 10, block_size))
    together = torch.cat([block for _, block in blocks])
    torch.testing.assert_close(together, expected)


def test_a_coarse_product_setting_is_set_aside_and_restored() -> None:
    x = torch.randn(20, 256, generator=torch.Generator().manual_seed(0))
    expected = pairwise_distances(x, x.flip(0))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            distances = pairwise_distances(x, x.flip(0))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(distances, expected, rtol=0, atol=0)


def test_kind_of_result_follows_the_query() -> None:
    half = torch.ones(2, 3, dtype=torch.float16)
    assert isinstance(pairwise_distances(half, np.ones((1, 3))), torch.Tensor)
    assert pairwise_distances(half, half).dtype == torch.float32
    assert pairwise_distances(half.requires_grad_(), half).requires_grad is False
    assert pairwise_distances(np.ones((2, 3)), np.ones((0, 3))).shape == (2, 0)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), r"\(2, 3\) and gallery descriptors \(2, 4\)"),
        (np.ones(3), np.ones((2, 3)), r"Expected \(Q, D\) and \(G, D\)"),
        (np.ones((2, 3)), np.array([[1, 1, 1], [1, np.nan, 1]]), "descriptor of gallery 1 is not finite"),
        (np.array([[np.inf, 1, 1]]), np.ones((2, 3)), "descriptor of query 0 is not finite"),
    ],
)
def test_bad_descriptors_are_named(query: np.ndarray, gallery: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairwise_distances(query, gallery)
