"""Descriptors of a dataset's images by the network itself, and networks that only describe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.loading import Images, embed
from crosscam.data.resizing import prepare
from crosscam.data.samplers import in_order
from crosscam.errors import DataError
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.models.output import describe
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.checkpoint import CLASSIFIERS, load_weights_into
from crosscam.recipes.recipe import Recipe
from crosscam.system.progress import Progress

# Images that tell a block's covariance well enough: dozens for each of its numbers.
FIT_IMAGES = 8192


@torch.inference_mode()
def extract(
    model: nn.Module,
    images: Images,
    height: int,
    width: int,
    *,
    flip: bool = True,
    unit: bool = True,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Descriptors of all images of a list, by the network itself in fp32; scores are measured with this.

    Args:
        model: any model of this package; it is put into evaluation mode.
        images: see :func:`crosscam.data.loading.open_images`.
        height: input height of the model, in pixels.
        width: input width.
        flip, unit: see :func:`describe`.
        batch_size: images at once.
        progress: called with (done, all).
    Returns:
        (N, D) float32, in the order of the images.
    """
    model.eval()

    def prepared(pixels: Tensor) -> Tensor:
        if isinstance(model, ImportedNetwork):
            return model.takes.sized(pixels)
        return prepare(pixels.to(next(model.parameters()).device), height, width)

    def of_batch(pixels: Tensor, _: int) -> NDArray[np.float32]:
        return describe(model, prepared(pixels), flip=flip, unit=unit).cpu().numpy()

    return embed(images.batches(in_order(len(images), batch_size)), of_batch, len(images), progress)


@torch.no_grad()
def training_descriptors(model: nn.Module, recipe: Recipe, images: Images) -> Tensor:
    """(N, D) descriptors of at most ``FIT_IMAGES`` images, chosen by the recipe's seed; mirror images do not count."""
    chosen = np.random.default_rng([recipe.train.seed, len(images)]).permutation(len(images))[:FIT_IMAGES]
    data, size = recipe.data, recipe.evaluation.batch_size
    order = [np.sort(chosen)[i : i + size] for i in range(0, len(chosen), size)]
    device = next(model.parameters()).device
    model.eval()

    def of_batch(pixels: Tensor, _: int) -> NDArray[np.float32]:
        return describe(model, prepare(pixels.to(device), data.height, data.width), flip=False).cpu().numpy()

    return torch.from_numpy(embed(images.batches(order), of_batch)).to(device)


def check_descriptors(rows: NDArray[np.float32], names: Sequence[object], first: int = 0) -> None:
    """Refuse descriptors that say nothing: they would be ranked like any others.

    Args:
        rows: (N, D).
        names: of the N images, for the message; anything but a text or a path is called by its place.
        first: place of the first of them.
    Raises:
        DataError: one is not finite, or has length 0.
    """
    lengths = np.abs(rows).max(axis=1, initial=0.0)
    for fault, bad in (("is not finite", ~np.isfinite(rows).all(axis=1)), ("has length 0", lengths == 0)):
        if bad.any():
            place = int(bad.argmax())
            name = names[place]
            shown = str(name) if isinstance(name, str | os.PathLike) else f"image {first + place}"
            raise DataError(
                f"The descriptor of {shown} {fault}; nothing of it is written. Look at the weights: a training "
                "that went astray, or a damaged file, gives such numbers. Train again, or copy the file again."
            )


def load_model(folder: Path, recipe: Recipe) -> nn.Module:
    """The network of a run folder without its classifiers, which only training needs.

    Raises:
        CheckpointError: weights that do not fit the recipe.
    """
    model = build_model(recipe, num_ids=0, pretrained=False)
    load_weights_into(model, folder, recipe, leave_out=CLASSIFIERS)
    return model


def describing_model(recipe: Recipe, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network of weights that are in memory, as :func:`load_model` gives it when they are saved."""
    model = build_model(recipe, num_ids=0, pretrained=False)
    model.load_state_dict({name: value for name, value in weights.items() if CLASSIFIERS not in name})
    return model
