"""What a training will do, known before its first step: class numbers, the batches of each epoch, their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.data.augment import PartGenerator, augment
from crosscam.data.records import ReidDataset, labels_of
from crosscam.data.samplers import Batches, anchor_batches, identity_batches, shuffled_batches
from crosscam.errors import DataError
from crosscam.recipes.recipe import Recipe
from crosscam.system.distributed import Split, World
from crosscam.training.optim import learning_rate_factor

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
    """The batches of one epoch, whatever the number of processes; seed and epoch decide, so every process knows all.

    Args:
        recipe: how large they are, and the seed.
        labels: (N,) class numbers; images with -1 are left out.
        epoch: 1-based.
    """
    rng = np.random.default_rng([recipe.train.seed, epoch])
    chosen = np.flatnonzero(labels >= 0)
    labels = labels[chosen]
    ids, images = recipe.data.batch_ids, recipe.data.batch_images
    if recipe.adapt is not None:
        # Clusters in place of identities may be fewer than a batch takes.
        ids = min(ids, len(np.unique(labels)))
    if recipe.data.sampler == "identities":
        batches = identity_batches(labels, ids, images, rng)
    elif recipe.data.sampler == "anchors":
        batches = anchor_batches(labels, ids * images, images, rng)
    else:
        batches = shuffled_batches(labels, ids * images, images, rng)
    # One image cannot be normalized.
    return [chosen[b] for b in batches if len(b) >= 2]


def unseen_note(recipe: Recipe, labels: NDArray[np.int64], epoch: int) -> str | None:
    """One sentence where an epoch shows clearly fewer images than there are; None else.

    Every batch takes images of P identities, so that an epoch ends when fewer than P have images left.
    """
    if recipe.data.sampler == "anchors" or recipe.adapt is not None:
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


def with_unlabeled(
    batches: Batches, recipe: Recipe, labels: NDArray[np.int64], num_unlabeled: int, epoch: int
) -> Batches:
    """The batches of an epoch; behind the labeled images of each stand random ones without labels.

    Args:
        batches: of labeled images.
        recipe: says how many (``distill.unlabeled_images``); its seed and the epoch decide which.
        labels: (N,) of the labeled images.
        num_unlabeled: M; they are images N to N+M-1.
        epoch: 1-based.
    """
    if not num_unlabeled:
        return batches
    count = recipe.distill.unlabeled_images
    rng = np.random.default_rng([recipe.train.seed, epoch, count])
    return [np.concatenate([b, len(labels) + rng.integers(num_unlabeled, size=count)]) for b in batches]


def input_size(recipe: Recipe, epoch: int) -> tuple[int, int]:
    """Height and width in an epoch, 1-based: small at first, if the recipe says so."""
    if epoch <= recipe.data.small_until * recipe.train.epochs:
        return recipe.data.small
    return recipe.data.height, recipe.data.width


@dataclass(frozen=True, eq=False)
class PlannedBatch:
    """One batch of an epoch, the same in every process.

    Attributes:
        indices: of its images; those without labels come last.
        split: which of them are this process's.
        rate: what the learning rates are multiplied by.
        ends_step: whether the optimizer takes a step after it.
    """

    indices: NDArray[np.int64]
    split: Split
    rate: float
    ends_step: bool


def planned_batches(
    recipe: Recipe, labels: NDArray[np.int64], num_unlabeled: int, epoch: int, world: World
) -> list[PlannedBatch]:
    """All batches of one epoch; see :func:`epoch_batches` and :func:`with_unlabeled`."""
    order = with_unlabeled(epoch_batches(recipe, labels, epoch), recipe, labels, num_unlabeled, epoch)
    accumulate, epochs = recipe.train.accumulate, recipe.train.epochs
    return [
        PlannedBatch(
            indices,
            world.split(len(indices), recipe.data.batch_images),
            learning_rate_factor(recipe.schedule, epoch, epochs, number / len(order)),
            (number + 1) % accumulate == 0 or number + 1 == len(order),
        )
        for number, indices in enumerate(order)
    ]


def augmented(recipe: Recipe, pixels: Tensor, split: Split, place: tuple[int, int], rank: int) -> Tensor:
    """What the network takes of these images; each is changed as it would be in a process that had the whole batch.

    Args:
        recipe: how, and the seed.
        pixels: (B_r, H, W, 3) uint8, those of this process.
        split: which of the batch they are.
        place: epoch, and batch in it.
        rank: of this process.
    """
    seed = (recipe.train.seed, *place)
    # Layers that draw by themselves (dropout) do so for each process's own images.
    torch.manual_seed(_seed(*seed, rank))
    generator = PartGenerator.of(pixels.device, split.total, split.rows.start).manual_seed(_seed(*seed, 0))
    inputs = augment(pixels, *input_size(recipe, place[0]), recipe.data.augment, generator)
    return inputs.contiguous(memory_format=torch.channels_last) if recipe.train.channels_last else inputs


def _seed(*place: int) -> int:
    """A seed that follows from seed, epoch, batch and process."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)
