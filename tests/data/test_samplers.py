"""Batches of identities: the authors' contract, and the properties of P x K batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crosscam.data.samplers import Batches, anchor_batches, identity_batches, shuffled_batches

PARITY = Path(__file__).parent / "parity"
Labels = NDArray[np.int64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels_with(counts: list[int], seed: int = 0) -> Labels:
    """Identity k has counts[k] images, in mixed order."""
    return rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.fixture(scope="module")
def fixture() -> dict[str, NDArray[np.generic]]:
    with np.load(PARITY / "sampler.npz") as file:
        return {name: file[name] for name in file.files}


def anchor_groups(labels: Labels, seed: int) -> Labels:
    """(N, 4) images that the anchors brought, in the order of the batches."""
    return np.concatenate(anchor_batches(labels, 64, 4, rng(seed))).reshape(-1, 4)


def assert_contract(labels: Labels, groups: Labels) -> None:
    """Four other images of the anchor's identity, distinct where it has five or more; every image is once an anchor."""
    counts = np.bincount(labels)
    assert groups.shape == (len(labels), 4)
    for group in groups:
        identities = set(labels[group].tolist())
        assert len(identities) == 1
        distinct, count = len(set(group.tolist())), int(counts[identities.pop()])
        assert distinct == 4 if count >= 5 else distinct <= count - 1
    # One group for each image of each identity: so often was one of its images the anchor.
    assert np.array_equal(np.bincount(labels[groups[:, 0]]), counts)


def test_the_authors_own_sequence_obeys_the_contract(fixture: dict[str, Labels]) -> None:
    assert_contract(fixture["pids"], fixture["sequence"].reshape(-1, 4))


@pytest.mark.parametrize("seed", range(5))
def test_anchor_batches_obey_the_contract(fixture: dict[str, Labels], seed: int) -> None:
    assert_contract(fixture["pids"], anchor_groups(fixture["pids"], seed))


def test_the_anchor_is_not_among_its_images() -> None:
    # With two images of an identity the anchor brings the other one, four times.
    labels = labels_with([2, 2, 2])
    groups = anchor_groups(labels, 0)
    assert all(len(set(group.tolist())) == 1 for group in groups)
    assert Counter(groups.reshape(-1).tolist()) == dict.fromkeys(range(6), 4)
    # With five, the four others: over the five anchors each image is left out once.
    groups = anchor_groups(labels_with([5, 5]), 0)
    left_out = Counter(frozenset(group.tolist()) for group in groups)
    assert len(left_out) == 10
    assert set(left_out.values()) == {1}


def test_images_come_as_often_as_with_the_authors(fixture: dict[str, Labels]) -> None:
    labels, expected = fixture["pids"], fixture["occurrences_200_epochs"]
    epochs = 200
    found = np.zeros(len(labels), dtype=np.int64)
    for seed in range(epochs):
        np.add.at(found, anchor_groups(labels, seed).reshape(-1), 1)
    assert found.sum() == expected.sum() == 4 * epochs * len(labels)
    # Identities of 2 and 5 images leave no choice, so their numbers are exact.
    counts = np.bincount(labels)[labels]
    exact = np.isin(counts, (2, 5))
    assert np.array_equal(found[exact], expected[exact])
    # The rest varies about 4 an epoch; five standard deviations of the freest draw are 5 * sqrt(200 * 4).
    assert np.abs(found - 4 * epochs).max() < 5 * np.sqrt(4 * epochs)
    assert np.std(found[~exact]) > 1


def test_anchor_epochs_are_as_long_as_the_authors(fixture: dict[str, Labels]) -> None:
    labels = np.arange(12_936) % 751
    batches = anchor_batches(labels, 64, 4, rng())
    assert [len(batches), len(batches[-1])] == fixture["market_like_batches_last"].tolist()
    assert {len(b) for b in batches[:-1]} == {64}
    distinct = np.mean([len(np.unique(labels[b])) for b in batches[:-1]])
    # 16 anchors of 751 equally frequent identities; the authors' uneven ones gave 15.67.
    assert abs(distinct - 751 * (1 - (1 - 1 / 751) ** 16)) < 0.1


def test_a_lone_image_is_repeated_where_the_authors_fail(fixture: dict[str, Labels]) -> None:
    assert "ValueError" in str(fixture["single_image_error"])
    labels = np.array([0, 1, 1, 2, 2, 2])
    groups = anchor_groups(labels, 0)
    assert [0, 0, 0, 0] in groups.tolist()
    assert np.array_equal(np.bincount(labels[groups[:, 0]]), [1, 2, 3])


def test_anchor_batches_that_are_not_whole_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch size \(62\) must be a multiple"):
        anchor_batches(np.zeros(8, dtype=np.int64), 62, 4, rng())


@pytest.mark.parametrize("counts", [[4] * 20, [1, 2, 3, 4, 5, 6, 7, 8, 30, 9], [1] * 12, [3] * 7 + [40] * 5])
@pytest.mark.parametrize(("p", "k"), [(4, 4), (3, 2), (5, 1), (7, 4)])
def test_every_batch_has_p_identities_of_k_images(counts: list[int], p: int, k: int) -> None:
    labels = labels_with(counts)
    batches = identity_batches(labels, p, k, rng())
    assert batches
    for batch in batches:
        groups = labels[batch].reshape(p, k)
        assert (groups == groups[:, :1]).all(), "the K images of an identity stand side by side"
        assert len(np.unique(groups[:, 0])) == p
        for images, label in zip(batch.reshape(p, k), groups[:, 0], strict=True):
            assert len(set(images.tolist())) == min(k, counts[label]), "no image twice where there are enough"


def test_an_epoch_shows_every_image_once_where_all_fits() -> None:
    labels = labels_with([8] * 20)
    shown = np.concatenate(identity_batches(labels, 20, 4, rng()))
    assert np.array_equal(np.sort(shown), np.arange(160))


def test_an_epoch_shows_nearly_every_image_of_uneven_identities() -> None:
    counts = rng(1).integers(2, 40, 150).tolist()
    labels = labels_with(counts)
    shown = Counter(np.concatenate(identity_batches(labels, 16, 4, rng())).tolist())
    assert len(shown) > 0.9 * len(labels)
    # Only the last group of an identity is filled by repeating, so nothing comes more often than K times, most once.
    assert max(shown.values()) <= 4
    assert np.mean(list(shown.values())) < 1.15


def test_the_images_of_an_identity_come_in_other_company_each_epoch() -> None:
    labels = labels_with([8, 8])
    companies = {
        frozenset(group.tolist())
        for seed in range(20)
        for batch in identity_batches(labels, 2, 4, rng(seed))
        for group in batch.reshape(2, 4)
    }
    # 70 ways to choose four of eight, for each identity; 80 draws, two of which are always complements.
    assert len(companies) > 40


def test_large_identities_are_drawn_more_often_so_that_little_is_left_over() -> None:
    labels = labels_with([60] * 6 + [4] * 40)
    shown = [len(np.unique(np.concatenate(identity_batches(labels, 8, 4, rng(seed))))) for seed in range(5)]
    assert min(shown) > 0.7 * len(labels)


def test_a_group_that_is_not_full_repeats_its_identity() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    (batch,) = identity_batches(labels, 3, 4, rng())
    by_label = {int(labels[g[0]]): Counter(g.tolist()) for g in batch.reshape(3, 4)}
    assert by_label[0] == {0: 4}
    assert by_label[1] == {1: 2, 2: 2}
    assert sorted(by_label[2]) == [3, 4, 5]
    assert sum(by_label[2].values()) == 4


def test_labels_need_not_be_in_sequence() -> None:
    labels = np.array([7, 7, 42, 42])
    (batch,) = identity_batches(labels, 2, 2, rng())
    assert sorted(batch.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("sampler", [identity_batches, anchor_batches])
def test_the_seed_decides_the_order(sampler: Callable[..., Batches]) -> None:
    labels = labels_with([6] * 10)
    first, again, other = (np.concatenate(sampler(labels, 8, 4, rng(seed))) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_epochs_leave_different_images_over() -> None:
    labels = labels_with([5] * 9)
    left_over = {
        frozenset(range(len(labels))) - frozenset(np.concatenate(identity_batches(labels, 4, 4, rng(s))).tolist())
        for s in range(10)
    }
    assert len(left_over) == 10


def test_too_few_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 4 identities, but the training set has 3"):
        identity_batches(labels_with([4, 4, 4]), 4, 4, rng())


def test_shuffled_batches_show_each_image_once_and_cut_the_last_batch() -> None:
    labels = np.zeros(27, dtype=np.int64)
    batches = shuffled_batches(labels, 8, 2, np.random.default_rng(0))
    assert [len(b) for b in batches] == [8, 8, 8, 2]
    shown = np.concatenate(batches)
    assert len(set(shown.tolist())) == 26
    again = shuffled_batches(labels, 8, 2, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(shown, np.arange(26))
