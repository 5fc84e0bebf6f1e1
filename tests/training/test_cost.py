"""What a training takes, against a count by hand and against a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from crosscam.recipes.catalogue import RECIPES, build_model
from crosscam.training.cost import cost_of, speed


def test_parameters_and_images_are_counted() -> None:
    recipe = RECIPES["demo"]
    cost = cost_of(recipe, num_ids=240, num_images=3840)
    model = build_model(recipe, 240, pretrained=False)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert (cost.batch, cost.epoch_images, cost.epochs) == (64, 3840, 10)
    anchors = replace(recipe, data=replace(recipe.data, sampler="anchors"))
    assert cost_of(anchors, num_images=1000).epoch_images == 4000


def test_arithmetic_of_one_convolution_by_hand() -> None:
    from crosscam.training.cost import _one_step

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)

        def forward(self, images: torch.Tensor) -> object:
            from types import SimpleNamespace

            return SimpleNamespace(embeddings=(self.layer(images),), logits=())

    with torch.device("meta"):
        model, images = One(), torch.empty(2, 3, 16, 8)
    flops, saved = _one_step(model, images)
    forward = 2 * 2 * 16 * 8 * 8 * 3 * 9
    assert flops == 2 * forward, "forward, and the gradient of the weights; images need none"
    assert saved == 2 * 3 * 16 * 8 * 4


@pytest.mark.parametrize("name", sorted({r.model.system: name for name, r in RECIPES.items()}.values()))
def test_every_system_is_counted(name: str) -> None:
    cost = cost_of(RECIPES[name])
    assert cost.parameters > 1e5
    assert cost.flops > 1e7
    assert cost.memory > 4e8


def test_larger_batches_take_more_memory_and_frozen_stages_less_time() -> None:
    recipe = RECIPES["demo"]
    one = cost_of(recipe)
    large = cost_of(replace(recipe, data=replace(recipe.data, batch_images=8)))
    assert large.memory - one.memory == pytest.approx(64 * one.saved_bytes)
    frozen = cost_of(replace(recipe, train=replace(recipe.train, frozen_stages=2)))
    assert frozen.flops < one.flops
    assert frozen.saved_bytes < one.saved_bytes


def test_the_speed_is_that_of_the_clock() -> None:
    ticks = iter(range(100))
    slow = speed(lambda: float(next(ticks)))
    assert slow > 0
    assert one_hour(slow) == pytest.approx(one_hour(slow / 2) / 2)


def one_hour(rate: float) -> float:
    return cost_of(RECIPES["demo"]).seconds(rate)
