from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from crosscam.models.stripes import PartLinear, PartUnits, SingleUnit, merge_stripes, part_classifiers, pool_stripes


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("num_parts", [1, 2, 4, 6])
def test_pool_stripes_equals_the_loop(num_parts, pooling):
    torch.manual_seed(0)
    feature_map = torch.randn(3, 5, 12, 4, dtype=torch.float64)
    pooled = pool_stripes(feature_map, num_parts, pooling)
    assert pooled.shape == (3, num_parts, 5)
    rows = 12 // num_parts
    for p in range(num_parts):
        stripe = feature_map[:, :, p * rows : (p + 1) * rows]
        expected = stripe.amax(dim=(2, 3)) if pooling == "max" else stripe.mean(dim=(2, 3))
        assert torch.allclose(pooled[:, p], expected, atol=1e-14)


def test_pool_stripes_ignores_the_memory_layout():
    feature_map = torch.randn(2, 3, 6, 4)
    last = feature_map.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pool_stripes(last, 3), pool_stripes(feature_map, 3))


def test_pool_stripes_gives_the_gradient_of_a_tie_to_one_place():
    feature_map = torch.ones(1, 2, 4, 3, requires_grad=True)
    pool_stripes(feature_map, 2).sum().backward()
    assert sorted(feature_map.grad.flatten().tolist()) == [0.0] * 20 + [1.0] * 4


def test_pool_stripes_refuses_stripes_that_do_not_tile():
    with pytest.raises(ValueError, match="10 rows cannot be cut into 6 equal stripes"):
        pool_stripes(torch.zeros(1, 2, 10, 4), 6)


def list_of_units(units: PartUnits) -> nn.ModuleList:
    """The same units as the paper draws them: 1x1 convolution, batch normalization, ReLU, one after the other."""
    num_parts, inputs, outputs = units.linear.weight.shape
    found = nn.ModuleList()
    for p in range(num_parts):
        conv, norm = nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)
        place = slice(p * outputs, (p + 1) * outputs)
        with torch.no_grad():
            conv.weight.copy_(units.linear.weight[p].t().reshape(outputs, inputs, 1, 1))
            conv.bias.copy_(units.linear.bias[p])
            for kind in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, kind).copy_(getattr(units.norm, kind)[place])
        found.append(nn.Sequential(conv, norm, nn.ReLU()))
    return found.to(units.linear.weight.dtype)


@pytest.mark.parametrize("training", [True, False])
def test_part_units_equal_a_list_of_convolutions(training):
    torch.manual_seed(1)
    units = PartUnits(4, 6, 5, gamma_init="uniform").double()
    nn.init.normal_(units.norm.bias)
    nn.init.normal_(units.norm.running_mean)
    nn.init.uniform_(units.norm.running_var, 0.5, 2)
    units.train(training)
    single = list_of_units(units).train(training)
    parts = torch.randn(8, 4, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 4, 5, dtype=torch.float64)

    ours = units(parts)
    theirs = torch.stack([unit(parts[:, p, :, None, None])[:, :, 0, 0] for p, unit in enumerate(single)], dim=1)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert float((ours > 0).double().mean()) > 0.2

    ours_parts, ours_weight, ours_gamma = torch.autograd.grad(
        (ours * weights).sum(), (parts, units.linear.weight, units.norm.weight)
    )
    (theirs_parts, *theirs_rest) = torch.autograd.grad(
        (theirs * weights).sum(), (parts, *(u[0].weight for u in single), *(u[1].weight for u in single))
    )
    assert torch.allclose(ours_parts, theirs_parts, atol=1e-12)
    for p in range(4):
        assert torch.allclose(ours_weight[p], theirs_rest[p][:, :, 0, 0].t(), atol=1e-12)
        assert torch.allclose(ours_gamma[p * 5 : (p + 1) * 5], theirs_rest[4 + p], atol=1e-12)
    for kind in ("running_mean", "running_var"):
        theirs_statistic = torch.cat([getattr(u[1], kind) for u in single])
        assert torch.allclose(getattr(units.norm, kind), theirs_statistic, atol=1e-12)


def test_part_linear_layers_share_nothing():
    torch.manual_seed(2)
    layers, parts = PartLinear(3, 4, 2), torch.randn(5, 3, 4)
    before = layers(parts)
    changed = parts.clone()
    changed[:, 1] += 1
    after = layers(changed)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_part_linear_starts_as_pytorch_does():
    torch.manual_seed(3)
    layers = PartLinear(6, 400, 50)
    bound = 1 / math.sqrt(400)
    for parameter in (layers.weight, layers.bias):
        assert 0.98 * bound < float(parameter.detach().abs().max()) <= bound
        assert float(parameter.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_classifiers_start_small_and_without_bias():
    torch.manual_seed(4)
    layers = part_classifiers(6, 256, 100)
    assert float(layers.weight.detach().std()) == pytest.approx(0.001, rel=0.02)
    assert not layers.bias.any()


def test_gamma_init():
    ones = PartUnits(2, 3, 400).norm.weight.detach()
    uniform = PartUnits(2, 3, 400, "uniform").norm.weight.detach()
    assert bool((ones == 1).all())
    assert 0 <= float(uniform.min()) < 0.05
    assert 0.95 < float(uniform.max()) < 1


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


def test_a_single_unit_is_a_unit_of_one_part() -> None:
    torch.manual_seed(0)
    single = SingleUnit(3, 4).eval()
    several = PartUnits(1, 3, 4).eval()
    several.load_state_dict(single.state_dict())
    features = torch.randn(5, 3)
    assert torch.equal(single(features), several(features.unsqueeze(1)).squeeze(1))
