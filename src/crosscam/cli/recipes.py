"""``crosscam recipes``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tyro.conf import Positional

from crosscam.cli.options import General, Unset
from crosscam.cli.show import show_json, show_text, table
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.limits import flatten
from crosscam.recipes.settings import recipe_to_json


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or all settings of one."""

    name: Positional[Unset[str]] = None
    """Recipe to show in full."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Show."""
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
            rows = [(k, _as_typed(v)) for k, v in flatten(dataclasses.asdict(recipe)).items()]
            table(("setting", "value"), rows, numbers=False)


def _as_typed(value: object) -> str:
    """A setting's value as ``--set`` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
