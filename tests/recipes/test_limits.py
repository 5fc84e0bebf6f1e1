from __future__ import annotations

import pytest

from crosscam.errors import RecipeError
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.settings import recipe_from_json, recipe_to_json, with_settings

BACKBONE = "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.{},depths=1.1.1.1"


@pytest.mark.parametrize(
    "setting",
    [
        "data.width=1000000",
        "data.height=4097",
        "data.small=100000,32",
        "data.batch_ids=1000000000",
        "data.batch_images=100000",
        "model.dim=1000000000000",
        "model.scales=1000000,2",
        BACKBONE.format(9 * 10**12),
        BACKBONE.format("9" * 5000),
        "train.epochs=100000000000",
        f"train.seed={2**70}",
        "train.accumulate=1000000",
        "evaluation.batch_size=1000000",
        f"evaluation.every={2**40}",
    ],
)
def test_absurd_sizes_are_refused_at_once(setting: str) -> None:
    with pytest.raises(RecipeError, match="expected at most") as caught:
        with_settings(find_recipe("demo"), [setting])
    name = setting.partition("=")[0]
    assert str(caught.value).startswith(f"{name}=")
    assert len(str(caught.value)) < 150


def test_a_batch_of_too_many_pixels_is_refused() -> None:
    settings = ["data.batch_ids=4096", "data.batch_images=64", "data.height=1024", "data.width=1024"]
    with pytest.raises(RecipeError, match="a batch of 274,877,906,944 pixels"):
        with_settings(find_recipe("demo"), settings)


def test_every_recipe_is_far_from_the_limits() -> None:
    for recipe in RECIPES.values():
        assert recipe_from_json(recipe_to_json(recipe)) == recipe
    grown = ["data.height=768", "data.width=256", "data.batch_ids=64", "data.batch_images=8", "model.dim=2048"]
    assert with_settings(find_recipe("demo"), grown).data.height == 768
