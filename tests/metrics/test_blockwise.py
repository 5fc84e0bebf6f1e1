from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosscam.metrics import blockwise
from crosscam.metrics.blockwise import even_slices, places_by_blocks
from crosscam.metrics.counting import Labels, add_strangers, check_labels, count_closer, find_matches
from crosscam.metrics.ranking import evaluate_descriptors, evaluate_ranking
from crosscam.retrieval import distances as distances_module
from crosscam.retrieval.distances import pairwise_distances

NAMES = ("others_before", "others_not_after", "matches_before", "matches_not_after")


def some_labels(num_query: int, num_gallery: int, seed: int = 0) -> Labels:
    """Junk, distractors, identities that nobody asks for, and identities that are asked for, in any order."""
    rng = np.random.default_rng(seed)
    gallery_pids = rng.integers(-1, 60, num_gallery)
    shape = (num_query, num_gallery)
    cameras = rng.integers(1, 4, num_query), rng.integers(1, 4, num_gallery)
    return check_labels(shape, rng.integers(1, 25, num_query), gallery_pids, *cameras)


def whole_numbers(labels: Labels, dim: int = 6) -> tuple[Any, Any]:
    """Descriptors of few small whole numbers: every product is exact, and a great many distances are equal."""
    rng = np.random.default_rng(1)
    draw = (
        rng.integers(-2, 3, (len(pids), dim)).astype(np.float32) for pids in (labels.query_pids, labels.gallery_pids)
    )
    query, gallery = draw
    return query, gallery


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "GALLERY_ELEMENTS", 50)
    monkeypatch.setattr(blockwise, "DISTANCE_ELEMENTS", 300)
    monkeypatch.setattr(blockwise, "KEPT_ELEMENTS", 1500)
    monkeypatch.setattr(blockwise, "LEAST_ROWS", 3)


@pytest.fixture
def whole_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    """A center that is not of whole numbers would have products rounded, and blocks of some sizes round otherwise."""
    for module in (blockwise, distances_module):
        monkeypatch.setattr(module, "center_of", lambda x: torch.zeros(x.shape[1], dtype=torch.float64))


@pytest.mark.usefixtures("whole_centre")
def test_small_blocks_count_what_the_whole_matrix_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = some_labels(40, 700)
    query, gallery = whole_numbers(labels)
    matches = find_matches(labels)
    expected = count_closer(pairwise_distances(query, gallery), matches)
    assert (expected.others_not_after > expected.others_before).mean() > 0.5, "most matches should be tied"
    small_blocks(monkeypatch)
    found = places_by_blocks(query, gallery, matches)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("protocol", ["market1501", "allshots", "cuhk03"])
@pytest.mark.parametrize("ap", ["step", "trapezoid"])
def test_scores_are_those_of_the_matrix(ap: Any, protocol: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = some_labels(60, 3000, seed=2)
    rng = np.random.default_rng(3)
    query, gallery = (rng.normal(size=(n, 32)).astype(np.float32) for n in (60, 3000))
    arguments = (labels.query_pids, labels.gallery_pids, labels.query_camids, labels.gallery_camids)
    expected = evaluate_ranking(pairwise_distances(query, gallery), *arguments, ap=ap, protocol=protocol)
    monkeypatch.setattr(blockwise, "GALLERY_ELEMENTS", 300 * 32)
    found = evaluate_descriptors(query, gallery, *arguments, ap=ap, protocol=protocol)
    np.testing.assert_array_equal(found.average_precision, expected.average_precision)
    np.testing.assert_array_equal(found.cmc, expected.cmc)
    np.testing.assert_array_equal(found.first_match, expected.first_match)
    assert (found.mAP, found.mINP) == (expected.mAP, expected.mINP)


@pytest.mark.usefixtures("whole_centre")
@pytest.mark.parametrize("kind", ["memory-mapped", "float16", "tensor", "float64", "non-contiguous"])
def test_any_kind_of_gallery(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = some_labels(30, 400)
    query, gallery = whole_numbers(labels)
    small_blocks(monkeypatch)
    if kind == "memory-mapped":
        np.save(tmp_path / "gallery.npy", gallery)
        given: Any = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    else:
        given = {
            "float16": gallery.astype(np.float16),
            "tensor": torch.from_numpy(gallery).to(torch.bfloat16),
            "float64": gallery.astype(np.float64),
            "non-contiguous": np.asfortranarray(gallery),
        }[kind]
    before = np.array(gallery)
    whole = gallery.astype(np.float64) if kind == "float64" else gallery
    expected = count_closer(pairwise_distances(query, whole), find_matches(labels))
    found = places_by_blocks(query, given, find_matches(labels))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    if kind == "memory-mapped":
        np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(gallery, before)


def test_a_written_private_mapping_keeps_what_was_written(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2000, 4), dtype=np.float32))
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[:] = 1
    blockwise.release_pages(private)
    assert (private == 1).all()


def test_strangers_against_a_loop() -> None:
    rng = np.random.default_rng(4)
    distances = (rng.integers(0, 6, (5, 5000)) / 6).astype(np.float32)
    offsets = np.array([0, 2, 2, 7, 8, 9])
    places = rng.integers(0, 5001, 9)
    limits = (rng.integers(0, 7, 9) / 6).astype(np.float32)
    counts = np.full((2, 9), 100)
    assert add_strangers(distances, offsets, places, limits, counts)
    for m, row in enumerate(np.repeat(np.arange(5), np.diff(offsets))):
        before = sum(d < limits[m] or (d == limits[m] and i < places[m]) for i, d in enumerate(distances[row]))
        assert counts[0, m] == 100 + before
        assert counts[1, m] == 100 + sum(d <= limits[m] for d in distances[row])
    distances[3, 4500] = np.nan
    assert not add_strangers(distances, offsets, places, limits, counts)


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (101, 10)])
def test_even_slices_cover_everything_once(count: int, most: int) -> None:
    slices = list(even_slices(count, most))
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(count))
    lengths = [s.stop - s.start for s in slices]
    assert max(lengths, default=0) <= most
    assert max(lengths, default=0) - min(lengths, default=0) <= 1


@pytest.mark.parametrize(("pid", "row"), [(3, 7), (0, 120)])
def test_a_gallery_row_that_is_not_finite_is_named(pid: int, row: int) -> None:
    gallery = np.ones((200, 4), dtype=np.float32)
    gallery[row, 1] = np.inf
    pids = np.full(200, 3)
    pids[row] = pid
    with pytest.raises(ValueError, match=f"descriptor of gallery {row} is not finite"):
        evaluate_descriptors(np.ones((1, 4)), gallery, [3], pids, [1], np.full(200, 2))


def test_descriptors_of_two_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\) and gallery descriptors \(2, 5\)"):
        evaluate_descriptors(np.ones((1, 4)), np.ones((2, 5)), [3], [3, 3], [1], [2, 2])
