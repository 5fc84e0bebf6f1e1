from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscam.retrieval import distances
from crosscam.retrieval.distances import distance_blocks, inner_products, pairwise_distances

GENERATOR = torch.Generator().manual_seed(0)
# Others, such as OpenBLAS in Debian's torch, round the last digit of a block another way.
by_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch was not built with MKL")
SIZES = [(1, 1, 1), (7, 13, 5), (33, 70, 128), (1, 50, 3840), (64, 1, 17), (0, 5, 3), (20, 0, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_the_products_are_exact(size) -> None:
    rows, columns, dim = size
    q, g = torch.randn(rows, dim, generator=GENERATOR), torch.randn(columns, dim, generator=GENERATOR)
    found = inner_products(q, g)
    assert found.is_contiguous()
    exact = q.double() @ g.double().T
    # As wide as float32 is by a plain sum, number after number, as in the reference BLAS.
    np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=0, atol=1e-5 * dim**0.5 + 1e-5)


@by_mkl
@pytest.mark.parametrize("dim", [17, 512, 1792])
def test_a_product_is_the_same_in_every_block_and_number_of_threads(dim: int) -> None:
    q, g = torch.randn(300, dim, generator=GENERATOR), torch.randn(700, dim, generator=GENERATOR)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = inner_products(q, g)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for rows in (slice(0, 300), slice(0, 1), slice(3, 5), slice(10, 25), slice(17, 300)):
                for columns in (slice(0, 700), slice(0, 1), slice(5, 9), slice(100, 131), slice(13, 700)):
                    found = inner_products(q[rows], g[columns])
                    assert torch.equal(found, whole[rows, columns]), (threads, rows, columns)
    finally:
        torch.set_num_threads(before)


@by_mkl
@pytest.mark.parametrize("squared", [False, True])
def test_a_distance_is_the_same_in_every_block(squared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = torch.randn(90, 64, generator=GENERATOR), torch.randn(40_000, 64, generator=GENERATOR)
    whole = pairwise_distances(query, gallery, squared=squared)
    for block_size in (1, 7, 89):
        monkeypatch.setattr(distances, "BLOCK_ELEMENTS", block_size * len(gallery))
        for first, block in distance_blocks(query, gallery, squared=squared):
            assert torch.equal(block, whole[first : first + len(block)])


def test_strided_descriptors_are_taken_as_they_are() -> None:
    q, g = torch.randn(9, 40, generator=GENERATOR)[:, ::2], torch.randn(20, 11, generator=GENERATOR).T
    torch.testing.assert_close(inner_products(q, g), q @ g.T)


def test_products_are_exact_whatever_was_asked_for_elsewhere() -> None:
    q, g = torch.randn(64, 512, generator=GENERATOR), torch.randn(128, 512, generator=GENERATOR)
    expected = (q.double() @ g.double().T).float()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = inner_products(q, g)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("squared", [False, True])
def test_close_pairs_keep_their_digits(squared: bool) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(400, 32)).astype(np.float32)
    query = rng.normal(size=(60, 32)).astype(np.float32)
    # Some coincide, some nearly: these lose their digits in the product.
    query[:10], query[10:20] = gallery[:10], gallery[10:20] + 1e-4 * rng.normal(size=(10, 32)).astype(np.float32)
    found = pairwise_distances(query, gallery, squared=squared)
    assert (np.diag(found)[:10] == 0).all()
    exact = np.sqrt(((query[10:20].astype(np.float64) - gallery[10:20]) ** 2).sum(1))
    np.testing.assert_allclose(np.diag(found)[10:20], exact**2 if squared else exact, rtol=3e-3)
