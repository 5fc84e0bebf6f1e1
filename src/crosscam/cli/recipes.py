"""``crosscam recipes``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tyro.conf import Positional

from crosscam.cli.options import General, Unset
from crosscam.cli.show import as_duration, say, show_json, show_text, table
from crosscam.errors import RecipeError
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.ranges import flatten
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_to_json
from crosscam.system.text import counted


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or all settings of one.

    With the memory and the time that its training takes, estimated from the network and from this machine's speed.
    """

    name: Positional[Unset[str]] = None
    """Recipe to show in full."""
    images: int = 12_936
    """Training images for the estimate; those of Market-1501 by default."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        if self.name is None:
            if self.general.json:
                show_json({r.name: r.description for r in RECIPES.values()})
            else:
                table(("recipe", "what it is"), [(r.name, r.description) for r in RECIPES.values()], numbers=False)
            return
        recipe = find_recipe(self.name)
        if self.general.json:
            show_text(recipe_to_json(recipe))
        else:
            # How a training by labels adapts is no setting of it.
            rows = [(k, _as_typed(v)) for k, v in flatten(dataclasses.asdict(recipe)).items() if k != "adapt"]
            table(("setting", "value"), rows, numbers=False)
            _show_cost(recipe, self.images)


def _show_cost(recipe: Recipe, images: int) -> None:
    if images < 1:
        raise RecipeError(f"--images {images}: expected at least 1.")
    from crosscam.training.cost import cost_of, speed

    cost = cost_of(recipe, num_images=images)
    rate, epochs = speed(), counted(cost.epochs, "epoch")
    rows = [
        ("parameters", f"{cost.parameters / 1e6:,.1f} million"),
        ("input", f"{recipe.data.height} x {recipe.data.width} pixels, {cost.batch} images a step"),
        ("an epoch", f"{cost.epoch_images:,} images, of {images:,}"),
        ("arithmetic", f"{cost.flops / 1e9:,.1f} GFLOP an image, forward and backward"),
        ("memory to expect", f"about {cost.memory / 1e9:,.1f} GB"),
        ("time to expect", f"about {as_duration(cost.seconds(rate))} for {epochs} on this machine's CPU"),
    ]
    table(("training", "estimate"), rows, numbers=False)
    say(
        "Estimates: operations and memory are counted on the network without running it; the time is their quotient "
        f"with the speed of a small network here and now, {rate / 1e9:,.0f} GFLOP/s. Expect up to twice as much where "
        "other work runs beside it; a GPU is many times as fast."
    )


def _as_typed(value: object) -> str:
    """A setting's value as ``--set`` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
