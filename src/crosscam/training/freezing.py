"""The first stages of a backbone, kept as they start: cheaper steps, and ImageNet's first filters."""

from __future__ import annotations

from torch import nn

from crosscam.errors import RecipeError
from crosscam.recipes.recipe import Recipe


def freeze_stages(model: nn.Module, recipe: Recipe) -> None:
    """Take the first ``train.frozen_stages`` of the backbone out of the training: no gradients, fixed statistics.

    Called at the start of each epoch, after ``model.train()``.

    Raises:
        RecipeError: the model has no such backbone, or not so many stages.
    """
    count = recipe.train.frozen_stages
    if not count:
        return
    stages = getattr(getattr(model, "backbone", None), "stages", None)
    if stages is None:
        raise RecipeError(
            f"train.frozen_stages={count}: the backbone of {recipe.model.system} is not one in stages. Set it to 0."
        )
    if count > len(stages):
        raise RecipeError(f"train.frozen_stages={count}: the backbone has {len(stages)} stages.")
    for stage in stages[:count]:
        for module in stage:
            module.requires_grad_(False).eval()
