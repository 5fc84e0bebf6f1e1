"""What a training learns from, as digests: one that goes on compares them with those it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from crosscam.data.records import ReidDataset
from crosscam.recipes.checkpoint import WEIGHTS, trained_start
from crosscam.recipes.recipe import Recipe
from crosscam.shipped import run_folder
from crosscam.training.teachers import are_there, teachers_digest
from crosscam.training.trained_on import Digests

LENGTH = 16


def learned_from(recipe: Recipe, dataset: ReidDataset, digests: Digests) -> dict[str, str]:
    """Digests of what a training learns from, by what messages call it.

    A dataset's fingerprint tells paths, identities and cameras; these tell what is in the files, wherever they lie.

    Args:
        recipe: names the teachers and the network that the training begins with; those that are gone are left out.
        dataset: its ``train`` subset is learned.
        digests: (N + M,) of the files of its N training images, and of M without labels.
    """
    count = len(dataset.train)
    found = {"training images": _digest(digests[:count].tolist())}
    if len(digests) > count:
        found["distill.unlabeled"] = _digest(digests[count:].tolist())
    if recipe.distill.teachers and are_there(recipe.distill):
        found["distill.teachers"] = teachers_digest(recipe.distill).hexdigest()[:LENGTH]
    start = _start(recipe)
    if start is not None:
        found["the network that it began with"] = hashlib.sha256(start.read_bytes()).hexdigest()[:LENGTH]
    return found


def tracks_and_times(dataset: ReidDataset) -> dict[str, str]:
    """The same of what a training without labels knows of its images."""
    return {"tracks or times": _digest((s.track, s.time) for s in dataset.train)}


def _start(recipe: Recipe) -> Path | None:
    body = getattr(recipe.model, "pretrained", None)
    known = trained_start(recipe)
    files = [] if known is None else [run_folder(known) / WEIGHTS]
    files += [Path(body)] if body is not None else []
    return next((file for file in files if file.is_file()), None)


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, values)).encode("utf-8", "surrogateescape")).hexdigest()[:LENGTH]
