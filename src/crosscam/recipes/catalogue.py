"""All named recipes, and models by name."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from crosscam.data.augment import Augment
from crosscam.errors import RecipeError
from crosscam.models.backbones.pretrained import IMAGENET_PACKAGES
from crosscam.models.rrid import RRIDModel
from crosscam.recipes.baseline_recipes import SYSTEM_RECIPES
from crosscam.recipes.choices import AdamW, Cosine, RRIDLoss, Steps
from crosscam.recipes.recipe import Data, Evaluation, Recipe, Train
from crosscam.system.text import did_you_mean

RRID_F = Recipe(name="rrid-f", description="RRID at three scales (3,840 numbers), as the authors' code trains it.")
RRID_S = replace(
    RRID_F,
    name="rrid-s",
    description="RRID at six stripes (1,792 numbers), otherwise as rrid-f.",
    model=RRIDModel(scales=(6,)),
)
# The paper's text where the authors' code differs from it, or where it is silent and the usual choice is another:
# docs/differences.md, rows 4, 7, 9, 12, 13 and 22.
TEXT_MODEL = RRIDModel(contrast="mean_minus_max", classifiers="descriptor")
RRID_F_PAPER = replace(
    RRID_F,
    name="rrid-f-paper",
    description="RRID at three scales, as the paper's text describes it: 80 epochs, 16,160 steps on Market-1501, where "
    "the published training times imply 3.7 times as many.",
    data=replace(RRID_F.data, sampler="identities", augment=Augment(erase="correct", erase_probability=0.5)),
    model=TEXT_MODEL,
    loss=RRIDLoss(triplet_on="descriptor"),
    # "After 40 epochs": the first one at a tenth of the rate is the 41st.
    schedule=Steps(milestones=(41, 61)),
)
RRID_S_PAPER = replace(
    RRID_F_PAPER,
    name="rrid-s-paper",
    description="RRID at six stripes, as the paper's text describes it; steps as rrid-f-paper.",
    model=replace(TEXT_MODEL, scales=(6,)),
)
RRID_S_SCRATCH = Recipe(
    name="rrid-s-scratch",
    description="RRID-S on a ResNet-18 from random weights, for a CPU: 28 epochs, most of them on small images.",
    data=Data(
        height=192,
        width=96,
        sampler="identities",
        augment=Augment(erase="correct", erase_probability=0.4, shift=0.05, jitter=0.2),
        small_until=0.58,
        small=(96, 48),
    ),
    model=RRIDModel(backbone="resnet18", scales=(6,)),
    loss=RRIDLoss(margin=0.3, label_smoothing=0.1, cross_entropy_weight=2.0),
    optim=AdamW(lr_backbone=1.5e-3, lr_head=1.5e-3, weight_decay=0.05),
    schedule=Cosine(warmup_epochs=2),
    train=Train(epochs=28, precision="auto"),
    evaluation=Evaluation(every=14),
)
# From ImageNet on two CPU cores: the paper's ratio of learning rates, its warm-up left to the head, the first stages as
# ImageNet left them (their backward pass is most of a step).
RRID_S_LITE = Recipe(
    name="rrid-s-lite",
    description="RRID-S on a MobileNetV2 from ImageNet, for a CPU: 192 x 64, ten epochs.",
    data=Data(
        height=192, width=64, sampler="identities", augment=Augment(erase="correct", erase_probability=0.4, shift=0.05)
    ),
    model=RRIDModel(backbone="mobilenet-v2-trunk", pretrained="imagenet", scales=(6,)),
    loss=RRIDLoss(margin=0.3, label_smoothing=0.1),
    optim=AdamW(lr_backbone=3e-4, lr_head=3e-3, weight_decay=0.02),
    schedule=Cosine(warmup_epochs=1),
    train=Train(epochs=10, precision="auto", frozen_stages=3),
    evaluation=Evaluation(every=0),
)
RRID_F_LITE = replace(
    RRID_S_LITE,
    name="rrid-f-lite",
    description="RRID-F on a MobileNetV2 from ImageNet, for a CPU: 192 x 64, ten epochs.",
    model=RRIDModel(backbone="mobilenet-v2-trunk", pretrained="imagenet", scales=(6, 4, 2)),
)
DEMO = Recipe(
    name="demo",
    description="A small RRID (2 and 4 stripes, half-width ResNet-18) that learns rendered pedestrians in minutes.",
    data=Data(height=128, width=64, sampler="identities", augment=Augment(erase="correct", erase_probability=0.3)),
    model=RRIDModel(backbone="resnet18-half", scales=(4, 2), dim=128),
    loss=RRIDLoss(margin=0.3, label_smoothing=0.1),
    optim=AdamW(lr_backbone=2e-3, lr_head=2e-3, weight_decay=0.02),
    schedule=Cosine(warmup_epochs=1),
    train=Train(epochs=10, precision="auto"),
    evaluation=Evaluation(every=2),
)
# For people and cameras that no training has seen: colors and focus vary, half of the channels are normalized image by
# image, and eight blocks of 64 numbers make a descriptor of 512.
RRID_NANO = Recipe(
    name="rrid-nano",
    description="The fast network that comes with crosscam: 4 and 2 stripes, 512 numbers, images of 128 x 48.",
    data=Data(
        height=128,
        width=48,
        sampler="identities",
        augment=Augment(erase="none", shift=0.05, jitter=0.4, tint=0.2, gray=0.05, blur=0.2, background=0.5),
    ),
    model=RRIDModel(
        backbone="basic:stem=32,planes=32.64.128.192,out=32.64.128.192,depths=2.2.2.2,ibn",
        scales=(4, 2),
        dim=256,
        project=64,
        whiten=False,
    ),
    loss=RRIDLoss(margin=1.2, label_smoothing=0.1, cross_entropy_weight=2.0),
    optim=AdamW(lr_backbone=2e-3, lr_head=2e-3, weight_decay=0.05),
    schedule=Cosine(warmup_epochs=2),
    train=Train(epochs=44, precision="auto"),
    evaluation=Evaluation(every=11),
)

_MINI_MODEL = RRIDModel(
    backbone="osnet-lct",
    pretrained="rrid-mini",
    scales=(4, 2),
    dim=64,
    local_pooling="avg",
    contrast_pooling="avg",
    activation="none",
)

RRID_MINI = Recipe(
    name="rrid-mini",
    description="The network that comes with crosscam (4 and 2 stripes, 512 numbers), for cameras it never saw.",
    data=Data(
        height=256,
        width=128,
        sampler="identities",
        augment=Augment(erase="correct", erase_probability=0.5, jitter=0.2, background=0.2),
    ),
    model=_MINI_MODEL,
    loss=RRIDLoss(margin=1.2, label_smoothing=0.1, cross_entropy_weight=1.0),
    optim=AdamW(lr_backbone=1e-4, lr_head=1e-3, weight_decay=0.05),
    schedule=Cosine(warmup_epochs=1),
    train=Train(epochs=20, precision="auto", start="rrid-mini"),
    evaluation=Evaluation(every=5),
)

RRID_MINI_128 = replace(
    RRID_MINI,
    name="rrid-mini-128",
    description="rrid-mini at 128 x 64: faster, and right less often at cameras it never saw.",
    data=replace(RRID_MINI.data, height=128, width=64),
    train=replace(RRID_MINI.train, start="rrid-mini-128"),
)

RRID_MINI_FAST = replace(
    RRID_MINI,
    name="rrid-mini-fast",
    description="rrid-mini on a body of half the width, at 256 x 80, without the mirror pass: many times as fast.",
    data=replace(RRID_MINI.data, width=80, mirror_pass=False),
    model=replace(_MINI_MODEL, backbone="osnet-lct-x0.5", pretrained="rrid-mini-fast"),
    train=replace(RRID_MINI.train, start="rrid-mini-fast"),
    evaluation=replace(RRID_MINI.evaluation, flip=False),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        RRID_F,
        RRID_S,
        RRID_F_PAPER,
        RRID_S_PAPER,
        RRID_S_SCRATCH,
        RRID_S_LITE,
        RRID_F_LITE,
        *SYSTEM_RECIPES,
        RRID_MINI,
        RRID_MINI_128,
        RRID_MINI_FAST,
        RRID_NANO,
        DEMO,
    )
}


# Recipes that follow a paper whose networks start from ImageNet.
_FROM_IMAGENET = {"rrid-f", "rrid-s", "rrid-f-paper", "rrid-s-paper"} | {
    recipe.name for recipe in SYSTEM_RECIPES if hasattr(recipe.model, "pretrained")
}


def random_start(recipe: Recipe) -> str | None:
    """One sentence where a paper's recipe starts from random weights, and its paper does not; else None."""
    first = recipe.train.start or getattr(recipe.model, "pretrained", None)
    if recipe.name not in _FROM_IMAGENET or first is not None:
        return None
    backbone = getattr(recipe.model, "backbone", "")
    return (
        f"{recipe.name} starts from random weights, its paper from ImageNet's: expect far lower scores. Give weights "
        f"with --set model.pretrained=PATH (or imagenet, for {', '.join(IMAGENET_PACKAGES)}; here {backbone})."
    )


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; RecipeError with the nearest name if there is none."""
    if name in RECIPES:
        return RECIPES[name]
    raise RecipeError(f"No recipe {name!r}. {did_you_mean(name, RECIPES)}Known: {', '.join(RECIPES)}.")


def list_recipes() -> dict[str, str]:
    """The recipes by name, and what each is; :func:`crosscam.train` and :func:`crosscam.build_model` take the names."""
    return {recipe.name: recipe.description for recipe in RECIPES.values()}


def build_model(recipe: str | Recipe, num_ids: int, *, pretrained: bool = True) -> nn.Module:
    """A model with random weights, or with the recipe's ImageNet weights in its backbone.

    Args:
        recipe: a recipe or its name, for example ``"rrid-f"``.
        num_ids: K, identities to classify; 0 for a network without classifiers.
        pretrained: False leaves the recipe's ImageNet weights out, for a model that gets all its weights next.
    Returns:
        The network: ``model(images)`` gives a :class:`crosscam.ReidOutput`; ``model.backbone`` is the part from images
        to the feature map, where there is one.
    Raises:
        RecipeError: no such recipe.
        CheckpointError: ImageNet weights that do not fit.
    """
    settings = (find_recipe(recipe) if isinstance(recipe, str) else recipe).model
    return settings.build(num_ids, pretrained=pretrained)
