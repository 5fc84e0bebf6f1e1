"""All scales at once against one after another: the same losses, gradients and running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from crosscam.losses import rrid_loss
from crosscam.models.backbones import build_backbone
from crosscam.models.grouped import can_be_grouped
from crosscam.models.parts import PartUnits, merge_stripes, pool_stripes
from crosscam.models.rrid import RRID
from small_models import TINY

PIDS = torch.arange(3).repeat_interleave(2)


def network(**options: object) -> RRID:
    torch.manual_seed(0)
    model = RRID(build_backbone(TINY, 1), 3, scales=(6, 4, 2), dim=5, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.double().train()


def step(model: RRID, grouped: bool) -> dict[str, torch.Tensor]:
    """Losses, gradients and running statistics of two steps."""
    model.grouped = grouped
    images = torch.randn(6, 3, 192, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for number in range(2):
        loss = rrid_loss(model(images + number), PIDS)
        loss.total.backward()
        found |= {f"triplet {number}": loss.triplet.detach(), f"cross-entropy {number}": loss.cross_entropy.detach()}
    found |= {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(found) == 4 + len(list(model.parameters()))
    return found | dict(model.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"relation": "rest_only"},
        {"local_pooling": "avg", "contrast": "mean_minus_max"},
        {"classifiers": "descriptor"},
    ],
    ids=["usual", "rest alone", "averages", "few classifiers"],
)
def test_losses_gradients_and_statistics_are_those_of_the_plain_path(options: dict[str, object]) -> None:
    model = network(**options)
    plain, grouped = (step(copy.deepcopy(model), together) for together in (False, True))
    assert plain.keys() == grouped.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(grouped[name], expected, rtol=1e-9, atol=1e-9, msg=name)


def test_half_precision_gives_the_losses_of_the_plain_path_too() -> None:
    model = network().float()
    images = torch.randn(6, 3, 192, 32, generator=torch.Generator().manual_seed(1))
    totals = []
    for grouped in (False, True):
        one = copy.deepcopy(model)
        one.grouped = grouped
        with torch.autocast("cpu", torch.bfloat16):
            output = one(images)
        totals.append(rrid_loss(output, PIDS).total.item())
    assert totals[1] == pytest.approx(totals[0], rel=1e-5)


def test_the_plain_path_is_taken_where_grouping_would_change_something(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("grouped")

    monkeypatch.setattr("crosscam.models.rrid.together", refuse)
    images = torch.randn(4, 3, 192, 32, dtype=torch.float64)
    network()(images)  # a CPU
    for model in (network().eval(), network(relation="none"), network(relation=None), network(global_pooling="gap")):
        model.grouped = True
        model(images)
    frozen = network()
    frozen.grouped = True
    frozen.branches[0].local.part.norm.eval()
    frozen(images)
    one = network()
    one.grouped = True
    with pytest.raises(AssertionError, match="grouped"):
        one(images)


def test_norms_of_several_processes_are_not_grouped() -> None:
    units = PartUnits(2, 3, 4)
    assert can_be_grouped([units, PartUnits(1, 3, 4)])
    units.norm = nn.SyncBatchNorm(8)
    assert not can_be_grouped([units, PartUnits(1, 3, 4)])


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("num_parts", [12, 6, 4, 2, 1])
def test_stripes_of_stripes_are_the_stripes_of_the_map(num_parts: int, pooling: str) -> None:
    feature_map = torch.randn(2, 5, 24, 3, dtype=torch.float64)
    merged = merge_stripes(pool_stripes(feature_map, 12, pooling), num_parts, pooling)
    torch.testing.assert_close(merged, pool_stripes(feature_map, num_parts, pooling))
    loop = [feature_map[:, :, 24 // num_parts * k : 24 // num_parts * (k + 1)].flatten(2) for k in range(num_parts)]
    for k, stripe in enumerate(loop):
        expected = stripe.max(dim=2).values if pooling == "max" else stripe.mean(dim=2)
        torch.testing.assert_close(merged[:, k], expected)
