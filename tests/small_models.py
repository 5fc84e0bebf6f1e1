"""Networks that know nothing, for tests of what looks at networks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from crosscam.models.backbones.resnet import ResNetShape
from crosscam.models.relation import Relation
from crosscam.recipes.catalogue import RECIPES, build_model
from crosscam.recipes.recipe import Recipe

TINY = "basic:stem=4,planes=4.4.4.4,out=4.4.4.8,depths=1.1.1.1"
TINY_SHAPE = ResNetShape("basic", (1, 1, 1, 1), 4, (4, 4, 8, 8), (4, 4, 8, 8))


def parameters(module: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in module.parameters())


def tiny_rrid(
    relation: Relation = "one_vs_rest", scales: tuple[int, ...] = (3, 2), seed: int = 3, **more: object
) -> tuple[nn.Module, Recipe]:
    """An RRID of few channels on images of 96 x 32, with norms as a training would leave them."""
    recipe = RECIPES["rrid-s"]
    settings = replace(recipe.model, backbone=TINY, dim=5, scales=scales, relation=relation, **more)
    recipe = replace(recipe, model=settings, data=replace(recipe.data, height=96, width=32))
    torch.manual_seed(seed)
    model = build_model(recipe, num_ids=0).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.6)
    return model, recipe
