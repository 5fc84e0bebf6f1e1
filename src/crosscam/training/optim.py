"""The optimizer, the learning rate of each step, and the stages that do not learn."""

from __future__ import annotations

import bisect
import math

import torch
from torch import nn

from crosscam.errors import RecipeError
from crosscam.recipes.choices import SGD, Adam, Exponential, Optim, Schedule, Steps
from crosscam.recipes.recipe import Recipe


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
