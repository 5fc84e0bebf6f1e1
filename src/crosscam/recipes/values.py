"""Values of settings: their types, as text or from JSON."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crosscam.errors import RecipeError
from crosscam.models.systems import SYSTEMS, ModelSettings
from crosscam.recipes.choices import LOSSES, OPTIMIZERS, SCHEDULES

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
CHOICES: dict[str, Mapping[str, type[Any]]] = {"loss": LOSSES, "optim": OPTIMIZERS, "schedule": SCHEDULES}
# Settings that every loss, optimizer and schedule of version 0.1 had.
_EARLIER = {
    "loss": {"margin", "cross_entropy_weight", "label_smoothing", "triplet_on"},
    "optim": {"momentum", "nesterov"},
    "schedule": {"milestones", "gamma", "floor"},
}
# Settings and values that earlier versions spelled in the British way.
EARLIER_NAMES = {
    "data.augment.grey": "data.augment.gray",
    "distill.unlabelled": "distill.unlabeled",
    "distill.unlabelled_images": "distill.unlabeled_images",
    "evaluation.normalise": "evaluation.normalize",
}
_EARLIER_VALUES = {"colour": "color"}
TRUTH = {"true": True, "false": False}


class Text(str):
    """A value as it was typed; what it means depends on the type that is wanted."""


def typed(kind: Any, value: Any, name: str) -> Any:
    """The value as the annotated type; a wrong one is refused with the setting's name."""
    if kind is ModelSettings:
        kind = _settings_class(value, name)
    elif name in CHOICES:
        kind, value = _chosen(value, name)
    if dataclasses.is_dataclass(kind):
        return _typed_dataclass(kind, value, name)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        absent = value is None or (isinstance(value, Text) and value.lower() in ("none", "null"))
        return None if absent else typed(args[0], value, name)
    if origin is Literal:
        value = value if value in args else _EARLIER_VALUES.get(str(value), value)
        if value in args:
            return str(value)
        raise RecipeError(f"{name}={value!s}: expected one of {', '.join(map(str, args))}.")
    if origin is tuple:
        return _typed_tuple(args, value, name)
    if isinstance(value, Text):
        value = str(value) if kind is str else _parsed(value, kind)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise RecipeError(f"{name}={value!s}: expected {TYPE_NAMES[kind]}.")
    return value


def _typed_tuple(args: tuple[Any, ...], value: Any, name: str) -> Any:
    if isinstance(value, Text):
        value = [Text(item.strip()) for item in value.strip("()[] ").split(",") if item.strip()]
    if not isinstance(value, list | tuple):
        raise RecipeError(f"{name}={value!s}: expected a list.")
    if args[-1] is not Ellipsis and len(value) != len(args):
        raise RecipeError(f"{name}={','.join(map(str, value))}: expected {len(args)} values.")
    return tuple(typed(args[0], item, name) for item in value)


def _parsed(text: str, kind: type) -> Any:
    """The number or truth value that the text spells, or else the text itself."""
    try:
        return TRUTH[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        return text


def _settings_class(value: Any, name: str) -> type[ModelSettings]:
    # Recipes were written without the system's name while there was one system.
    system = value.get("system", "rrid") if isinstance(value, Mapping) else None
    if system not in SYSTEMS:
        raise RecipeError(f"{name}.system={system!r}: expected one of {', '.join(SYSTEMS)}.")
    return SYSTEMS[system]


def _chosen(value: Any, group: str) -> tuple[type[Any], Any]:
    """The class of a loss, optimizer or schedule, and its settings.

    Recipes of version 0.1 have the settings of all classes; what the chosen one does not use is left out.
    """
    classes = CHOICES[group]
    name = str(value.get("name")) if isinstance(value, Mapping) else "none"
    if name not in classes:
        raise RecipeError(f"{group}.name={name}: expected one of {', '.join(classes)}.")
    own = field_names(classes[name])
    if name == "exponential" and "milestones" in value:
        first = (*value["milestones"], 0)[0]
        value = {**value, "constant_epochs": first}
    return classes[name], {k: v for k, v in value.items() if k in own or k not in _EARLIER[group]}


def _typed_dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{name or 'recipe'}: expected a group of settings, found {value!r}.")
    hints = get_type_hints(kind)
    # Only the last part of a name has ever changed.
    now = {k: EARLIER_NAMES.get(f"{name}.{k}", "").rpartition(".")[2] or k for k in value}
    value = {now[k]: v for k, v in value.items()}
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise RecipeError(f"Unknown setting {f'{name}.{unknown[0]}'.lstrip('.')}. Was it written by a newer version?")
    absent = [f for f in dataclasses.fields(kind) if f.name not in value]
    missing = [f.name for f in absent if f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise RecipeError(f"The setting {f'{name}.{missing[0]}'.lstrip('.')} is missing.")
    return kind(**{k: typed(hints[k], v, f"{name}.{k}".lstrip(".")) for k, v in value.items()})


def field_names(kind: Any) -> set[str]:
    """Settings of a group."""
    return {f.name for f in dataclasses.fields(kind)}
