"""Fit the shipped network: RRID's parts on the body of a published network, so that they follow that network.

    python docs/fit_rrid_mini.py TEACHER.xml TABLE.csv RUN_FOLDER [--recipe NAME --body BODY.xml] [--unlabelled LIST]
        [--kept FOLDER] [--copies N] [--seed N]

TEACHER.xml is OpenVINO's person-reidentification-retail-0277 (Apache-2.0), whose body rrid-mini has; another recipe
takes another body, such as 0287's, which sees the images at the recipe's size. TABLE.csv is a table of training images
(its rows of split "train" are used), LIST a text file with one further image a line. Afterwards
``docs/make_rrid_mini.py RUN_FOLDER NAME`` puts the result into the package.

The body is taken over as it is, up to its feature map (``published_body.py``). The head is linear: relation
and global contrastive pooling of mean-pooled stripes without ReLU (equations (1) and (2)), found by least squares with
a penalty (ridge regression). Each block of 64 numbers is to give 64 directions of the published network's descriptor of
length 1; four blocks together span it. The rest of the image is penalized, so that a part says what it can by itself.
Augmented copies of the images aim at the descriptor of the clean image.

Stripes and descriptors are kept in RUN_FOLDER, or in FOLDER for several seeds; a second call goes on with the sets
that it holds whole.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.data.augment import Augment, augment
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.images import decode_image
from crosscam.data.loading import read_ahead
from crosscam.data.records import ReidDataset
from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD, prepare, resize_bytes
from crosscam.data.text_files import path_in, read_lines
from crosscam.inference.engines.openvino_engine import openvino_core
from crosscam.models.pooling import contrastive_feature
from crosscam.models.relation import one_vs_rest_mean
from crosscam.models.rrid import RRID
from crosscam.models.stripes import PartUnits, merge_stripes, pool_stripes
from crosscam.recipes.catalogue import RRID_MINI, build_model, find_recipe
from crosscam.recipes.checkpoint import save_provenance, save_recipe, save_weights
from crosscam.recipes.recipe import Recipe
from crosscam.system.files import stamp_of, write_atomically
from crosscam.training.provenance import versions
from crosscam.training.trained_on import save_trained_on

sys.path.insert(0, str(Path(__file__).parent))
from published_body import BATCH, fill_body, unfold_norms

STRIPES = 4
AUGMENT = Augment(flip=0.5, erase="none", shift=0.05, jitter=0.3, tint=0.1, gray=0.03, blur=0.2, background=0.2)
# Penalties of the least squares, as shares of the number of images (inputs have variance 1): of a part's own stripe,
# and of the rest of the image.
OWN, REST = 0.0016, 0.5
UNFOLD_IMAGES = 512


@dataclass(frozen=True)
class Stripes:
    """Mean-pooled stripes (N, 4, C) of images, and the published network's descriptors (N, T), of length 1."""

    stripes: NDArray[np.float16]
    descriptors: NDArray[np.float32]


def describe(xml: Path, paths: Sequence[Path], kept: Path, seed: int | None) -> Stripes:
    """Stripes and descriptors of images by the published network; of augmented copies with a seed.

    They are taken from ``kept`` if that is of the same network, images and seed, and kept there.
    """
    key = _key(xml, paths, seed)
    # What is damaged, or of other images, is made again.
    with suppress(Exception), np.load(kept, allow_pickle=False) as file:
        if str(file["key"]) == key:
            return Stripes(file["stripes"], file["descriptors"])
    stripes, descriptors = [], []
    network = _with_map(xml)
    generator = torch.Generator().manual_seed(seed or 0)
    for pixels in read_ahead(paths, _read, BATCH):
        taken = _taken(torch.stack(pixels), seed is not None, generator).numpy()
        # The network takes whole batches; the last one is filled up.
        filled = np.concatenate([taken, np.zeros((BATCH - len(taken), *taken.shape[1:]), np.float32)])
        rows, maps = (np.asarray(output)[: len(taken)] for output in network(filled).values())
        stripes.append(maps.reshape(*maps.shape[:2], STRIPES, -1).mean(axis=3).transpose(0, 2, 1).astype(np.float16))
        descriptors.append(rows)
        sys.stdout.write(f"\r{kept.stem}: {sum(map(len, stripes)):,} of {len(paths):,}")
        sys.stdout.flush()
    sys.stdout.write("\n")
    rows = np.concatenate(descriptors)
    found = Stripes(np.concatenate(stripes), rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, key=np.array(key), stripes=found.stripes, descriptors=found.descriptors)

    write_atomically(kept, write)
    return found


def _key(xml: Path, paths: Sequence[Path], seed: int | None) -> str:
    """Changes with the network, the images (their sizes and times), the augmentation and its seed."""
    digest = hashlib.sha256(f"{_digest(xml.with_suffix('.bin'))} {seed} {AUGMENT if seed else ''}".encode())
    for path in paths:
        digest.update(f"{path}\0{stamp_of(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@torch.no_grad()
def own_stripes(model: RRID, recipe: Recipe, paths: Sequence[Path]) -> NDArray[np.float16]:
    """(N, 4, C) mean-pooled stripes of the images, by the network's body at the recipe's size."""
    size = recipe.data.height, recipe.data.width
    found: list[NDArray[np.float16]] = []
    for pixels in read_ahead(paths, partial(_read, size=size), BATCH):
        maps = model.backbone(prepare(torch.stack(pixels), *size))
        found.append(pool_stripes(maps, STRIPES, "avg").numpy().astype(np.float16))
        sys.stdout.write(f"\r{recipe.name}: {sum(map(len, found)):,} of {len(paths):,}")
        sys.stdout.flush()
    sys.stdout.write("\n")
    return np.concatenate(found)


def _with_map(xml: Path) -> Any:
    """The published network with two outputs: descriptors, and the feature map (B, C, 16, 8)."""
    model = openvino_core().read_model(xml)
    last = [op for op in model.get_ordered_ops() if op.get_type_name() == "Relu"][-1]
    model.add_outputs([last.output(0)])
    model.reshape([BATCH, 3, RRID_MINI.data.height, RRID_MINI.data.width])
    return openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _read(path: Path, size: tuple[int, int] = (RRID_MINI.data.height, RRID_MINI.data.width)) -> Tensor:
    return resize_bytes(torch.from_numpy(decode_image(path)).unsqueeze(0), *size)[0]


def _taken(pixels: Tensor, augmented: bool, generator: torch.Generator) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) BGR from 0 to 255, as the published network takes it."""
    h, w = RRID_MINI.data.height, RRID_MINI.data.width
    x = augment(pixels, h, w, AUGMENT, generator) if augmented else prepare(pixels, h, w)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((x * std + mean) * 255).flip(1)


def block_inputs(stripes: Tensor) -> Iterator[Tensor]:
    """For each block of the descriptor, in order, (N, 2 C): its own stripe, and the rest."""
    scales = [merge_stripes(stripes, num_parts, "avg") for num_parts in RRID_MINI.model.scales]
    for parts in scales:
        rests = one_vs_rest_mean(parts)
        yield from (torch.cat([parts[:, i], rests[:, i]], dim=1) for i in range(parts.shape[1]))
    for parts in scales:
        yield torch.cat(contrastive_feature(parts), dim=1)


class LeastSquares:
    """Ridge regression of many rows, a part of them at a time: from inputs (N, F) to targets (N, T)."""

    def __init__(self, num_inputs: int, num_targets: int) -> None:
        self.count = 0
        self.moments = torch.zeros(num_inputs + 1, num_inputs + 1 + num_targets, dtype=torch.float64)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Take in some rows."""
        with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        self.moments += (with_one.T @ torch.cat([with_one, targets], dim=1)).double()
        self.count += len(inputs)

    def solve(self, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (F, T) and bias (T,); penalties (F,) are shares of the rows, for inputs of variance 1."""
        n = len(self.moments) - 1
        mean = self.moments[n] / self.count
        covariance = self.moments[:n] / self.count - mean[:n, None] * mean
        scale = covariance.diagonal().clamp(min=1e-12).sqrt()
        gram = covariance[:, :n] / scale / scale[:, None] + torch.diag(penalties.double())
        weights = torch.linalg.solve(gram, covariance[:, n + 1 :] / scale[:, None]) / scale[:, None]
        return weights.float(), (mean[n + 1 :] - mean[:n] @ weights).float()


@torch.no_grad()
def fit_head(model: RRID, data: Sequence[Stripes], seed: int) -> None:
    """Every block's weights, from stripes to its directions of the descriptors."""
    channels, dim = model.backbone.out_channels, RRID_MINI.model.dim
    found = [LeastSquares(2 * channels, data[0].descriptors.shape[1]) for _ in model.layout]
    for kept in data:
        for start in range(0, len(kept.stripes), 1024):
            rows = slice(start, start + 1024)
            inputs = block_inputs(torch.from_numpy(kept.stripes[rows]).float())
            for squares, x in zip(found, inputs, strict=True):
                squares.add(x, torch.from_numpy(kept.descriptors[rows]))
    solved = [_directed(squares, i, channels, dim, seed) for i, squares in enumerate(found)]
    place = 0
    for branch, num_parts in zip(model.branches, model.scales, strict=True):
        weights, bias = (torch.stack(v) for v in zip(*solved[place : place + num_parts], strict=True))
        _fill_units(branch.local.part, weights[:, :channels], bias)
        _fill_units(branch.local.rest, weights[:, channels:], torch.zeros_like(bias))
        _fill_units(branch.local.residual, _second_half(num_parts, dim), torch.zeros_like(bias))
        place += num_parts
    for branch, (weights, bias) in zip(model.branches, solved[place:], strict=True):
        _fill_units(branch.globe.project, weights.view(2, channels, dim), torch.stack([bias, torch.zeros_like(bias)]))
        _fill_units(branch.globe.residual, _second_half(1, dim), torch.zeros(1, dim))


def penalties(block: int, channels: int) -> Tensor:
    """(2 C,) of a block's inputs: the rest of the image counts less, except for the global blocks."""
    is_local = block < sum(RRID_MINI.model.scales)
    return torch.cat([torch.full((channels,), OWN), torch.full((channels,), REST if is_local else OWN)])


def directions(block: int, total: int, dim: int, seed: int) -> Tensor:
    """(T, c) orthonormal: what a block follows of the descriptor; as many blocks as span it are of one rotation."""
    rotation, place = divmod(block, total // dim)
    square = torch.randn(total, total, generator=torch.Generator().manual_seed(1000 * seed + rotation))
    found: Tensor = torch.linalg.qr(square)[0][:, place * dim : (place + 1) * dim]
    return found


def _directed(squares: LeastSquares, block: int, channels: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights (2 C, c) and bias (c,) of a block."""
    weights, bias = squares.solve(penalties(block, channels))
    turn = directions(block, weights.shape[1], dim, seed)
    return weights @ turn, bias @ turn


def _fill_units(units: PartUnits, weights: Tensor, bias: Tensor) -> None:
    units.linear.weight.copy_(weights)
    units.linear.bias.copy_(bias)
    units.norm.weight.fill_((1 + units.norm.eps) ** 0.5)


def _second_half(num_parts: int, dim: int) -> Tensor:
    """(P, 2 c, c) weights that hand on the second of two features."""
    return torch.cat([torch.zeros(dim, dim), torch.eye(dim)]).expand(num_parts, -1, -1)


def main() -> None:
    """Describe, fit, write the run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="rrid-mini", help="whose network is fitted: RRID at four and two stripes")
    parser.add_argument("--body", type=Path, help="whose body it has; the teacher's by default")
    parser.add_argument("--unlabelled", type=Path)
    parser.add_argument("--kept", type=Path, help="folder of what was described, for several seeds; OUT by default")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.body and args.copies:
        parser.error("--body goes with --copies 0: a body of its own sees clean images")
    args.out.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(args.table)
    images = {"train": [sample.path for sample in dataset.train]}
    if args.unlabelled:
        images["unlabelled"] = [path_in(args.unlabelled.parent, line) for _, line in read_lines(args.unlabelled)]
    fitted = _taught(args, images)
    recipe = find_recipe(args.recipe)
    model = build_model(recipe, 0, pretrained=False).eval()
    fill_body(model.backbone, args.body or args.teacher)
    if args.body:
        own = [own_stripes(model, recipe, paths) for paths in images.values()]
        fitted = [Stripes(stripes, taught.descriptors) for stripes, taught in zip(own, fitted, strict=True)]
    fit_head(model, fitted, args.seed)
    some = np.random.default_rng(args.seed).choice(len(dataset.train), min(UNFOLD_IMAGES, len(dataset.train)), False)
    size = recipe.data.height, recipe.data.width
    pixels = torch.stack([_read(dataset.train[i].path, size) for i in sorted(some)])
    unfold_norms(model, prepare(pixels, *size))
    save_recipe(args.out, recipe)
    save_weights(args.out, model.state_dict())
    save_trained_on(args.out, dataset, images.get("unlabelled", ()))
    save_provenance(args.out, _provenance(args, dataset, images))


def _taught(args: argparse.Namespace, images: dict[str, list[Path]]) -> list[Stripes]:
    """What the teacher gives for the images, and then for the augmented copies."""
    kept = args.kept or args.out
    found = [describe(args.teacher, paths, kept / f"{name}-0.npz", None) for name, paths in images.items()]
    # Augmented copies of the labeled images only: the clean ones say more for each second that they cost.
    for copy in range(1, args.copies + 1):
        file = kept / f"train-{copy}-{args.seed}.npz"
        augmented = describe(args.teacher, images["train"], file, 1000 * args.seed + copy)
        found.append(Stripes(augmented.stripes, found[0].descriptors))
    return found


def _provenance(args: argparse.Namespace, dataset: ReidDataset, images: dict[str, list[Path]]) -> dict[str, Any]:
    return {
        "recipe": args.recipe,
        "seed": args.seed,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "train_images": len(dataset.train),
            "train_ids": len({sample.pid for sample in dataset.train}),
            "unlabelled_images": len(images.get("unlabelled", ())),
        },
        "fitted": "by docs/fit_rrid_mini.py: the body is the published network's, the head follows the teacher's rows",
        "body": _published(args.body or args.teacher),
        "teacher": _published(args.teacher),
        "augmented_copies": args.copies,
        "versions": versions(),
    }


def _published(xml: Path) -> dict[str, str]:
    return {"name": xml.stem, "sha256": _digest(xml.with_suffix(".bin")), "licence": "Apache-2.0"}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
