"""Recipes to and from JSON, and single settings by dotted name (``train.epochs=5``)."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crosscam.errors import RecipeError
from crosscam.recipes.recipe import Recipe


def recipe_to_json(recipe: Recipe) -> str:
    """Every setting of the recipe, as readable JSON."""
    return json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"


def recipe_from_json(text: str) -> Recipe:
    """The recipe that :func:`recipe_to_json` wrote.

    Raises:
        RecipeError: not JSON, an unknown setting, or a value of the wrong type.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"recipe.json is not JSON ({error}).") from error
    recipe: Recipe = _typed(Recipe, values, "recipe")
    return recipe


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A copy of a recipe with some settings changed.

    Args:
        recipe: the recipe to start from.
        settings: ``"group.name=value"`` each; the value is JSON or plain text, tuples as ``6,4,2``.
    Raises:
        RecipeError: an unknown name (the nearest is named) or a value that does not fit.
    """
    values = dataclasses.asdict(recipe)
    known = setting_names(recipe)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: expected name=value, for example train.epochs=5.")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or [k for k in known if k.endswith("." + name)]
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RecipeError(f"No setting {name!r} in recipe {recipe.name}.{hint} 'crosscam recipes NAME' lists all.")
        group = values
        *path, last = name.split(".")
        for part in path:
            group = group[part]
        group[last] = _parse(text)
    changed: Recipe = _typed(Recipe, values, "")
    return changed


def setting_names(recipe: Recipe) -> list[str]:
    """Dotted names of all settings."""
    return list(flatten(dataclasses.asdict(recipe)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if "," in text:
            return [_parse(t) for t in text.strip("()").split(",") if t]
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """The value as the annotated type; a wrong one is refused with the setting's name."""
    if dataclasses.is_dataclass(kind):
        return _typed_dataclass(kind, value, name)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None and type(None) in args else _typed(args[0], value, name)
    if origin is Literal:
        if value in args:
            return value
        raise RecipeError(f"{name}={value!r}: expected one of {', '.join(map(str, args))}.")
    if origin is tuple:
        items = list(value) if isinstance(value, list | tuple) else [value]
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise RecipeError(f"{name}={value!r}: expected {len(args)} values.")
        return tuple(_typed(args[0], item, name) for item in items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise RecipeError(f"{name}={value!r}: expected {kind.__name__}.")
    return value


def _typed_dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{name or 'recipe'}: expected a group of settings, found {value!r}.")
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise RecipeError(
            f"Unknown setting {'.'.join(filter(None, (name, unknown[0])))}. Was it written by a newer version?"
        )
    return kind(**{k: _typed(hints[k], v, f"{name}.{k}".lstrip(".")) for k, v in value.items()})
