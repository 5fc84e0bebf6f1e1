from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscam.retrieval import distances as module
from crosscam.retrieval import products
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.products import by_convolution, by_matrix_product, fastest_product, inner_products

GENERATOR = torch.Generator().manual_seed(0)
SIZES = [(1, 1, 1), (7, 13, 5), (33, 70, 128), (1, 50, 3840), (64, 1, 17)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", [by_matrix_product, by_convolution])
def test_both_ways_give_the_products(way, size) -> None:
    rows, columns, dim = size
    q, g = torch.randn(rows, dim, generator=GENERATOR), torch.randn(columns, dim, generator=GENERATOR)
    found = way(q, g)
    assert found.is_contiguous()
    exact = q.double() @ g.double().T
    np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=0, atol=2e-6 * dim**0.5 + 1e-5)


def test_strided_descriptors_are_taken_as_they_are() -> None:
    q, g = torch.randn(9, 40, generator=GENERATOR)[:, ::2], torch.randn(20, 11, generator=GENERATOR).T
    torch.testing.assert_close(by_convolution(q, g), by_matrix_product(q, g))


def test_large_products_are_exact_whatever_was_asked_for_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "WORTH_IT", 0)
    q, g = torch.randn(64, 512, generator=GENERATOR), torch.randn(128, 512, generator=GENERATOR)
    expected = (q.double() @ g.double().T).float()
    for way in (by_convolution, by_matrix_product):
        monkeypatch.setattr(products, "fastest_product", lambda way=way: way)
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = inner_products(q, g)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_the_way_is_found_once() -> None:
    assert fastest_product() in (by_convolution, by_matrix_product)
    assert fastest_product() is fastest_product()


@pytest.mark.parametrize("squared", [False, True])
def test_the_compiled_finish_gives_the_plain_ones_distances(monkeypatch: pytest.MonkeyPatch, squared: bool) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(400, 32)).astype(np.float32)
    query = rng.normal(size=(60, 32)).astype(np.float32)
    # Some coincide, some nearly: these lose their digits in the product.
    query[:10], query[10:20] = gallery[:10], gallery[10:20] + 1e-4 * rng.normal(size=(10, 32)).astype(np.float32)
    plain = pairwise_distances(query, gallery, squared=squared)
    monkeypatch.setattr(module, "uses_compiled", lambda _: True)
    compiled = pairwise_distances(query, gallery, squared=squared)
    np.testing.assert_allclose(compiled, plain, rtol=1e-6, atol=1e-6)
    assert (np.diag(compiled)[:10] == 0).all()
    exact = np.sqrt(((query[10:20].astype(np.float64) - gallery[10:20]) ** 2).sum(1))
    np.testing.assert_allclose(np.diag(compiled)[10:20], exact**2 if squared else exact, rtol=3e-3)
