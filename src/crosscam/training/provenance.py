"""Where a set of weights comes from: data, versions, commit and scores, or the authors' checkpoint."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crosscam.data.records import ReidDataset
from crosscam.data.text_files import read_text
from crosscam.errors import CheckpointError, DataError
from crosscam.models.authors import AuthorsModel, import_authors
from crosscam.models.rrid import RRIDModel
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import RRID_F
from crosscam.recipes.recipe import Recipe
from crosscam.shipped import run_folder
from crosscam.system.locks import only_writer
from crosscam.system.text import parse_json


def provenance_of(
    recipe: Recipe, dataset: ReidDataset, metrics: Mapping[str, float], images_seen: int
) -> dict[str, Any]:
    """What ``provenance.json`` holds, JSON-ready.

    Args:
        recipe: the recipe that was trained.
        dataset: what it was trained on.
        metrics: the last epoch's record.
        images_seen: training images in all, repetitions counted.
    """
    return {
        "recipe": recipe.name,
        "seed": recipe.train.seed,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "train_images": len(dataset.train),
            "train_ids": len({s.pid for s in dataset.train}),
        },
        "metrics": dict(metrics),
        "images_seen": images_seen,
        "versions": versions(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def training_data(folder: Path) -> str:
    """What a network was trained on, in a few words for a report, as its provenance says."""
    file = run_folder(folder) / checkpoint.PROVENANCE
    try:
        data = parse_json(read_text(file))["data"]
        images, people = int(data["train_images"]), int(data["train_ids"])
        whom = f"of {people:,} identities" if people else "without labels"
        return f"{images:,} images {whom} ({data['name']}, fingerprint {data['fingerprint']})"
    except (DataError, ValueError, LookupError, TypeError):
        return "not known"


def versions() -> dict[str, str]:
    """Versions that a number can depend on, and the commit if crosscam runs from a checkout."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    for package in ("crosscam", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def _commit() -> str | None:
    here = Path(__file__).resolve()
    # An installed package may lie inside somebody else's repository, whose commit says nothing about crosscam.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def import_run(file: Path, folder: Path) -> AuthorsModel:
    """Turn a checkpoint of the authors' code into a run folder; nothing in the file is run.

    Args:
        file: a whole pickled module, as the authors save it.
        folder: the run folder to write; it must not hold a training.
    Raises:
        CheckpointError: not the authors' checkpoint, damaged, unsafe, or the folder is taken.
    """
    with only_writer(folder, folder=True):
        return _import(file, folder)


def _import(file: Path, folder: Path) -> AuthorsModel:
    checkpoint.check_free(folder, "Choose another folder.")
    found = import_authors(file)
    check_numbers(found.model, file)
    model = RRIDModel(backbone=found.backbone, scales=found.scales, dim=found.dim)
    recipe = replace(RRID_F, name="imported", description=f"RRID imported from the authors' {file.name}.", model=model)
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, found.model.state_dict())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    origin = {"imported_from": file.name, "sha256": digest, "num_ids": found.num_ids, "versions": versions()}
    checkpoint.save_provenance(folder, origin)
    return found


def check_numbers(model: nn.Module, file: Path) -> None:
    """Refuse (CheckpointError) weights of ``file`` that are not finite, or variances below 0: nothing is described."""
    for name, value in model.state_dict().items():
        negative = name.endswith("running_var") and bool((value < 0).any())
        if negative or not bool(torch.isfinite(value).all()):
            what = "variances below 0" if negative else "numbers that are not finite"
            raise CheckpointError(f"{file} has {what} in {name}. Nothing was written; give an undamaged file.")
