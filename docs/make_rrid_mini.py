"""Make a shipped network of a run folder: ``python docs/make_rrid_mini.py RUN_FOLDER [NAME [START_SHARE]]``.

NAME is ``rrid-mini`` unless another one is given. With START_SHARE, from 0 to 1, each weight is that share of what the
training began with, and for the rest what it ended with (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022), which helps at cameras that the training did not see.

Classifiers are left out, and matrices become half precision; one-dimensional numbers (norms, biases) stay as they are.
Refused if the file is larger than 12 MB or a descriptor of noise turns by more than 1e-3.

``python docs/make_rrid_mini.py --record TABLE`` writes only the record of its training images, for a run folder
that has none. The table must be the one that the network was trained on: its people and images are counted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from crosscam.data.datasets.readers import read_dataset
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.checkpoint import PROVENANCE, RECIPE, WEIGHTS, load_recipe, load_weights, save_weights
from crosscam.recipes.recipe import Distill, Recipe
from crosscam.recipes.settings import recipe_to_json
from crosscam.shipped import run_folder
from crosscam.training.teachers import unlabeled_paths
from crosscam.training.trained_on import TRAINED_ON, save_trained_on

MOST_BYTES = 12_000_000
MOST_RECORD_BYTES = 300_000
LEAST_COSINE = 0.999


def write_record(table: Path, target: Path) -> None:
    """Write the record of the training images, from the table that the network was trained on."""
    trained = json.loads((target / PROVENANCE).read_text(encoding="utf-8"))["data"]
    dataset = read_dataset(table)
    found = len(dataset.train), len({s.pid for s in dataset.train})
    if found != (trained["train_images"], trained["train_ids"]):
        sys.exit(f"{table} has {found[0]:,} images of {found[1]:,} people; {target.name} was trained on {trained}.")
    if dataset.fingerprint() != trained["fingerprint"]:
        # It changes with the folders that the datasets were unpacked in.
        sys.stdout.write(f"note: fingerprint {dataset.fingerprint()}, in the training {trained['fingerprint']}\n")
    save_trained_on(target, dataset)
    size = (target / TRAINED_ON).stat().st_size
    if size > MOST_RECORD_BYTES:
        (target / TRAINED_ON).unlink()
        sys.exit(f"{TRAINED_ON}: {size:,} bytes (at most {MOST_RECORD_BYTES:,}).")
    sys.stdout.write(f"{target.name}: {TRAINED_ON}, {len(dataset.train):,} images, {size:,} bytes\n")


def provenance_with_starts(source: Path) -> dict[str, Any]:
    """The provenance of a run, with that of the run it began with as ``start``, and so on."""
    found: dict[str, Any] = json.loads((source / PROVENANCE).read_text(encoding="utf-8"))
    start = load_recipe(source).train.start
    # A fit begins with the published body, whatever its recipe trains from.
    if start is not None and not found.keys() & {"start", "fitted"}:
        found["start"] = provenance_with_starts(run_folder(Path(start)))
    return found


def averaged(source: Path, share: float) -> dict[str, Tensor]:
    """The weights of a run, without classifiers, with this share of those that it began with."""
    weights = {k: v for k, v in load_weights(source).items() if "_classifiers." not in k}
    start = load_recipe(source).train.start
    if not share:
        return weights
    if start is None:
        sys.exit(f"{source} has no train.start, whose weights could count.")
    before = load_weights(run_folder(Path(start)))
    return {k: before[k].lerp(v, 1 - share) if v.is_floating_point() else v for k, v in weights.items()}


def alone(recipe: Recipe, name: str) -> Recipe:
    """The recipe of a training as it goes into the package.

    Who opens the network needs no teacher and no start, and the places of their files are of another machine.
    """
    found = find_recipe(name)
    return replace(
        recipe,
        name=name,
        description=found.description,
        distill=Distill(),
        train=replace(recipe.train, start=None),
        evaluation=found.evaluation,
    )


def provenance_of(source: Path, recipe: Recipe, share: float) -> dict[str, Any]:
    """How the network came about: :func:`provenance_with_starts`, the share of the start, and the teachers' names."""
    found = provenance_with_starts(source)
    if share:
        found["start_share"] = share
    if recipe.distill.teachers:
        teachers = [Path(teacher).stem for teacher in recipe.distill.teachers]
        found["distill"] = {**asdict(recipe.distill), "teachers": teachers}
    if recipe.distill.unlabeled is not None:
        found["data"]["unlabelled_images"] = len(unlabeled_paths(recipe.distill))
    return found


def main() -> None:
    """Convert, check, copy."""
    if sys.argv[1] == "--record":
        write_record(Path(sys.argv[2]), run_folder(Path("rrid-mini")))
        return
    source, name = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "rrid-mini"
    target = run_folder(Path(name))
    target.mkdir(exist_ok=True)
    recipe = load_recipe(source)
    share = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    weights = averaged(source, share)
    small = {k: v.half() if v.ndim > 1 else v for k, v in weights.items()}
    model = build_model(recipe, 0, pretrained=False).eval()
    model.load_state_dict(small)
    noise = torch.randn(8, 3, recipe.data.height, recipe.data.width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = build_model(recipe, 0, pretrained=False).eval()
        whole.load_state_dict(weights)
        cosine = cosine_similarity(model(noise).descriptor, whole(noise).descriptor).min().item()
    save_weights(target, small)
    size = (target / WEIGHTS).stat().st_size
    if size > MOST_BYTES or cosine < LEAST_COSINE:
        (target / WEIGHTS).unlink()
        sys.exit(f"{source}: {size:,} bytes (at most {MOST_BYTES:,}), cosine {cosine:.6f} (at least {LEAST_COSINE}).")
    (target / RECIPE).write_text(recipe_to_json(alone(recipe, name)), encoding="utf-8")
    provenance = provenance_of(source, recipe, share)
    (target / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    if (source / TRAINED_ON).is_file():
        (target / TRAINED_ON).write_bytes((source / TRAINED_ON).read_bytes())
    sys.stdout.write(f"{target.name}: {size:,} bytes, smallest cosine to the weights in full precision {cosine:.6f}\n")


if __name__ == "__main__":
    main()
