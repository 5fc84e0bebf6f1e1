"""What each step of rrid-nano's recipe brings at cameras that the training has not seen.

    python benchmarks/mini_steps.py TRAIN EXAM [--runs FOLDER] [--only STEP ...] [--teacher FILE] [--unlabeled LIST]

Trains the steps that have no run folder yet (TRAIN: a dataset of two cameras or more), and scores each on EXAM, whose
people and cameras are not in TRAIN: the descriptor as it is, with its blocks whitened, and with its blocks whitened to
512 numbers in all. The last five steps are of MobileNetV2 and build on each other, each with as many batches of 64
images; three of them need OpenVINO's person-reidentification-retail-0277 (``--teacher``), two a list of images without
labels (``--unlabeled``), and are left out without. VIPeR is not for this: whoever chooses by it cannot be examined by
it. Writes ``benchmarks/results/mini_steps.json`` and prints a line for each step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.data.datasets.joining import join
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.loading import Images, open_images
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.resizing import prepare
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.experiments.scoring import ranking_labels
from crosscam.inference.describing import load_model
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.models.rrid import BlockProjection, RRIDModel
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import STATE, load_recipe, load_weights
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.training.provenance import versions
from crosscam.training.run import training_descriptors
from crosscam.training.trainer import train

RESULT = Path(__file__).parent / "results" / "mini_steps.json"
NUMBERS = 512
KINDS = ("plain", "whitened", "short")
# What the first steps share: six passes, no changes of colour. Settings that the recipe has since changed are named.
BASE = (
    "model.backbone=resnet18-half-ibn",
    "model.scales=4,2",
    "model.dim=128",
    "model.project=0",
    "data.height=192",
    "data.width=64",
    "data.small_until=0",
    "data.batch_ids=16",
    "data.augment.erase=correct",
    "data.augment.erase_probability=0.3",
    "data.augment.background=0",
    "data.augment.shift=0",
    "data.augment.jitter=0",
    "data.augment.tint=0",
    "data.augment.gray=0",
    "data.augment.blur=0",
    "loss.margin=1.2",
    "loss.label_smoothing=0",
    "optim.weight_decay=0.02",
    "schedule.warmup_epochs=1",
    "train.epochs=6",
    "train.ema=0",
    "evaluation.every=0",
)
RENDERED = Path("data/rendered")
RENDERED_BACKBONE = RENDERED / "backbone.safetensors"
RENDERED_SEEDS = (1, 2, 3)
RENDERED_TRAINING = ("model.dim=256", "data.augment.jitter=0.3", "data.augment.blur=0.2", "train.epochs=4")
STRONG = ("data.augment.jitter=0.5", "data.augment.tint=0.3", "data.augment.gray=0.1", "data.augment.blur=0.2")
WIDE = "basic:stem=48,planes=48.96.192.192,out=48.96.192.192,depths=2.2.2.2,ibn"
STEPS: dict[str, tuple[str, ...]] = {
    "base": (),
    "six stripes, no IBN": ("model.backbone=resnet18-half", "model.scales=6", "model.dim=256"),
    "256 numbers a block": ("model.dim=256",),
    "four stripes alone": ("model.scales=4", "model.dim=256"),
    "two stripes alone": ("model.scales=2", "model.dim=256"),
    "wide": ("model.scales=4", "model.dim=256", f"model.backbone={WIDE}"),
    "rendered people first": ("model.dim=256", f"model.pretrained={RENDERED_BACKBONE}"),
    "strong colours": STRONG,
    "strong colours, 16 passes": (*STRONG, "train.epochs=16"),
}
# What the later steps share: eight passes, no erasing, people before other backgrounds.
LATER = (
    "model.backbone=basic:stem=32,planes=32.64.128.192,out=32.64.128.192,depths=2.2.2.2,ibn",
    "model.scales=4,2",
    "model.dim=256",
    "model.project=0",
    "data.height=128",
    "data.width=48",
    "data.small_until=0",
    "data.batch_ids=16",
    "data.augment.erase=none",
    "data.augment.shift=0.05",
    "data.augment.jitter=0.4",
    "data.augment.tint=0.2",
    "data.augment.gray=0.05",
    "data.augment.blur=0.2",
    "data.augment.background=0.5",
    "loss.margin=1.2",
    "loss.label_smoothing=0.1",
    "optim.weight_decay=0.05",
    "schedule.warmup_epochs=1",
    "train.epochs=8",
    "evaluation.every=0",
)
LATER_STEPS: dict[str, tuple[str, ...]] = {
    "other backgrounds": (),
    "own backgrounds": ("data.augment.background=0",),
    "own backgrounds, erasing": (
        "data.augment.background=0",
        "data.augment.erase=correct",
        "data.augment.erase_probability=0.3",
    ),
}
# What the last steps share: MobileNetV2 at 128 x 64; four passes, or two where half of each batch has no labels.
START = (
    *(setting for setting in LATER if not setting.startswith(("model.backbone", "data.augment", "data.width"))),
    "model.backbone=mobilenet-v2-trunk",
    "data.width=64",
    *(f"data.augment.{name}=0" for name in ("shift", "jitter", "tint", "gray", "blur", "background")),
    "data.augment.erase=none",
    "optim.lr_backbone=4e-4",
    "optim.lr_head=3e-3",
    "train.epochs=4",
)
IMAGENET = ("model.pretrained=imagenet",)
TEACHER = (
    "distill.teachers={teacher}",
    "distill.input=bgr 256x128 255",
    "distill.similarity=3000",
    "distill.mapping=200",
)
UNLABELED = (
    "distill.unlabeled={unlabeled}",
    "distill.unlabeled_images=32",
    "data.batch_ids=8",
    "train.epochs=2",
)
CHANGED = ("data.augment.shift=0.05", *STRONG, "data.augment.background=0.2", "data.augment.erase=correct")
START_STEPS: dict[str, tuple[str, ...]] = {
    "random weights": ("optim.lr_backbone=3e-3",),
    "ImageNet": IMAGENET,
    "ImageNet, teacher": (*IMAGENET, *TEACHER),
    "ImageNet, teacher, images without labels": (*IMAGENET, *TEACHER, *UNLABELED),
    "ImageNet, teacher, images without labels, all of them changed": (*IMAGENET, *TEACHER, *UNLABELED, *CHANGED),
}
# Each step: what it shares with others, and what it changes.
ALL = {step: (BASE, changes) for step, changes in STEPS.items()}
ALL |= {step: (LATER, changes) for step, changes in LATER_STEPS.items()}
ALL |= {step: (START, changes) for step, changes in START_STEPS.items()}


def merged(*groups: Sequence[str]) -> list[str]:
    """Settings by name, where a later group has the last word."""
    return list({setting.partition("=")[0]: setting for group in groups for setting in group}.values())


def recipe_of(step: str, files: Mapping[str, Path]) -> Recipe:
    """The recipe of one step, with the teacher's file and the list of images without labels in their places."""
    settings = merged(*ALL[step])
    for name, file in files.items():
        settings = [setting.replace(f"{{{name}}}", str(file)) for setting in settings]
    return with_settings(find_recipe("rrid-nano"), settings)


def make_rendered_backbone(runs: Path) -> None:
    """A backbone that has learned to tell drawn people apart, in ImageNet's place."""
    parts = []
    for seed in RENDERED_SEEDS:
        folder = RENDERED / f"r{seed}"
        if not folder.exists():
            render_dataset(folder, ids=600, cameras=4, images=2, collide=0.3, seed=seed, test_share=0.02)
        parts.append(read_dataset(folder))
    folder = runs / "rendered-training"
    recipe = with_settings(find_recipe("rrid-nano"), merged(BASE, RENDERED_TRAINING))
    train(recipe, join(parts), folder, resume=folder.exists())
    start = "backbone."
    weights = {k.removeprefix(start): v for k, v in load_weights(folder).items() if k.startswith(start)}
    save_file(weights, RENDERED_BACKBONE)


def trained(step: str, dataset: ReidDataset, runs: Path, files: Mapping[str, Path]) -> Path:
    """The run folder of a step, which is trained if there is none."""
    folder, recipe = runs / step.replace(", ", "-").replace(" ", "-"), recipe_of(step, files)
    source = getattr(recipe.model, "pretrained", None)
    if source == str(RENDERED_BACKBONE) and not RENDERED_BACKBONE.exists():
        make_rendered_backbone(runs)
    if not folder.exists() or (folder / STATE).exists():
        train(recipe, dataset, folder, resume=folder.exists())
    if replace(load_recipe(folder), description="") != replace(recipe, description=""):
        raise SystemExit(f"{folder} was trained by another recipe. Give another --runs.")
    return folder


def scored(folder: Path, dataset: ReidDataset, exam: ReidDataset) -> dict[str, Any]:
    """Scores of a network by what is done to its descriptor; every image is described once."""
    recipe = load_recipe(folder)
    assert isinstance(recipe.model, RRIDModel)
    model = load_model(folder, recipe).eval()
    seen = training_descriptors(model, recipe, opened(recipe, dataset.train))
    test = [both_ways(model, recipe, opened(recipe, samples)) for samples in (exam.query, exam.gallery)]
    dim, blocks = recipe.model.dim, len(layout_of(model))
    lengths = (0, dim, min(dim, NUMBERS // blocks))
    found: dict[str, Any] = {}
    for name, length in zip(KINDS, lengths, strict=True):
        project = BlockProjection(blocks, dim, length) if length else None
        if project is not None:
            project.fit(seen)
        query, gallery = (descriptors(rows, project, dim) for rows in test)
        result = evaluate_descriptors(query, gallery, *ranking_labels(exam))
        found[name] = {"mAP": result.mAP, "rank1": result.rank1, "numbers": query.shape[1]}
    return found


def opened(recipe: Recipe, samples: Sequence[Sample]) -> Images:
    """The images of some samples at the recipe's size."""
    return open_images([s.path for s in samples], recipe.data.height, recipe.data.width)


@torch.no_grad()
def both_ways(model: nn.Module, recipe: Recipe, images: Images) -> Tensor:
    """(2, N, D) descriptors of the images and of their mirror images, not projected."""
    data, size = recipe.data, recipe.evaluation.batch_size
    order = [np.arange(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    rows = []
    for pixels in images.batches(order):
        given = prepare(pixels, data.height, data.width)
        rows.append(torch.stack([model(given).descriptor, model(given.flip(3)).descriptor]))
    return torch.cat(rows, dim=1)


def descriptors(rows: Tensor, project: BlockProjection | None, dim: int) -> NDArray[np.float32]:
    """(2, N, D) descriptors of images and mirror images -> (N, D') as they are compared."""
    if project is not None:
        rows = torch.stack([torch.cat(project(one.split(dim, dim=1)), dim=1) for one in rows])
    return normalize(rows.mean(dim=0), dim=1).numpy()


def main() -> None:
    """Train what is missing, score, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("exam", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/mini-steps"))
    parser.add_argument("--only", nargs="+", choices=list(ALL), default=list(ALL))
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--unlabeled", type=Path)
    args = parser.parse_args()
    files = {name: getattr(args, name) for name in ("teacher", "unlabeled") if getattr(args, name)}
    dataset, exam = read_dataset(args.train), read_dataset(args.exam)
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"rows": {}}
    for step in args.only:
        missing = [f"--{n}" for n in ("teacher", "unlabeled") if n not in files and f"{{{n}}}" in str(ALL[step][1])]
        if missing:
            print(f"{step}: left out, it needs {' and '.join(missing)}")
            continue
        folder = trained(step, dataset, args.runs, files)
        result["rows"][step] = {"settings": list(ALL[step][1]), **scored(folder, dataset, exam)}
        result |= {"train": dataset.fingerprint(), "exam": exam.fingerprint(), "versions": versions()}
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        row = result["rows"][step]
        print(step, *(f"{k} mAP {100 * row[k]['mAP']:.1f} rank-1 {100 * row[k]['rank1']:.1f}" for k in KINDS), sep="; ")


if __name__ == "__main__":
    main()
