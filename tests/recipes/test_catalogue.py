"""The named recipes, what they build, and the settings that are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from crosscam.errors import RecipeError
from crosscam.recipes.catalogue import RECIPES, build_model, find_recipe
from crosscam.recipes.ranges import flatten
from crosscam.recipes.settings import recipe_to_json, with_settings

LENGTHS = {
    "rrid-f": 3840,
    "rrid-s": 1792,
    "rrid-f-paper": 3840,
    "rrid-s-paper": 1792,
    "rrid-s-scratch": 1792,
    "rrid-s-lite": 1792,
    "rrid-f-lite": 3840,
    "rrid-mini": 512,
    "rrid-mini-128": 512,
    "rrid-mini-fast": 512,
    "rrid-nano": 512,
    "demo": 128 * (4 + 2 + 2),
    # The paper's Table 1.
    "svdnet": 2048,
    "trinet": 128,
    "hacnn": 1024,
    "deep-person": 2048,
    "aligned-reid": 2048,
    "pcb": 1536,
    "pcb-rpp": 1536,
    "hpm": 3840,
    "mgn": 2048,
    "bot": 2048,
    "osnet": 512,
    "transreid": 3840,
}
TINY = "basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_a_model_of_its_descriptor_length(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, num_ids=10, pretrained=False)
    recipe = find_recipe(name)
    images = torch.empty(2, 3, recipe.data.height, recipe.data.width, device="meta")
    output = model.eval()(images)
    assert output.descriptor.shape == (2, LENGTHS[name])
    assert model.layout[0].start == 0
    assert [b.start for b in model.layout[1:]] == [b.stop for b in model.layout[:-1]]
    assert model.layout[-1].stop == LENGTHS[name]
    assert all(logits.shape == (2, 10) for logits in output.logits)


def test_the_two_readings_differ_where_the_paper_and_the_code_do() -> None:
    code, paper = (find_recipe(n) for n in ("rrid-f", "rrid-f-paper"))
    with torch.device("meta"):
        images = torch.empty(2, 3, 384, 128)
        heads = [len(build_model(r, 5).eval()(images).logits) for r in (code, paper)]
    assert heads == [45, 15]
    assert (code.data.sampler, paper.data.sampler) == ("anchors", "identities")
    assert (code.model.contrast, paper.model.contrast) == ("rest_mean", "mean_minus_max")
    assert (code.loss.triplet_on, paper.loss.triplet_on) == ("blocks", "descriptor")
    assert (code.data.augment.erase, code.data.augment.erase_probability) == ("authors", 0.75)


def test_the_authors_settings_are_the_published_ones() -> None:
    values = {
        "data.height": 384,
        "data.width": 128,
        "data.batch_ids": 16,
        "data.batch_images": 4,
        "model.backbone": "resnet50",
        "model.last_stride": 1,
        "model.dim": 256,
        "loss.margin": 1.2,
        "loss.cross_entropy_weight": 2.0,
        "optim.name": "sgd",
        "optim.momentum": 0.9,
        "optim.weight_decay": 5e-4,
        "train.epochs": 80,
        "train.precision": "fp32",
    }
    found = flatten(json.loads(recipe_to_json(find_recipe("rrid-f"))))
    assert {name: found[name] for name in values} == values


@pytest.mark.parametrize(
    "settings",
    [
        ["model.local_features=false"],
        ["model.relation=none"],
        ["model.relation=rest_only"],
        ["model.global_pooling=none"],
        ["model.global_pooling=gap"],
        ["model.global_pooling=gap+gmp"],
        ["model.global_pooling=gmp", "model.classifiers=descriptor"],
        ["model.local_pooling=avg", "model.contrast=mean_minus_max"],
        ["model.last_stride=2", "model.scales=2"],
    ],
)
def test_every_ablation_trains_all_of_its_weights(settings: list[str]) -> None:
    recipe = with_settings(find_recipe("demo"), [f"model.backbone={TINY}", "model.dim=4", *settings])
    model = build_model(recipe, num_ids=3)
    output = model(torch.randn(4, 3, 128, 64))
    (output.descriptor.sum() + sum(logits.sum() for logits in output.logits)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_seed_decides_the_weights() -> None:
    recipe = with_settings(find_recipe("demo"), [f"model.backbone={TINY}", "model.dim=4"])
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build_model(recipe, 3).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["backbone.conv1.weight"], states[2]["backbone.conv1.weight"])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.backbone=resnet19", "model.backbone: Unknown backbone 'resnet19'"),
        ("model.scales=", "model.scales=()"),
        ("model.scales=1", "model.scales=(1,)"),
        ("model.scales=4,4", "model.scales=(4, 4): give different scales"),
        ("model.last_stride=0", "model.last_stride=0: expected from 1 to 2"),
        ("model.dim=0", "model.dim=0: expected at least 1"),
        ("data.height=100", "image height of 100 cannot be cut into 4 stripes at 1/16"),
        ("data.height=0", "image height of 0"),
        ("data.width=60", "image width of 60"),
        ("data.batch_ids=1", "data.batch_ids=1: expected at least 2"),
        ("data.batch_images=0", "data.batch_images=0: expected at least 1"),
        ("data.augment.flip=1.5", "data.augment.flip=1.5: expected from 0 to 1"),
        ("data.augment.erase_probability=-1", "data.augment.erase_probability=-1.0: expected from 0 to 1"),
        ("data.small_until=2", "data.small_until=2.0: expected from 0 to 1"),
        ("loss.label_smoothing=1", "loss.label_smoothing=1.0 must lie in [0, 1)"),
        ("loss.margin=-1", "loss.margin=-1.0"),
        ("optim.lr_head=0", "optim.lr_head=0.0 must be greater than 0"),
        ("optim.lr_backbone=-1", "optim.lr_backbone=-1.0 must be greater than 0"),
        ("optim.clip_norm=0", "optim.clip_norm=0.0 must be greater than 0"),
        ("optim.name=sgd optim.momentum=1", "optim.momentum=1.0 must lie in [0, 1)"),
        ("schedule.name=steps schedule.milestones=60,40", "schedule.milestones=(60, 40): give rising epochs"),
        ("data.augment.erase_area=0.4,0.1", "expected two rising shares between 0 and 1"),
        (
            "data.augment.shift_pixels=64 data.width=64",
            "shift_pixels=64: images of 128 x 64 would be shifted out of sight",
        ),
        ("data.batch_images=1", "its triplets take two images of one person. Set data.batch_images to 2 or more"),
        ("train.epochs=0", "train.epochs=0: expected at least 1"),
        ("train.seed=-1", "train.seed=-1: expected at least 0"),
        ("train.accumulate=0", "train.accumulate=0: expected at least 1"),
        ("train.ema=1", "train.ema=1.0 must lie in [0, 1)"),
        ("train.checkpoint_steps=-1", "train.checkpoint_steps=-1: expected at least 0"),
        ("evaluation.batch_size=0", "evaluation.batch_size=0: expected at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_one_line(setting: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_settings(find_recipe("demo"), setting.split())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_small_size_is_checked_only_where_it_is_used() -> None:
    demo = find_recipe("demo")
    assert replace(demo, data=replace(demo.data, small=(100, 50))).data.small == (100, 50)
    with pytest.raises(RecipeError, match="image height of 100"):
        with_settings(demo, ["data.small=100,64", "data.small_until=0.5"])


def test_a_descriptor_without_any_block_is_refused() -> None:
    with pytest.raises(RecipeError, match="leave no descriptor"):
        with_settings(find_recipe("demo"), ["model.local_features=false", "model.global_pooling=none"])
