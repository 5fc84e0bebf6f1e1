from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from crosscam.explain.activation import (
    activation_maps,
    has_feature_map,
    place_contributions,
    relation_output,
    stripe_shares,
)
from crosscam.models.output import Block, ReidOutput
from crosscam.models.stripes import pool_stripes
from crosscam.recipes.baseline_recipes import SYSTEM_RECIPES, scaled_down
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from small_models import tiny_rrid


def images(batch=2, height=96, width=32):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


class Pass(nn.Module):
    """A backbone that gives the image itself as the map."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Linear(nn.Module):
    """Two blocks: the mean of the upper half, and twice the mean of the lower half; channels kept."""

    layout = (Block("upper", 0, 3, 2, "local", (0.0, 0.5)), Block("lower", 3, 6, 2, "local", (0.5, 1.0)))

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pass()

    def forward(self, x: Tensor) -> ReidOutput:
        upper, lower = pool_stripes(self.backbone(x), 2, "avg").unbind(dim=1)
        return ReidOutput((upper, 2 * lower))


def test_a_linear_network_gives_what_can_be_computed_by_hand():
    model, x = Linear(), images(2, 4, 2)
    found = place_contributions(model, x, model.layout, flip=False)
    for n in range(2):
        upper, lower = x[n, :, :2].mean(dim=(1, 2)), 2 * x[n, :, 2:].mean(dim=(1, 2))
        # d|b|^2/dA = 2 b / (places of the half), times the factor of the block
        by_hand_upper = torch.einsum("c,cyx->yx", 2 * upper / 4, x[n, :, :2])
        by_hand_lower = torch.einsum("c,cyx->yx", 2 * lower * 2 / 4, x[n, :, 2:])
        torch.testing.assert_close(found[n, 0], torch.cat((by_hand_upper, torch.zeros(2, 2))))
        torch.testing.assert_close(found[n, 1], torch.cat((torch.zeros(2, 2), by_hand_lower)))


def test_agreement_of_a_linear_network_by_hand():
    model, x = Linear(), images(2, 4, 2)
    reference = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    found = place_contributions(model, x, model.layout[:1], flip=False, reference=reference)
    expected = torch.einsum("nc,ncyx->nyx", reference[:, :3] / 4, x[:, :, :2])
    torch.testing.assert_close(found[:, 0, :2], expected)
    torch.testing.assert_close(found.sum(dim=(2, 3))[:, 0], (reference[:, :3] * x[:, :, :2].mean((2, 3))).sum(1))


def strength(model, feature_map, block, flip, reference, branch, images):
    """S, computed straight from a feature map put in place of the backbone's."""
    if branch == "residual":
        found = relation_output(model, feature_map, block.num_parts)
        b = (found.q - found.p)[:, round(block.rows[0] * block.num_parts)]
    else:
        kept, model.backbone = model.backbone, Fixed(feature_map)
        b = model(images).descriptor[:, block.start : block.stop]
        model.backbone = kept
    if flip:
        b = (b[:1] + b[1:]) / 2
    return (b * (b if reference is None else reference[:, block.start : block.stop])).sum()


class Fixed(nn.Module):
    def __init__(self, feature_map: Tensor) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(self, x: Tensor) -> Tensor:
        return self.feature_map


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("relation", "branch", "agree"),
    [
        ("one_vs_rest", "whole", False),
        ("one_vs_rest", "whole", True),
        ("one_vs_rest", "residual", False),
        ("rest_only", "residual", False),
        ("none", "whole", False),
    ],
)
def test_a_place_is_the_rate_at_which_the_block_grows_with_it(relation, branch, agree, flip):
    """Finite differences: every channel at one place times 1 + e and 1 - e."""
    model = tiny_rrid(relation, local_pooling="avg", global_pooling="gap")[0].double()
    x = images(1).double()
    seen = torch.cat((x, x.flip(3))) if flip else x
    blocks = [b for b in model.layout if b.kind == "local" or branch == "whole"]
    reference = torch.randn(1, 99, generator=torch.Generator().manual_seed(2)).double() if agree else None
    found = place_contributions(model, x, blocks, flip=flip, reference=reference, branch=branch)
    with torch.no_grad():
        feature_map = model.backbone(seen)
        height, width = feature_map.shape[2:]
        step = 1e-5
        for k, block in enumerate(blocks):
            for y in range(height):
                for c in range(width):
                    values = []
                    for sign in (1, -1):
                        changed = feature_map.clone()
                        changed[0, :, y, c] *= 1 + sign * step
                        if flip:  # the place stands at the other side of the mirror image
                            changed[1, :, y, width - 1 - c] *= 1 + sign * step
                        values.append(strength(model, changed, block, flip, reference, branch, seen))
                    rate = (values[0] - values[1]) / (2 * step)
                    assert float(found[0, k, y, c]) == pytest.approx(float(rate), rel=1e-3, abs=1e-6), block.name


SMALL = [scaled_down(recipe, 8) for recipe in SYSTEM_RECIPES]


@pytest.mark.parametrize("recipe", SMALL, ids=[r.name for r in SMALL])
def test_every_system_with_a_feature_map_accounts_for_all_of_each_block(recipe: Recipe):
    """Where no layer after the map has a bias, the places add up to 2 |b|^2."""
    torch.manual_seed(0)
    model = build_model(recipe, num_ids=0).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and not name.startswith("backbone."):
            nn.init.zeros_(parameter)
    x = images(2, recipe.data.height, recipe.data.width)
    if not has_feature_map(model):
        assert recipe.model.system in ("hacnn", "transreid")
        with pytest.raises(ValueError, match="no feature map of a backbone"):
            place_contributions(model, x, model.layout)
        return
    with torch.no_grad():
        before = model(x).descriptor
        b = (before + model(x.flip(3)).descriptor) / 2
    found = place_contributions(model, x, model.layout)
    lengths = torch.stack([b[:, k.start : k.stop].square().sum(1) for k in model.layout], dim=1)
    # The soft assignment of PCB+RPP is a function of the map, too, and no homogeneous one.
    tolerance = 0.2 if recipe.name.startswith("pcb-rpp") else 1e-4
    torch.testing.assert_close(found.sum(dim=(2, 3)), 2 * lengths, rtol=tolerance, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(model(x).descriptor, before), "the model was changed"
    assert all(p.grad is None for p in model.parameters())


def test_a_stripe_without_relation_looks_at_its_own_rows_alone():
    model = tiny_rrid("none", scales=(3,))[0]
    found = place_contributions(model, images(), model.layout)
    for k in range(3):
        own = torch.zeros(6, dtype=torch.bool)
        own[2 * k : 2 * k + 2] = True
        assert found[:, k, ~own].abs().max() == 0
        assert found[:, k, own].abs().max() > 0


def test_the_rest_alone_never_looks_at_the_part_and_the_relation_of_both_does():
    x = images()
    shares = {}
    for relation in ("rest_only", "one_vs_rest"):
        model = tiny_rrid(relation, scales=(3,))[0]
        found = place_contributions(model, x, [model.layout[1]], branch="residual")
        shares[relation] = stripe_shares(found[:, 0], 3)
    assert (shares["rest_only"][:, 1] == 0).all()
    assert (shares["one_vs_rest"][:, 1] > 0).all()


def test_the_mirror_image_has_the_mirrored_map():
    model, x = tiny_rrid()[0], images()
    straight = place_contributions(model, x, model.layout)
    torch.testing.assert_close(place_contributions(model, x.flip(3), model.layout), straight.flip(3))


def test_batched_equals_single():
    model, x = tiny_rrid()[0], images(3)
    reference = torch.randn(3, 99, generator=torch.Generator().manual_seed(1))
    for found, one in (
        (place_contributions(model, x, model.layout), lambda n: None),
        (place_contributions(model, x, model.layout, reference=reference), lambda n: reference[n : n + 1]),
    ):
        for n in range(3):
            alone = place_contributions(model, x[n : n + 1], model.layout, reference=one(n))
            torch.testing.assert_close(found[n], alone[0])


def test_what_has_no_relation_is_refused():
    x = images()
    plain = tiny_rrid("none")[0]
    with pytest.raises(ValueError, match="no relation between 3 stripes"):
        place_contributions(plain, x, [plain.layout[0]], branch="residual")
    model = tiny_rrid()[0]
    with pytest.raises(ValueError, match="whole image"):
        place_contributions(model, x, [model.layout[-1]], branch="residual")
    with pytest.raises(ValueError, match="no relation between 6"):
        relation_output(model, torch.zeros(1, 8, 6, 2), 6)


def test_maps_run_from_zero_to_one():
    found = activation_maps(torch.tensor([[[-1.0, 2.0], [4.0, 0.0]], [[-3.0, -1.0], [0.0, 0.0]]]))
    assert found.tolist() == [[[0, 0.5], [1, 0]], [[0, 0], [0, 0]]]


def test_stripe_shares():
    places = torch.tensor([[[1.0, -5.0], [2.0, 0.0], [0.0, 0.0], [1.0, 4.0]], [[-1.0, 0.0]] * 4])
    shares = stripe_shares(places, 2)
    assert shares[0].tolist() == [0.375, 0.625]
    assert shares[1].isnan().all()
    with pytest.raises(ValueError, match="4 rows cannot be cut into 3"):
        stripe_shares(places, 3)
