"""Recipes to and from JSON, and single settings by dotted name (``train.epochs=5``); settings without effect."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from crosscam.errors import RecipeError
from crosscam.models.baselines.hacnn import HACNNModel
from crosscam.models.baselines.pcb import PCBModel
from crosscam.models.baselines.svdnet import SVDNetModel
from crosscam.models.rrid import RRIDModel
from crosscam.models.systems import SYSTEMS, ModelSettings
from crosscam.recipes.choices import LOSSES, OPTIMIZERS, SCHEDULES, SGD, Exponential, Steps
from crosscam.recipes.recipe import Recipe, classifies, flatten, stages_of
from crosscam.system.text import did_you_mean, parse_json


def without_effect(recipe: Recipe) -> dict[str, str]:
    """Settings that change nothing in this recipe as it stands, each with the setting to change first."""
    found = _idle_data(recipe) | _idle_training(recipe) | _idle_model(recipe.model) | _idle_adaptation(recipe)
    pairs = getattr(recipe.loss, "pairs", None)
    if pairs in ("soft-margin", "weighted"):
        found["loss.margin"] = f"loss.pairs={pairs}"
    if not recipe.distill.teachers:
        found["distill.input"] = "no distill.teachers"
    if not classifies(recipe.model):
        why = f"model.system={recipe.model.system}, which has no classifiers"
        found |= {f"loss.{name}": why for name in ("cross_entropy_weight", "label_smoothing")}
    elif getattr(recipe.loss, "cross_entropy_weight", 1) == 0:
        found["loss.label_smoothing"] = "loss.cross_entropy_weight=0"
    return found


def _idle_data(recipe: Recipe) -> dict[str, str]:
    augment = recipe.data.augment
    found: dict[str, str] = {}
    if augment.erase == "none":
        why = "data.augment.erase=none"
        found |= {f"data.augment.{name}": why for name in ("erase_probability", "erase_area", "erase_fill")}
    elif not augment.erase_probability:
        found |= {f"data.augment.{name}": "data.augment.erase_probability=0" for name in ("erase_area", "erase_fill")}
    if not recipe.data.small_until:
        found["data.small"] = "data.small_until=0"
    return found


def _idle_training(recipe: Recipe) -> dict[str, str]:
    schedule, train = recipe.schedule, recipe.train
    found: dict[str, str] = {}
    if not schedule.warmup_epochs:
        found["schedule.warmup_start"] = "schedule.warmup_epochs=0"
    if isinstance(schedule, Steps) and not schedule.milestones:
        found["schedule.gamma"] = "no schedule.milestones"
    elif isinstance(schedule, Steps) and min(schedule.milestones) > train.epochs:
        why = f"train.epochs={train.epochs} and schedule.milestones={','.join(map(str, schedule.milestones))}"
        found |= {f"schedule.{name}": why for name in ("milestones", "gamma")}
    if isinstance(schedule, Exponential) and schedule.constant_epochs >= train.epochs:
        found["schedule.floor"] = f"schedule.constant_epochs={schedule.constant_epochs}"
    if isinstance(recipe.optim, SGD) and not recipe.optim.momentum:
        found["optim.nesterov"] = "optim.momentum=0"
    stages = stages_of(recipe.model)
    if not stages:
        found["train.frozen_stages"] = f"model.system={recipe.model.system}, whose backbone is not one in stages"
    elif train.frozen_stages == stages:
        found["optim.lr_backbone"] = f"train.frozen_stages={stages}"
    if isinstance(recipe.model, HACNNModel):
        found["optim.lr_backbone"] = f"model.system={recipe.model.system}, whose rate is optim.lr_head"
    return found


def _idle_model(model: ModelSettings) -> dict[str, str]:
    found: dict[str, str] = {}
    if isinstance(model, RRIDModel):
        if not model.project:
            found["model.whiten"] = "model.project=0"
        if not model.local_features:
            found |= {f"model.{name}": "model.local_features=false" for name in ("relation", "local_pooling")}
        if model.global_pooling != "gcp":
            found["model.contrast"] = f"model.global_pooling={model.global_pooling}"
            found["model.contrast_pooling"] = f"model.global_pooling={model.global_pooling}"
    if isinstance(model, PCBModel) and not model.refined:
        found |= {f"model.{name}": "model.refined=false" for name in ("stripe_epochs", "assignment_epochs")}
    if isinstance(model, SVDNetModel) and not model.plan.iterations:
        found |= {f"model.plan.{name}": "model.plan.iterations=0" for name in ("base", "restraint", "relaxation")}
    return found


def _idle_adaptation(recipe: Recipe) -> dict[str, str]:
    if recipe.adapt is None:
        return {}
    why = "crosscam adapt, whose loss is set by adapt.temperature and others of adapt"
    found = {f"loss.{name}": why for name in _field_names(type(recipe.loss))}
    found |= {"evaluation.every": "crosscam adapt, which scores before and after"}
    if not recipe.adapt.cameras:
        found |= {f"adapt.{name}": "adapt.cameras=false" for name in ("inter_camera", "hard_proxies")}
    elif not recipe.adapt.inter_camera:
        found["adapt.hard_proxies"] = "adapt.inter_camera=0"
    return found


TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
CHOICES: dict[str, Mapping[str, type[Any]]] = {"loss": LOSSES, "optim": OPTIMIZERS, "schedule": SCHEDULES}
# Settings that every loss, optimiser and schedule of version 0.1 had.
_EARLIER = {
    "loss": {"margin", "cross_entropy_weight", "label_smoothing", "triplet_on"},
    "optim": {"momentum", "nesterov"},
    "schedule": {"milestones", "gamma", "floor"},
}
TRUTH = {"true": True, "false": False}


class UnusedSettingError(RecipeError):
    """A setting that a recipe does not have, or that changes nothing in it.

    Attributes:
        setting: its dotted name.
    """

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


def recipe_to_json(recipe: Recipe) -> str:
    """Every setting of the recipe, as readable JSON."""
    return json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"


def recipe_from_json(text: str) -> Recipe:
    """The recipe that :func:`recipe_to_json` wrote.

    Raises:
        RecipeError: not JSON, an unknown setting, or a value of the wrong type.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise RecipeError(f"recipe.json is not JSON ({error}).") from error
    recipe: Recipe = _typed(Recipe, values, "")
    return recipe


def with_settings(recipe: Recipe, settings: Sequence[str], *, once: bool = False) -> Recipe:
    """A copy of a recipe with some settings changed.

    Args:
        recipe: the recipe to start from.
        settings: ``"group.name=value"`` each; tuples as ``6,4,2``, ``none`` for no value. The last of a name counts.
        once: refuse a name that is given twice, as what a user types is.
    Raises:
        RecipeError: an unknown name (the nearest is named), a name that is given twice, or a value that does not fit.
    """
    values = dataclasses.asdict(recipe)
    pairs = [_pair(setting) for setting in settings]
    if once:
        _refuse_repeated(pairs)
    for name, text in pairs:
        group, _, last = name.partition(".")
        if last == "name" and group in CHOICES:
            _choose(values, group, text)
    known = list(flatten(values))
    for name, text in pairs:
        if name not in known:
            raise UnusedSettingError(_unknown(name, known, recipe.name, values), name)
        at = values
        *path, last = name.split(".")
        for part in path:
            at = at[part]
        at[last] = Text(text)
    changed: Recipe = _typed(Recipe, values, "")
    idle = without_effect(changed)
    for name, _ in pairs:
        if name in idle:
            raise UnusedSettingError(
                f"{name} changes nothing with {idle[name]}. Change that first, or leave {name} out.", name
            )
    return changed


def _pair(setting: str) -> tuple[str, str]:
    name, equals, text = setting.partition("=")
    if not equals:
        raise RecipeError(f"--set {setting}: expected name=value, for example train.epochs=5.")
    return name, text


def _refuse_repeated(pairs: Sequence[tuple[str, str]]) -> None:
    """Only the last value would count."""
    given: dict[str, str] = {}
    for name, text in pairs:
        if name in given:
            raise RecipeError(f"{name} is given twice, as {given[name]} and as {text}. Give it once.")
        given[name] = text


def _choose(values: dict[str, Any], group: str, name: str) -> None:
    """Take another loss, optimiser or schedule: settings that both have stay, others get its own values."""
    classes = CHOICES[group]
    if name not in classes:
        raise RecipeError(f"{group}.name={name}: expected one of {', '.join(classes)}.")
    if name != values[group]["name"]:
        own = dataclasses.asdict(classes[name]())
        values[group] = own | {k: v for k, v in values[group].items() if k in own and k != "name"}


def _unknown(name: str, known: Sequence[str], recipe: str, values: Mapping[str, Any]) -> str:
    group, _, last = name.partition(".")
    if any(last in _field_names(kind) for kind in CHOICES.get(group, {}).values()):
        chosen = values[group]["name"]
        own = ", ".join(k for k in values[group] if k != "name") or "none"
        return f"{name} changes nothing with {group}.name={chosen}. Its settings: {own}."
    ending = next((f"Did you mean {k}? " for k in known if k.endswith("." + name)), "")
    hint = did_you_mean(name, known) or ending
    return f"No setting {name!r} in recipe {recipe}. {hint}'crosscam recipes NAME' lists all."


def _field_names(kind: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(kind)}


def setting_names(recipe: Recipe) -> list[str]:
    """Dotted names of all settings."""
    return list(flatten(dataclasses.asdict(recipe)))


class Text(str):
    """A value as it was typed; what it means depends on the type that is wanted."""


def _typed(kind: Any, value: Any, name: str) -> Any:
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
        return None if absent else _typed(args[0], value, name)
    if origin is Literal:
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
    return tuple(_typed(args[0], item, name) for item in value)


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
    """The class of a loss, optimiser or schedule, and its settings.

    Recipes of version 0.1 have the settings of all classes; what the chosen one does not use is left out.
    """
    classes = CHOICES[group]
    name = str(value.get("name")) if isinstance(value, Mapping) else "none"
    if name not in classes:
        raise RecipeError(f"{group}.name={name}: expected one of {', '.join(classes)}.")
    own = _field_names(classes[name])
    if name == "exponential" and "milestones" in value:
        first = (*value["milestones"], 0)[0]
        value = {**value, "constant_epochs": first}
    return classes[name], {k: v for k, v in value.items() if k in own or k not in _EARLIER[group]}


def _typed_dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{name or 'recipe'}: expected a group of settings, found {value!r}.")
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise RecipeError(f"Unknown setting {f'{name}.{unknown[0]}'.lstrip('.')}. Was it written by a newer version?")
    missing = [f.name for f in dataclasses.fields(kind) if _is_required(f) and f.name not in value]
    if missing:
        raise RecipeError(f"The setting {f'{name}.{missing[0]}'.lstrip('.')} is missing.")
    return kind(**{k: _typed(hints[k], v, f"{name}.{k}".lstrip(".")) for k, v in value.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
