"""Settings that change nothing because of another one."""

from __future__ import annotations

from crosscam.models.hacnn import HACNNModel
from crosscam.models.pcb import PCBModel
from crosscam.models.rrid import RRIDModel
from crosscam.models.svdnet import SVDNetModel
from crosscam.models.systems import ModelSettings
from crosscam.recipes.choices import SGD, Exponential, Steps
from crosscam.recipes.recipe import Recipe, classifies, stages_of


def without_effect(recipe: Recipe) -> dict[str, str]:
    """Settings that change nothing in this recipe as it stands, each with the setting to change first."""
    found = _idle_data(recipe) | _idle_training(recipe) | _idle_model(recipe.model)
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
