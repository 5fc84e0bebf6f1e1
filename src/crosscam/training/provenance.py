"""Where a set of weights comes from: data, versions, commit, scores."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from crosscam.data.records import ReidDataset
from crosscam.recipes.recipe import Recipe


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
