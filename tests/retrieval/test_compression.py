from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crosscam.retrieval import compression
from crosscam.retrieval.compression import Codec, Half, fit_int8, fit_principal, followed_by, search
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.product_quantiser import fit_product_quantiser, look_up


def people(num: int = 600, dim: int = 32, seed: int = 0) -> Any:
    """Descriptors of length 1 around a hundred persons."""
    rng = np.random.default_rng(seed)
    x = np.random.default_rng(7).normal(size=(100, dim))[np.arange(num) % 100] + 0.5 * rng.normal(size=(num, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


CODECS: dict[str, tuple[Callable[[Any], Codec], int, float]] = {
    "float16": (lambda x: Half(x.shape[1]), 64, 0.002),
    "int8": (fit_int8, 32, 0.02),
    "pca": (lambda x: fit_principal(x, 16), 32, 0.5),
    "pca, int8": (lambda x: followed_by(p := fit_principal(x, 16), fit_int8(p.project(x))), 16, 0.5),
    "pq": (lambda x: fit_product_quantiser(x, 16), 16, 0.25),
}


@pytest.mark.parametrize("name", CODECS)
def test_distances_are_those_of_what_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, num_bytes, most_apart = CODECS[name]
    x, query, gallery = people(), people(70, seed=1), people(90, seed=2)
    codec = fit(x)
    codes = codec.encode(gallery)
    assert codec.bytes_each == num_bytes == codes[0].nbytes
    for count in (3, 70):  # few are looked up, many multiplied
        found = codec.distances(query[:count], codes)
        assert found.dtype == np.float32
        difference = codec.project(query[:count])[:, None].astype(np.float64) - codec.decode(codes)[None]
        np.testing.assert_allclose(found, np.sqrt((difference**2).sum(axis=2)), rtol=1e-4, atol=1e-4)
        monkeypatch.setattr(compression, "BLOCK_ROWS", 7)
        np.testing.assert_allclose(codec.distances(query[:count], codes), found, rtol=1e-4, atol=1e-5)
        monkeypatch.undo()
    if "pca" not in name:
        assert np.abs(codec.distances(query, codes) - pairwise_distances(query, gallery)).max() < most_apart


def test_all_principal_directions_only_turn_the_space() -> None:
    x, query, gallery = people(), people(20, seed=1), people(30, seed=2)
    codec = fit_principal(x, 32)
    centred = (v - x.mean(axis=0) for v in (query, gallery))
    expected = pairwise_distances(*(v / np.linalg.norm(v, axis=1, keepdims=True) for v in centred))
    np.testing.assert_allclose(codec.distances(query, codec.encode(gallery)), expected, atol=2e-3)


@pytest.mark.parametrize("name", CODECS)
def test_neighbours_stay_near(name: str) -> None:
    """The nearest by the codes is of the same person far more often than by chance, for every codec."""
    codec = CODECS[name][0](people())
    index, _ = search(codec, people(100, seed=1), codec.encode(people(200, seed=2)), 1)
    assert (index[:, 0] % 100 == np.arange(100)).mean() > 0.8


@pytest.mark.parametrize("k", [1, 9, 90])
def test_search_is_a_sorted_row(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "BLOCK_ROWS", 13)
    query, gallery = people(8, seed=1), people(90, seed=2)
    codec = fit_int8(people())
    index, distance = search(codec, query, codec.encode(gallery), k)
    whole = codec.distances(query, codec.encode(gallery))
    np.testing.assert_array_equal(index, whole.argsort(axis=1)[:, :k])
    np.testing.assert_allclose(distance, np.sort(whole, axis=1)[:, :k], rtol=1e-6)


def test_exact_descriptors_put_the_found_in_order() -> None:
    query, gallery = people(20, seed=1), people(400, seed=2)
    codec = fit_product_quantiser(people(), 8)
    truth = pairwise_distances(query, gallery).argsort(axis=1)[:, :10]
    by_codes, _ = search(codec, query, codec.encode(gallery), 10)
    index, distance = search(codec, query, codec.encode(gallery), 10, exact=gallery, looked_at=200)
    assert (index == truth).mean() > 0.95 > (by_codes == truth).mean()
    for row, found in enumerate(index):
        expected = np.linalg.norm(gallery[found] - query[row], axis=1)
        np.testing.assert_allclose(distance[row], expected, rtol=1e-4)


def test_whitening_makes_directions_equally_long() -> None:
    x = people() * np.geomspace(1, 0.01, 32).astype(np.float32)
    plain, half, whole = (fit_principal(x, 20, whiten=w) for w in (0.0, 0.5, 1.0))
    spread = [((x - p.centre) @ p.basis).std(axis=0) for p in (plain, half, whole)]
    np.testing.assert_allclose(spread[2], 1, rtol=1e-3)
    np.testing.assert_allclose(spread[1] ** 2, spread[0], rtol=1e-3)
    np.testing.assert_allclose(plain.basis.T @ plain.basis, np.eye(20), atol=1e-5)


def test_int8_cuts_what_is_wider_and_keeps_a_constant() -> None:
    x = np.array([[0, 5], [1, 5]], dtype=np.float32)
    codec = fit_int8(x)
    np.testing.assert_allclose(codec.decode(codec.encode(np.array([[9, 5], [0.5, 5]], np.float32))), [[1, 5], [0.5, 5]])


def test_product_quantiser_keeps_its_own_centres() -> None:
    x = people()
    codec = fit_product_quantiser(x, 8)
    codes = np.random.default_rng(0).integers(0, 256, (50, 8)).astype(np.uint8)
    np.testing.assert_allclose(codec.decode(codec.encode(codec.decode(codes))), codec.decode(codes), atol=1e-6)
    again = fit_product_quantiser(x, 8)
    np.testing.assert_array_equal(again.centres, codec.centres)
    # Better than 256 of the descriptors taken as centres, which is where k-means began.
    error = ((codec.decode(codec.encode(x)) - x) ** 2).sum()
    drawn = type(codec)(x[:256].reshape(256, 8, 4).transpose(1, 0, 2).copy())
    assert error < ((drawn.decode(drawn.encode(x[256:])) - x[256:]) ** 2).sum()


def test_looking_up_compiled_is_looking_up() -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    for parts in (1, 4, 7):
        tables = rng.random((3, parts, 256), dtype=np.float32)
        codes = rng.integers(0, 256, (1500, parts)).astype(np.uint8)
        plain = look_up(tables, codes, "numpy")
        np.testing.assert_allclose(look_up(tables, codes, "numba"), plain, rtol=1e-5)
        np.testing.assert_allclose(plain[2, 77], sum(tables[2, m, codes[77, m]] for m in range(parts)), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_principal(people(10), 10), "dim is 10. Expected 1 to 9 for 10 descriptors of 32 numbers"),
        (lambda: fit_principal(people(), 8, whiten=2), "whiten is 2"),
        (lambda: fit_int8(np.full((3, 2), np.nan)), "NaN or infinity"),
        (lambda: fit_int8(np.zeros((0, 2))), r"shape \(0, 2\)"),
        (lambda: fit_product_quantiser(people(), 5), "num_bytes is 5. Expected a divisor of the 32"),
        (lambda: fit_product_quantiser(people(255), 4), "There are 255 descriptors. Expected at least 256"),
        (lambda: search(Half(32), people(2), people(5), 6), "k is 6. Expected 1 to 5"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
