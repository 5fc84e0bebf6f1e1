"""What stands in the place of a recipe for a network that was trained elsewhere: its input, and how it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from crosscam.data.network_input import NetworkInput
from crosscam.data.resizing import Resize
from crosscam.errors import RecipeError
from crosscam.recipes.recipe import Data, Recipe


@dataclass(frozen=True)
class ImportedModel:
    """A network from elsewhere; nothing builds or trains it.

    Attributes:
        takes: its declared input.
    """

    takes: NetworkInput
    system: Literal["imported"] = "imported"

    def check(self, height: int, width: int) -> None:
        """Every size is its own."""

    def build(self, num_ids: int, *, pretrained: bool = True) -> nn.Module:
        """Refuse."""
        del num_ids, pretrained
        raise RecipeError("A network that was imported cannot be trained here. Choose a recipe: 'crosscam recipes'.")


def imported_recipe(name: str, takes: NetworkInput) -> Recipe:
    """A recipe by which an imported network is opened and scored.

    Args:
        name: of the network.
        takes: its declared input.
    """
    description = f"A network from elsewhere; declared input: {takes}."
    return Recipe(name, description, Data(height=takes.height, width=takes.width), ImportedModel(takes))


def resize_of(recipe: Recipe) -> Resize:
    """How the pictures for a network are resized."""
    return recipe.model.takes.resize if isinstance(recipe.model, ImportedModel) else "bilinear"
