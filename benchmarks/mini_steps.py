"""What each step of rrid-mini's recipe brings at cameras that the training has not seen.

    python benchmarks/mini_steps.py TRAIN EXAM [--runs FOLDER] [--only STEP ...]

Trains the steps that have no run folder yet (TRAIN: a data set of two cameras or more), and scores each on EXAM, whose
people and cameras are not in TRAIN: the descriptor as it is, with its blocks whitened, and with its blocks whitened to
512 numbers in all. VIPeR is not for this: whoever chooses by it cannot be examined by it. Writes
``benchmarks/results/mini_steps.json``, and prints its table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crosscam.data.loading import open_images
from crosscam.data.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.experiment import TestImages
from crosscam.models.rrid import RRID, RRIDModel
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.training.checkpoint import WEIGHTS, load_recipe, load_weights
from crosscam.training.loop import train
from crosscam.training.provenance import versions
from crosscam.training.whitening import fit_projection

RESULT = Path(__file__).parent / "results" / "mini_steps.json"
NUMBERS = 512
# What all steps share: six passes at full size, mild changes of the images.
BASE = (
    "name=mini-step",
    "model.backbone=resnet18-half-ibn",
    "model.scales=4,2",
    "model.dim=128",
    "model.project=0",
    "data.height=192",
    "data.width=64",
    "data.small_until=0",
    "data.batch_ids=16",
    "data.augment.erase_probability=0.3",
    "data.augment.shift=0",
    "data.augment.jitter=0",
    "data.augment.tint=0",
    "data.augment.grey=0",
    "data.augment.blur=0",
    "loss.margin=1.2",
    "loss.label_smoothing=0",
    "optim.weight_decay=0.02",
    "schedule.warmup_epochs=1",
    "train.epochs=6",
    "train.ema=0",
    "evaluation.every=0",
)
STEPS: dict[str, tuple[str, ...]] = {}


def recipe_of(step: str) -> Recipe:
    """The recipe of one step."""
    return with_settings(find_recipe("rrid-mini"), [*BASE, *STEPS[step]])


def trained(step: str, dataset: ReidDataset, runs: Path) -> Path:
    """The run folder of a step; it is trained, or trained on, if it is not finished."""
    folder = runs / step
    train(recipe_of(step), dataset, folder, resume=folder.exists())
    return folder


def scored(folder: Path, dataset: ReidDataset, exam: TestImages) -> dict[str, Any]:
    """Scores of a network by what is done to its descriptor."""
    recipe = load_recipe(folder)
    assert isinstance(recipe.model, RRIDModel)
    plain = replace(recipe, model=replace(recipe.model, project=0))
    blocks = len(layout_of(build_model(plain, 0, pretrained=False)))
    images = open_images([s.path for s in dataset.train], recipe.data.height, recipe.data.width)
    found: dict[str, Any] = {"parameters": 0}
    for name, project in (
        ("plain", 0),
        ("whitened", recipe.model.dim),
        ("short", min(recipe.model.dim, NUMBERS // blocks)),
    ):
        model = projected(folder, plain, project)
        fit_projection(model, plain, images)
        result = exam.score(model).result
        found[name] = {"mAP": result.mAP, "rank1": result.rank1, "numbers": layout_of(model)[-1].stop}
        found["parameters"] = sum(p.numel() for p in model.parameters())
    return found


def projected(folder: Path, plain: Recipe, project: int) -> RRID:
    """The trained network without classifiers, with a projection that is not fitted yet."""
    assert isinstance(plain.model, RRIDModel)
    model = replace(plain.model, project=project).build(0, pretrained=False)
    unused = ("_classifiers.", "projection.")
    weights = {k: v for k, v in load_weights(folder).items() if not any(part in k for part in unused)}
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert not unknown
    assert all(name.startswith("projection.") for name in missing)
    return model


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The steps as a table, scores in percent."""
    kinds = ("plain", "whitened", "short")
    lines = [
        "| step | settings | parameters | numbers | mAP / rank-1 | whitened | whitened, 512 numbers |",
        "|---|---|---|---|---|---|---|",
    ]
    for step, row in rows.items():
        cells = [f"{100 * row[k]['mAP']:.1f} / {100 * row[k]['rank1']:.1f}" for k in kinds]
        settings = ", ".join(f"`{s}`" for s in row["settings"]) or "-"
        head = [step, settings, f"{row['parameters']:,}", f"{row['plain']['numbers']:,}"]
        lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, score, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("exam", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/mini-steps"))
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    args = parser.parse_args()
    torch.set_num_threads(torch.get_num_threads())
    dataset, exam = read_dataset(args.train), read_dataset(args.exam)
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"rows": {}}
    test = TestImages(exam, recipe_of(args.only[0]))
    for step in args.only:
        folder = trained(step, dataset, args.runs)
        assert (folder / WEIGHTS).is_file()
        result["rows"][step] = {"settings": list(STEPS[step]), **scored(folder, dataset, test)}
        result |= {"train": dataset.fingerprint(), "exam": exam.fingerprint(), "versions": versions()}
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(result["rows"]))


if __name__ == "__main__":
    main()
