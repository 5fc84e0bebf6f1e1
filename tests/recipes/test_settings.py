"""Recipes as JSON, and single settings by name."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from torch import nn

from crosscam.errors import RecipeError
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.checkpoint import load_recipe
from crosscam.recipes.choices import SGD, MGNLoss, Steps
from crosscam.recipes.recipe import Data, Recipe
from crosscam.recipes.settings import (
    UnusedSettingError,
    recipe_from_json,
    recipe_to_json,
    setting_names,
    with_settings,
)
from crosscam.training.plan import build_optimizer

DEMO = RECIPES["demo"]


def setting(recipe: Recipe, name: str) -> object:
    value: object = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_json_gives_every_recipe_back(recipe: Recipe) -> None:
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


def test_json_gives_back_values_that_are_not_the_defaults() -> None:
    changed = with_settings(
        DEMO,
        ["optim.clip_norm=2", "model.pretrained=a.pth", "data.small=64,32", "data.small_until=0.5", "train.seed=7"],
    )
    again = recipe_from_json(recipe_to_json(changed))
    assert again == changed
    assert isinstance(again.data.small, tuple)
    assert isinstance(again.optim.clip_norm, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=5", 5),
        ("optim.lr_head=1e-3", 1e-3),
        ("optim.lr_head=1", 1.0),
        ("data.augment.flip=.25", 0.25),
        ("data.augment.flip=0", 0.0),
        ("data.augment.erase=none", "none"),
        ("model.global_pooling=none", "none"),
        ("model.relation=none", "none"),
        ("model.global_pooling=gap+gmp", "gap+gmp"),
        ("model.scales=4", (4,)),
        ("model.scales=8,4,2", (8, 4, 2)),
        ("model.scales=(4, 2)", (4, 2)),
        ("model.scales=[2]", (2,)),
        ("schedule.warmup_epochs=3", 3.0),
        ("train.channels_last=false", False),
        ("train.channels_last=True", True),
        ("optim.clip_norm=none", None),
        ("optim.clip_norm=2", 2.0),
        ("model.pretrained=none", None),
        ("model.pretrained=weights/a=b,c.pth", "weights/a=b,c.pth"),
        ("model.pretrained=1", "1"),
        (
            "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
            "basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
        ),
    ],
)
def test_a_setting_becomes_the_type_it_has(text: str, expected: object) -> None:
    name = text.partition("=")[0]
    value = setting(with_settings(DEMO, [text]), name)
    assert value == expected
    assert type(value) is type(expected)
    if isinstance(expected, tuple) and isinstance(value, tuple):
        assert [type(v) for v in value] == [type(v) for v in expected]


def test_only_the_named_settings_change() -> None:
    changed = with_settings(DEMO, ["train.epochs=6", "data.augment.jitter=0.1"])
    expected = dataclasses.replace(
        DEMO,
        train=dataclasses.replace(DEMO.train, epochs=6),
        data=dataclasses.replace(DEMO.data, augment=dataclasses.replace(DEMO.data.augment, jitter=0.1)),
    )
    assert changed == expected
    assert DEMO.train.epochs != 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs", "expected name=value"),
        ("train.epocs=5", "Did you mean train.epochs?"),
        ("epochs=5", "Did you mean train.epochs?"),
        ("jitter=0.1", "Did you mean data.augment.jitter?"),
        ("xyzzy=1", "'crosscam recipes NAME' lists all"),
        ("train.epochs=5.5", "train.epochs=5.5: expected a whole number"),
        ("train.epochs=many", "train.epochs=many: expected a whole number"),
        ("train.epochs=none", "train.epochs=none: expected a whole number"),
        ("train.channels_last=1", "expected true or false"),
        ("optim.lr_head=fast", "optim.lr_head=fast: expected a finite number"),
        ("optim.lr_head=nan", "optim.lr_head=nan: expected a finite number"),
        ("optim.lr_head=inf", "expected a finite number"),
        ("train.precision=fp16", "train.precision=fp16: expected one of fp32, bf16"),
        ("data.augment.erase=sometimes", "expected one of authors, correct, none"),
        ("data.small=64", "data.small=64: expected 2 values"),
        ("model.scales=4,x", "model.scales=x: expected a whole number"),
    ],
)
def test_a_wrong_setting_is_answered_with_one_line(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_settings(DEMO, [text])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def changed_json(**groups: object) -> str:
    return json.dumps({**json.loads(recipe_to_json(DEMO)), **groups})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "expected a group of settings"),
        ("{}", "setting name is missing"),
        (changed_json(speed=3), "Unknown setting speed"),
        (changed_json(train={"epochs": 3, "warp": 1}), "Unknown setting train.warp"),
        (changed_json(train={"epochs": "3"}), "train.epochs=3: expected a whole number"),
        (changed_json(train={"epochs": True}), "train.epochs=True: expected a whole number"),
        (changed_json(train=5), "train: expected a group of settings"),
        (changed_json(model={"scales": 4}), "model.scales=4: expected a list"),
        (changed_json(name=None), "name=None: expected a text"),
    ],
)
def test_a_damaged_recipe_file_is_answered_with_one_line(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from_json(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_a_file_leaves_out_take_their_defaults() -> None:
    recipe = recipe_from_json(json.dumps({"name": "mine", "description": "", "train": {"epochs": 3}}))
    assert recipe.train.epochs == 3
    assert recipe.data == Data()


def test_every_setting_has_a_name() -> None:
    names = setting_names(DEMO)
    assert {"name", "data.augment.flip", "data.small", "model.scales", "evaluation.every"} <= set(names)
    assert len(names) == len(set(names))


def test_an_unknown_recipe_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="Did you mean rrid-f"):
        find_recipe("rridf")
    with pytest.raises(RecipeError, match="Known: rrid-f, "):
        find_recipe("?")


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        ("mgn", "loss.label_smoothing=0.3", r"smoothing changes nothing with loss\.name=mgn\. Its settings: margin\."),
        ("mgn", "loss.cross_entropy_weight=9", r"changes nothing with loss\.name=mgn"),
        ("pcb", "loss.margin=9", r"changes nothing with loss\.name=classification\. Its settings: label_smoothing\."),
        ("osnet", "loss.triplet_on=descriptor", r"changes nothing with loss\.name=classification"),
        ("trinet", "loss.margin=9", r"changes nothing with loss\.name=soft-margin\. Its settings: none\."),
        ("trinet", "optim.momentum=0.5", r"changes nothing with optim\.name=adam\. Its settings: lr_backbone, .*betas"),
        ("rrid-f", "optim.betas=0.5,0.9", r"changes nothing with optim\.name=sgd"),
        ("rrid-f", "schedule.floor=0.1", r"changes nothing with schedule\.name=steps"),
        ("demo", "schedule.gamma=0.5", r"changes nothing with schedule\.name=cosine"),
        ("pcb", "data.augment.erase_probability=0.3", r"changes nothing with data\.augment\.erase=none"),
        ("rrid-f", "data.small=64,32", r"changes nothing with data\.small_until=0"),
        ("rrid-f", "schedule.warmup_start=0.5", r"changes nothing with schedule\.warmup_epochs=0"),
        ("rrid-f", "model.whiten=false", r"changes nothing with model\.project=0"),
        ("rrid-f", "schedule.milestones=90", r"changes nothing with train\.epochs=80 and schedule\.milestones=90"),
        ("pcb", "model.stripe_epochs=3", r"changes nothing with model\.refined=false"),
        ("hacnn", "optim.lr_backbone=0.1", r"changes nothing with model\.system=hacnn, whose rate is optim\.lr_head"),
        ("hacnn", "train.frozen_stages=1", r"changes nothing with model\.system=hacnn, whose backbone"),
        ("demo", "train.frozen_stages=6", r"the backbone of rrid has 5 stages"),
        ("trinet", "loss.name=classification", r"trinet has no classifiers, so that nothing would be learned"),
        ("rrid-f", "loss.name=bnneck", r"only model\.system=bot gives"),
        ("pcb", "loss.name=aligned-reid", r"only model\.system=aligned-reid gives"),
    ],
)  # fmt: skip
def test_settings_without_effect_are_refused(recipe: str, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_settings(find_recipe(recipe), [setting])


def test_another_choice_brings_its_own_settings_and_keeps_the_shared_ones() -> None:
    changed = with_settings(
        find_recipe("demo"),
        ["optim.momentum=0.5", "optim.name=sgd", "loss.name=mgn", "loss.margin=0.7", "schedule.name=steps"],
    )
    assert changed.optim == SGD(lr_backbone=2e-3, lr_head=2e-3, momentum=0.5, weight_decay=0.02)
    assert changed.loss == MGNLoss(margin=0.7)
    assert changed.schedule == Steps(warmup_epochs=1)
    assert recipe_from_json(recipe_to_json(changed)) == changed


def test_recipes_of_version_0_1_are_read() -> None:
    """Every loss, optimizer and schedule had all settings then."""
    values = json.loads(recipe_to_json(find_recipe("trinet")))
    values["loss"] |= {"margin": 1.2, "cross_entropy_weight": 2.0, "label_smoothing": 0.0, "triplet_on": "blocks"}
    values["optim"] |= {"momentum": 0.9, "nesterov": False}
    del values["optim"]["betas"]
    values["schedule"] = {"name": "exponential", "milestones": [84], "gamma": 0.1, "warmup_epochs": 0.0,
                          "warmup_start": 0.1, "floor": 1e-3}  # fmt: skip
    assert recipe_from_json(json.dumps(values)) == find_recipe("trinet")
    values["loss"]["alpha"] = 1
    with pytest.raises(RecipeError, match=r"Unknown setting loss\.alpha"):
        recipe_from_json(json.dumps(values))


def test_adams_betas_reach_the_optimiser() -> None:
    recipe = with_settings(find_recipe("trinet"), ["optim.betas=0.5,0.9"])
    (group, *_) = build_optimizer(nn.Linear(2, 2), recipe.optim).param_groups
    assert group["betas"] == (0.5, 0.9)
    with pytest.raises(RecipeError, match=r"optim\.betas=.* must lie in \[0, 1\)"):
        with_settings(find_recipe("trinet"), ["optim.betas=0.5,1"])


@pytest.mark.parametrize(
    ("recipe", "settings", "idle"),
    [
        ("rrid-f", ["data.augment.erase_probability=0", "data.augment.erase_fill=mean"], "data.augment.erase_fill"),
        ("trinet", ["loss.name=rrid", "loss.label_smoothing=0.1"], "loss.label_smoothing"),
        ("rrid-f", ["loss.cross_entropy_weight=0", "loss.label_smoothing=0.1"], "loss.label_smoothing"),
        ("trinet", ["train.epochs=9", "schedule.floor=0.1"], "schedule.floor"),
        ("svdnet", ["model.plan.iterations=0", "model.plan.base=3"], "model.plan.base"),
        ("demo", ["train.frozen_stages=5", "optim.lr_backbone=0.1"], "optim.lr_backbone"),
    ],
)
def test_a_setting_that_another_one_leaves_without_effect(recipe: str, settings: list[str], idle: str) -> None:
    with pytest.raises(UnusedSettingError, match="changes nothing") as caught:
        with_settings(find_recipe(recipe), settings)
    assert caught.value.setting == idle


def test_mgns_stages_before_its_branches_can_be_frozen() -> None:
    assert with_settings(find_recipe("mgn"), ["train.frozen_stages=3"]).train.frozen_stages == 3
    with pytest.raises(RecipeError, match=r"train\.frozen_stages=4: the backbone of mgn has 3 stages"):
        with_settings(find_recipe("mgn"), ["train.frozen_stages=4"])


def test_a_setting_that_is_given_twice_is_refused() -> None:
    for values in (("1", "2"), ("1", "1")):
        with pytest.raises(RecipeError, match=r"train\.epochs is given twice, as 1 and as"):
            with_settings(find_recipe("demo"), [f"train.epochs={value}" for value in values], once=True)
    assert with_settings(find_recipe("demo"), ["train.epochs=1", "train.epochs=2"]).train.epochs == 2


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("pcb", "model.num_parts"),
        ("deep-person", "model.num_parts"),
        ("aligned-reid", "model.num_parts"),
        ("hpm", "model.scales"),
        ("mgn", "model.scales"),
    ],
)
def test_no_stripes_are_one_line(recipe: str, setting: str) -> None:
    with pytest.raises(RecipeError, match=f"{setting}=0: expected at least 1 stripe"):
        with_settings(find_recipe(recipe), [f"{setting}=0"])


def test_images_are_not_shifted_beyond_any_image() -> None:
    with pytest.raises(RecipeError, match=r"data\.augment\.shift_pixels=1000000: images of 128 x 64 would be shifted"):
        with_settings(find_recipe("demo"), ["data.augment.shift_pixels=1000000"])


def test_names_and_values_of_earlier_versions_are_read(tmp_path: Path) -> None:
    now = ["data.augment.gray=0.25", "data.augment.erase_fill=color", "evaluation.normalize=false"]
    now += ["distill.teachers=t.onnx", "distill.similarity=1", "distill.unlabeled=a.txt", "distill.unlabeled_images=4"]
    recipe = with_settings(find_recipe("demo"), now)
    spelled = {"gray": "grey", "color": "colour", "normalize": "normalise", "unlabeled": "unlabelled"}
    text, before = recipe_to_json(recipe), list(now)
    for word, earlier in spelled.items():
        text = re.sub(rf'"{word}(_images)?"', rf'"{earlier}\1"', text)
        before = [setting.replace(word, earlier) for setting in before]
    assert text != recipe_to_json(recipe)
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path) == recipe
    assert with_settings(find_recipe("demo"), before) == recipe
    with pytest.raises(RecipeError, match="given twice"):
        with_settings(recipe, ["data.augment.grey=0.1", "data.augment.gray=0.2"], once=True)
