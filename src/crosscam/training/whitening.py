"""The projection of a descriptor's blocks, fitted to what the network makes of its training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.augment import prepare
from crosscam.data.loading import Images, embed
from crosscam.models.output import describe
from crosscam.models.rrid import RRID
from crosscam.recipes.recipe import Recipe

# How the names of its weights begin.
PROJECTION = "projection."
# Images that tell a block's covariance well enough: dozens for each of its numbers.
FIT_IMAGES = 8192


@torch.no_grad()
def fit_projection(model: nn.Module, recipe: Recipe, images: Images) -> bool:
    """Fit the model's :class:`crosscam.models.projection.BlockProjection` in place; nothing if it has none.

    Args:
        model: put into evaluation mode.
        recipe: its input size; the seed decides which images are taken.
        images: of the training.
    Returns:
        Whether there was something to fit.
    """
    if not isinstance(model, RRID) or model.projection is None:
        return False
    projection, model.projection = model.projection, None
    try:
        found = training_descriptors(model, recipe, images)
    finally:
        model.projection = projection
    projection.fit(found)
    return True


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
