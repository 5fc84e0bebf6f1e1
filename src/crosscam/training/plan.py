"""What a training will do, known before its first step: class numbers, the batches of each epoch, the image size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import ReidDataset, labels_of
from crosscam.data.samplers import Batches, anchor_batches, identity_batches, shuffled_batches
from crosscam.errors import DataError
from crosscam.recipes.recipe import Recipe

# A few images are left over at the end of nearly every epoch of identity batches.
LEAST_SHOWN = 0.9


def checked_labels(recipe: Recipe, dataset: ReidDataset) -> NDArray[np.int64]:
    """(N,) class numbers of the training images.

    Raises:
        DataError: too few images or identities for the recipe's batches.
    """
    if not dataset.train:
        raise DataError(
            f"The training subset of {dataset.root} is empty. 'crosscam data doctor' says what the folder is."
        )
    labels = labels_of(dataset.train)
    num_ids, batch = int(labels.max()) + 1, recipe.data
    if num_ids < 2:
        raise DataError(
            f"{dataset.root} has one training identity; telling people apart takes at least two. Add people."
        )
    if len(labels) < batch.batch_images:
        raise DataError(
            f"{dataset.root} has {len(labels)} training images, fewer than the {batch.batch_images} of one identity in "
            "a batch. Add images, or set data.batch_images lower."
        )
    if batch.sampler == "identities" and num_ids < batch.batch_ids:
        raise DataError(
            f"{dataset.root} has {num_ids} training identities, but a batch of recipe {recipe.name} takes "
            f"{batch.batch_ids}. Add identities, or --set data.batch_ids={num_ids}."
        )
    return labels


def epoch_batches(recipe: Recipe, labels: NDArray[np.int64], epoch: int) -> Batches:
    """The batches of one epoch, whatever the number of processes; seed and epoch decide, so every process knows all."""
    rng = np.random.default_rng([recipe.train.seed, epoch])
    ids, images = recipe.data.batch_ids, recipe.data.batch_images
    if recipe.data.sampler == "identities":
        batches = identity_batches(labels, ids, images, rng)
    elif recipe.data.sampler == "anchors":
        batches = anchor_batches(labels, ids * images, images, rng)
    else:
        batches = shuffled_batches(labels, ids * images, images, rng)
    # One image cannot be normalised.
    return [b for b in batches if len(b) >= 2]


def unseen_note(recipe: Recipe, labels: NDArray[np.int64], epoch: int) -> str | None:
    """One sentence where an epoch shows clearly fewer images than there are; None else.

    Every batch takes images of P identities, so that an epoch ends when fewer than P have images left.
    """
    if recipe.data.sampler == "anchors":
        return None  # each image is once an anchor
    batches = epoch_batches(recipe, labels, epoch)
    seen = len(np.unique(np.concatenate(batches))) if batches else 0
    if not batches or seen >= LEAST_SHOWN * len(labels):
        return None
    most = int(np.bincount(labels).max())
    return (
        f"An epoch shows {seen:,} of the {len(labels):,} training images; each epoch draws others. It ends when fewer "
        f"than data.batch_ids={recipe.data.batch_ids} identities have images left, and one identity has {most:,}. "
        "Lower data.batch_ids, train for more epochs, or take data.sampler=anchors."
    )


def with_unlabelled(
    batches: Batches, recipe: Recipe, labels: NDArray[np.int64], num_unlabelled: int, epoch: int
) -> Batches:
    """The batches of an epoch; behind the labelled images of each stand random ones without labels.

    Args:
        batches: of labelled images.
        recipe: says how many (``distill.unlabelled_images``); its seed and the epoch decide which.
        labels: (N,) of the labelled images.
        num_unlabelled: M; they are images N to N+M-1.
        epoch: 1-based.
    """
    if not num_unlabelled:
        return batches
    count = recipe.distill.unlabelled_images
    rng = np.random.default_rng([recipe.train.seed, epoch, count])
    return [np.concatenate([b, len(labels) + rng.integers(num_unlabelled, size=count)]) for b in batches]


def input_size(recipe: Recipe, epoch: int) -> tuple[int, int]:
    """Height and width in an epoch, 1-based: small at first, if the recipe says so."""
    if epoch <= recipe.data.small_until * recipe.train.epochs:
        return recipe.data.small
    return recipe.data.height, recipe.data.width
