"""A training of seconds: the recipe and the comparisons that several test files share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from crosscam.data.records import ReidDataset
from crosscam.models.rrid import RRID
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import load_weights
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.training.callbacks import Listeners, StepReport
from crosscam.training.trainer import train

SETTINGS = [
    "name=small",
    "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=8",
    "data.height=64",
    "data.width=32",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.epochs=2",
    "train.precision=fp32",
    "evaluation.every=1",
]


def small_recipe(*settings: str) -> Recipe:
    """About ten steps an epoch on the rendered dataset."""
    return with_settings(find_recipe("demo"), [*SETTINGS, *settings])


def same_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Interruption(Exception):
    """Stands for a kill: nothing in the package catches it."""


def kill_at(epoch: int, batch: int) -> Listeners:
    """Listeners that end the training right after a batch."""

    def step(report: StepReport) -> None:
        if (report.epoch, report.batch) == (epoch, batch):
            raise Interruption

    return Listeners(step=step)


def trained(recipe: Recipe, dataset: ReidDataset, folder: Path, *, resume: bool = False) -> RRID:
    """Train to the end, and check that what is returned is what is saved."""
    model = train(recipe, dataset, folder, resume=resume)
    assert same_weights(model.state_dict(), load_weights(folder))
    return model
