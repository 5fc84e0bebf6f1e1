"""Recipes: complete, named experiments as frozen dataclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.recipes.catalogue import RECIPES, build_model, find_recipe, list_recipes
    from crosscam.recipes.recipe import Recipe
    from crosscam.recipes.settings import recipe_from_json, recipe_to_json, with_settings

__getattr__, __dir__ = lazily(
    __name__,
    {
        "recipes.catalogue": "RECIPES build_model find_recipe list_recipes",
        "recipes.recipe": "Recipe",
        "recipes.settings": "recipe_from_json recipe_to_json with_settings",
    },
)
__all__ = [
    "RECIPES",
    "Recipe",
    "build_model",
    "find_recipe",
    "list_recipes",
    "recipe_from_json",
    "recipe_to_json",
    "with_settings",
]
