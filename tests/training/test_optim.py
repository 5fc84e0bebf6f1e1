"""The learning rate of every epoch, and which weights have which."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.choices import (
    SGD,
    AdamW,
    Cosine,
    Steps,
)
from crosscam.recipes.settings import with_settings
from crosscam.training.plan import build_optimizer, learning_rate_factor, set_learning_rate

PARITY = Path(__file__).parents[1] / "data" / "parity"
TINY = "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1"


class Small(nn.Module):
    """A backbone and a head of one weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 1, bias=False)
        self.head = nn.Linear(1, 1, bias=False)


@pytest.mark.parametrize("share", [0.0, 0.999])
def test_the_authors_recipe_has_the_published_learning_rates(share: float) -> None:
    recipe = find_recipe("rrid-f")
    optimizer = build_optimizer(Small(), recipe.optim)
    with np.load(PARITY / "learning_rate.npz") as file:
        epochs, base, new = file["epochs"].tolist(), file["lr_base"], file["lr_new"]
    assert epochs == list(range(1, recipe.train.epochs + 1))
    found = []
    for epoch in epochs:
        set_learning_rate(optimizer, learning_rate_factor(recipe.schedule, epoch, recipe.train.epochs, share))
        found.append([group["lr"] for group in optimizer.param_groups])
    np.testing.assert_allclose(np.array(found), np.stack((base, new), axis=1), rtol=1e-9, atol=0)


def test_the_backbone_and_the_rest_are_two_groups_of_all_weights() -> None:
    recipe = with_settings(find_recipe("rrid-f"), [TINY, "model.dim=4"])
    model = build_model(recipe, 3)
    for optim in (recipe.optim, replace(recipe.optim, name="adamw")):
        optimizer = build_optimizer(model, optim)
        backbone, head = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
        assert backbone == {id(p) for p in model.backbone.parameters()}
        assert head == {id(p) for p in model.branches.parameters()}
        assert backbone | head == {id(p) for p in model.parameters()}
        assert [g["lr"] for g in optimizer.param_groups] == [1e-3, 1e-2]
        assert {g["weight_decay"] for g in optimizer.param_groups} == {5e-4}


def test_sgd_is_the_authors() -> None:
    optimizer = build_optimizer(Small(), SGD())
    assert isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        assert (group["momentum"], group["dampening"], group["nesterov"]) == (0.9, 0, False)


def test_a_step_moves_each_group_by_its_own_rate() -> None:
    model = Small()
    optimizer = build_optimizer(model, SGD(lr_backbone=0.5, lr_head=0.25, weight_decay=0.0))
    before = [p.detach().clone() for p in model.parameters()]
    set_learning_rate(optimizer, 0.1)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = [float(b - p.detach()) for b, p in zip(before, model.parameters(), strict=True)]
    assert moved == pytest.approx([0.05, 0.025])
    assert isinstance(build_optimizer(model, AdamW()), torch.optim.AdamW)


def test_the_warm_up_rises_in_a_line_and_then_hands_over() -> None:
    schedule = Steps(milestones=(5,), warmup_epochs=2, warmup_start=0.1)
    factors = [learning_rate_factor(schedule, 1 + i // 4, 8, i % 4 / 4) for i in range(8)]
    assert factors == pytest.approx([0.1 + 0.9 * i / 8 for i in range(8)])
    assert [learning_rate_factor(schedule, e, 8) for e in (3, 4, 5, 6)] == pytest.approx([1, 1, 0.1, 0.1])


def test_the_cosine_falls_from_one_to_its_floor() -> None:
    schedule = Cosine(floor=0.2, warmup_epochs=2)
    assert learning_rate_factor(schedule, 3, 12) == pytest.approx(1)
    assert learning_rate_factor(schedule, 8, 12) == pytest.approx(0.6)
    assert learning_rate_factor(schedule, 12, 12, 1.0) == pytest.approx(0.2)
    expected = 0.2 + 0.8 * (1 + math.cos(math.pi * 2.5 / 10)) / 2
    assert learning_rate_factor(schedule, 5, 12, 0.5) == pytest.approx(expected)
    falling = [learning_rate_factor(schedule, e, 12, s) for e in range(3, 13) for s in (0.0, 0.5)]
    assert all(a > b for a, b in itertools.pairwise(falling))


def test_a_warm_up_longer_than_the_training_never_ends() -> None:
    schedule = Cosine(warmup_epochs=10, warmup_start=0.0)
    assert learning_rate_factor(schedule, 2, 2, 1.0) == pytest.approx(0.2)
