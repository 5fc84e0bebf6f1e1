"""The recipe by which a trained network is fitted to other cameras: its own network, and the settings of adaptation."""

from __future__ import annotations

from dataclasses import replace

from crosscam.data.augment import Augment
from crosscam.recipes.adapt_settings import Adapt
from crosscam.recipes.choices import AdamW, Cosine
from crosscam.recipes.recipe import Distill, Recipe, Train, stages_of

SUFFIX = "-adapted"
# Flips, shifts and erasing, as in Dai et al.
AUGMENT = Augment(erase="correct", erase_probability=0.5, erase_area=(0.02, 0.4), erase_fill="mean", shift=0.05)


def adapted_recipe(source: Recipe) -> Recipe:
    """The recipe of an adaptation, before the user's settings.

    The network, its input and its scoring are the source's. Most stages of the backbone are frozen: they are most of a
    step's time, and what they see is no camera's own. The rates are those that were measured (docs/adapt.md).

    Args:
        source: the recipe of the network to start from.
    """
    name = source.name.removesuffix(SUFFIX)
    return replace(
        source,
        name=name + SUFFIX,
        description=f"{name}, fitted to pictures without labels.",
        data=replace(source.data, sampler="identities", batch_ids=16, batch_images=4, augment=AUGMENT, small_until=0.0),
        distill=Distill(),
        optim=AdamW(lr_backbone=3.5e-4, lr_head=7e-4, weight_decay=5e-4),
        schedule=Cosine(floor=0.1),
        train=Train(
            epochs=10,
            precision=source.train.precision,
            channels_last=source.train.channels_last,
            frozen_stages=stages_of(source.model) * 3 // 4,
        ),
        evaluation=replace(source.evaluation, every=0),
        adapt=Adapt(),
    )
