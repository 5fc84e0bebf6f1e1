"""What a training will do, known before its first step.

Class numbers, the batches of each epoch and their images; the optimizer, the learning rate of each step, and the stages
that do not learn.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.augment import PartGenerator, augment
from crosscam.data.records import ReidDataset, labels_of
from crosscam.data.samplers import Batches, anchor_batches, identity_batches, shuffled_batches
from crosscam.errors import DataError, RecipeError
from crosscam.recipes.choices import SGD, Adam, Exponential, Optim, Schedule, Steps
from crosscam.recipes.recipe import Recipe
from crosscam.system.distributed import Split, World
from crosscam.system.text import counted

# A few images are left over at the end of nearly every epoch of identity batches.
LEAST_SHOWN = 0.9


def checked_labels(recipe: Recipe, dataset: ReidDataset) -> NDArray[np.int64]:
    """(N,) class numbers of the training images.

    Raises:
        DataError: too few images or identities for the recipe's batches.
    """
    if not dataset.train:
        raise DataError(
            f"The training subset of {dataset.place} is empty. 'crosscam data doctor' says what the folder is."
        )
    labels = labels_of(dataset.train)
    num_ids, batch = int(labels.max()) + 1, recipe.data
    if num_ids < 2:
        raise DataError(
            f"{dataset.place} has one training identity; telling people apart takes at least two. Add people."
        )
    if len(labels) < batch.batch_images:
        raise DataError(
            f"{dataset.place} has {counted(len(labels), 'training image')}, fewer than the {batch.batch_images} of one "
            "identity in a batch. Add images, or set data.batch_images lower."
        )
    if batch.sampler == "identities" and num_ids < batch.batch_ids:
        raise DataError(
            f"{dataset.place} has {counted(num_ids, 'training identity')}, but a batch of recipe {recipe.name} takes "
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


def warmup_note(recipe: Recipe) -> str | None:
    """One sentence where the learning rate is still rising at the end; None else."""
    rising, epochs = recipe.schedule.warmup_epochs, recipe.train.epochs
    if rising <= epochs:
        return None
    return (
        f"The learning rate is still rising when the training ends: schedule.warmup_epochs={rising:g} with "
        f"train.epochs={epochs}. Lower the first for a short training."
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


def build_optimizer(model: nn.Module, settings: Optim) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW with two parameter groups: ``model.backbone`` first, then everything else.

    Each group keeps its own full learning rate under ``"base_lr"``; :func:`set_learning_rate` scales it.
    """
    backbone = [p for name, p in model.named_parameters() if name.startswith("backbone.")]
    head = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    groups = [
        {"params": backbone, "lr": settings.lr_backbone, "base_lr": settings.lr_backbone},
        {"params": head, "lr": settings.lr_head, "base_lr": settings.lr_head},
    ]
    groups = [g for g in groups if g["params"]]
    decay = settings.weight_decay
    if isinstance(settings, SGD):
        return torch.optim.SGD(
            groups, momentum=settings.momentum, weight_decay=decay, nesterov=settings.nesterov, foreach=True
        )
    kind = torch.optim.Adam if isinstance(settings, Adam) else torch.optim.AdamW
    return kind(groups, betas=settings.betas, weight_decay=decay, fused=True)


def learning_rate_factor(schedule: Schedule, epoch: int, epochs: int, share: float = 0.0) -> float:
    """What the learning rates are multiplied by.

    Args:
        schedule: its settings.
        epoch: the current epoch, 1-based.
        epochs: all epochs.
        share: how much of the current epoch is done, 0 to 1; steps do not depend on it outside the warm-up.
    """
    passed = epoch - 1 + share
    if passed < schedule.warmup_epochs:
        return schedule.warmup_start + (1 - schedule.warmup_start) * passed / schedule.warmup_epochs
    if isinstance(schedule, Steps):
        return schedule.gamma ** bisect.bisect_right(schedule.milestones, epoch)
    if isinstance(schedule, Exponential):
        start = schedule.constant_epochs
        return float(schedule.floor ** max(0.0, (passed - start) / max(epochs - start, 1e-9)))
    progress = (passed - schedule.warmup_epochs) / max(epochs - schedule.warmup_epochs, 1e-9)
    return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's ``base_lr``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def freeze_stages(model: nn.Module, recipe: Recipe) -> None:
    """Take the first ``train.frozen_stages`` of the backbone out of the training: no gradients, fixed statistics.

    Steps become cheaper, and ImageNet's first filters stay. Called at the start of each epoch, after ``model.train()``.

    Raises:
        RecipeError: the model has no such backbone, or not so many stages.
    """
    count = recipe.train.frozen_stages
    if not count:
        return
    stages = getattr(getattr(model, "backbone", None), "stages", None)
    if stages is None:
        raise RecipeError(
            f"train.frozen_stages={count}: the backbone of {recipe.model.system} is not one in stages. Set it to 0."
        )
    if count > len(stages):
        raise RecipeError(f"train.frozen_stages={count}: the backbone has {len(stages)} stages.")
    for stage in stages[:count]:
        for module in stage:
            module.requires_grad_(False).eval()
