"""Recipes to and from JSON, and single settings by dotted name (``train.epochs=5``); settings without effect."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from crosscam.errors import RecipeError
from crosscam.models.baselines.hacnn import HACNNModel
from crosscam.models.baselines.pcb import PCBModel
from crosscam.models.baselines.svdnet import SVDNetModel
from crosscam.models.rrid import RRIDModel
from crosscam.models.systems import ModelSettings
from crosscam.recipes.choices import SGD, Exponential, Steps
from crosscam.recipes.ranges import flatten
from crosscam.recipes.recipe import Recipe, classifies, stages_of
from crosscam.recipes.values import CHOICES, EARLIER_NAMES, Text, field_names, typed
from crosscam.system.text import did_you_mean, parse_json


def without_effect(recipe: Recipe) -> dict[str, str]:
    """Settings that change nothing in this recipe as it stands, each with the setting to change first."""
    found = _idle_data(recipe) | _idle_training(recipe) | _idle_model(recipe.model) | _idle_adaptation(recipe)
    pairs = getattr(recipe.loss, "pairs", None)
    if pairs in ("soft-margin", "weighted"):
        found["loss.margin"] = f"loss.pairs={pairs}"
    if getattr(recipe.loss, "softmax", None) == "plain":
        found |= {f"loss.softmax_{name}": "loss.softmax=plain" for name in ("scale", "margin")}
    if not getattr(recipe.loss, "center_weight", 1):
        found["loss.center_rate"] = "loss.center_weight=0"
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
    if recipe.adapt is not None:
        found["train.start"] = "an adaptation, which starts from its network"
    elif train.start is not None:
        found["model.pretrained"] = f"train.start={train.start}, which brings the whole network"
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
    found = {f"loss.{name}": why for name in field_names(type(recipe.loss))}
    found |= {"evaluation.every": "crosscam adapt, which scores before and after"}
    if not recipe.adapt.cameras:
        found |= {f"adapt.{name}": "adapt.cameras=false" for name in ("inter_camera", "hard_proxies")}
    elif not recipe.adapt.inter_camera:
        found["adapt.hard_proxies"] = "adapt.inter_camera=0"
    return found


class UnusedSettingError(RecipeError):
    """A setting, by its dotted name, that a recipe does not have, or that changes nothing in it."""

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


def recipe_to_json(recipe: Recipe) -> str:
    """Every setting of the recipe, as readable JSON."""
    return json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"


def recipe_from_json(text: str) -> Recipe:
    """The recipe that :func:`recipe_to_json` wrote; RecipeError for no JSON, an unknown setting, or a wrong value."""
    try:
        values = parse_json(text)
    except ValueError as error:
        raise RecipeError(f"recipe.json is not JSON ({error}).") from error
    recipe: Recipe = typed(Recipe, values, "")
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
    changed: Recipe = typed(Recipe, values, "")
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
    return EARLIER_NAMES.get(name, name), text


def _refuse_repeated(pairs: Sequence[tuple[str, str]]) -> None:
    """Only the last value would count."""
    given: dict[str, str] = {}
    for name, text in pairs:
        if name in given:
            raise RecipeError(f"{name} is given twice, as {given[name]} and as {text}. Give it once.")
        given[name] = text


def _choose(values: dict[str, Any], group: str, name: str) -> None:
    """Take another loss, optimizer or schedule: settings that both have stay, others get its own values."""
    classes = CHOICES[group]
    if name not in classes:
        raise RecipeError(f"{group}.name={name}: expected one of {', '.join(classes)}.")
    if name != values[group]["name"]:
        own = dataclasses.asdict(classes[name]())
        values[group] = own | {k: v for k, v in values[group].items() if k in own and k != "name"}


def _unknown(name: str, known: Sequence[str], recipe: str, values: Mapping[str, Any]) -> str:
    group, _, last = name.partition(".")
    if any(last in field_names(kind) for kind in CHOICES.get(group, {}).values()):
        chosen = values[group]["name"]
        own = ", ".join(k for k in values[group] if k != "name") or "none"
        return f"{name} changes nothing with {group}.name={chosen}. Its settings: {own}."
    ending = next((f"Did you mean {k}? " for k in known if k.endswith("." + name)), "")
    hint = did_you_mean(name, known) or ending
    return f"No setting {name!r} in recipe {recipe}. {hint}'crosscam recipes NAME' lists all."


def setting_names(recipe: Recipe) -> list[str]:
    """Dotted names of all settings."""
    return list(flatten(dataclasses.asdict(recipe)))
