"""Swin transformers: the numbers of timm, torchvision and SOLIDER from files of their names, and systems on top."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from swin_state import DEPTHS, DIM, FILE, HEADS, SIZES, images, published
from torch import Tensor

from crosscam.errors import CheckpointError, RecipeError
from crosscam.losses import rrid_loss
from crosscam.models.backbones.build import build_backbone, num_stages
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.swin import SWINS, SwinShape, SwinTransformer, join_windows, shift_mask, split_windows
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings

SMALL = SwinShape(DIM, DEPTHS, HEADS)
# Of the papers' networks without a classifier: timm's counts, and ours has the biases of three mergings more.
PARAMETERS = {"swin-tiny": 27_519_354, "swin-small": 48_837_258, "swin-base": 86_743_224}


def read(state: object, tmp_path: Path) -> SwinTransformer:
    torch.save(state, tmp_path / "swin.pth")
    model = SwinTransformer(SMALL).eval()
    load_pretrained(model, "swin", str(tmp_path / "swin.pth"))
    return model


@torch.no_grad()
@pytest.mark.parametrize("layout", SIZES)
def test_maps_are_those_of_the_published_code(layout: str, tmp_path: Path) -> None:
    model = read(published(SwinTransformer(SMALL).state_dict(), layout), tmp_path)
    with np.load(FILE) as file:
        expected = torch.from_numpy(file[layout])
    found = model(images(layout))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def as_microsoft(tmp_path: Path) -> dict[str, Tensor]:
    return {"model": published(SwinTransformer(SMALL).state_dict(), "microsoft") | {"head.weight": torch.zeros(3, 64)}}


def test_files_of_microsoft_and_runs_fill_every_weight(tmp_path: Path) -> None:
    file = as_microsoft(tmp_path)
    own = read(file, tmp_path).state_dict()
    for name, values in own.items():
        expected = torch.zeros_like(values) if name.endswith("reduction.bias") else file["model"][name]
        assert torch.equal(values, expected)
    own["layers.0.downsample.reduction.bias"] += 1
    again = read({f"backbone.{k}": v for k, v in own.items()}, tmp_path).state_dict()
    assert all(torch.equal(again[k], v) for k, v in own.items())


@pytest.mark.parametrize("layout", SIZES)
@pytest.mark.parametrize("front", ["backbone.", "module.backbone.", "base."])
def test_whatever_stands_before_the_names(layout: str, front: str, tmp_path: Path) -> None:
    state = published(SwinTransformer(SMALL).state_dict(), layout)
    expected = read(state, tmp_path).state_dict()
    beside = {
        "head.mlp.0.weight": torch.zeros(2, 2),
        "bottleneck.bias": torch.zeros(2),
        "classifier.weight": torch.ones(1),
    }
    longer = {front + k: v for k, v in state.items()} | beside
    found = read(longer, tmp_path).state_dict()
    assert all(torch.equal(found[k], v) for k, v in expected.items())
    # As SOLIDER's training saves it: the arguments of its command are not tensors.
    found = read(
        {"student": {}, "teacher": longer, "epoch": 99, "args": Namespace(arch="swin_tiny")}, tmp_path
    ).state_dict()
    assert all(torch.equal(found[k], v) for k, v in expected.items())


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = published(SwinTransformer(SMALL).state_dict(), "solider")
    with pytest.raises(CheckpointError, match=r"semantic_embed_w.1 and semantic_embed_b.1 do not fit stage 1"):
        read(state | {"semantic_embed_w.1.weight": torch.zeros(5, 2)}, tmp_path)
    without = {k: v for k, v in state.items() if k != "semantic_embed_b.0.bias"}
    with pytest.raises(CheckpointError, match=r"do not fit stage 0 of the network .*semantic_embed_b.0.bias"):
        read(without, tmp_path)
    table = "layers.1.blocks.0.attn.relative_position_bias_table"
    file = as_microsoft(tmp_path)["model"]
    for wrong, first in (
        ({table: torch.zeros(23 * 23, 2)}, rf"0 parameters missing, 1 unknown or of another shape \(first: {table}"),
        ({"layers.0.downsample.reduction.weight": torch.zeros(())}, "first: layers.0.downsample.reduction.weight"),
        ({"absolute_pos_embed": torch.zeros(1, 3136, DIM)}, "first: absolute_pos_embed"),
        ({"layers.0.blocks.0.attn.logit_scale": torch.zeros(1, 1, 1)}, "first: layers.0.blocks.0.attn.logit_scale"),
    ):
        with pytest.raises(CheckpointError, match=first):
            read(file | wrong, tmp_path)


@pytest.mark.parametrize("name", SWINS)
def test_sizes_are_those_of_the_paper(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert backbone.out_channels == 8 * SWINS[name].dim
    assert num_stages(name) == len(backbone.stages) == 5
    count = PARAMETERS[name] + 14 * SWINS[name].dim
    assert sum(p.numel() for p in backbone.parameters()) == count
    assert sum(p.numel() for stage in backbone.stages for m in stage for p in m.parameters()) == count


@torch.no_grad()
def test_maps_have_a_thirtysecond_of_the_images_size() -> None:
    model = SwinTransformer(SMALL)
    for size, expected in (((384, 128), (12, 4)), ((256, 128), (8, 4)), ((200, 90), (7, 3)), ((30, 30), (1, 1))):
        assert model(torch.zeros(2, 3, *size)).shape == (2, 64, *expected)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_traced_graph_takes_any_number_of_images() -> None:
    model, x = SwinTransformer(SMALL).eval().requires_grad_(False), torch.randn(3, 3, 64, 32)
    torch.testing.assert_close(torch.jit.trace(lambda images: model(images), x[:2])(x), model(x))


def test_windows_and_what_is_apart_in_them() -> None:
    places = torch.arange(14 * 21.0).reshape(1, 14, 21, 1)
    windows = split_windows(places)
    assert windows[0, 1, :8, 0].tolist() == [7, 8, 9, 10, 11, 12, 13, 28]
    assert torch.equal(join_windows(windows, 14, 21), places)
    mask = shift_mask(14, 21, torch.device("cpu"))
    shifted = split_windows(places.roll((-3, -3), (1, 2))).int()[0, :, :, 0]
    for n, i, j in ((0, 0, 48), (2, 0, 6), (2, 0, 3), (3, 0, 48), (5, 3, 6), (5, 4, 6)):
        # Tokens of one window belong together where the shift left their distance as it was.
        near = all(
            abs(a - b) < 7 for a, b in zip(divmod(int(shifted[n, i]), 21), divmod(int(shifted[n, j]), 21), strict=True)
        )
        assert mask[n, i, j] == (0 if near else -100)


def test_stripes_of_a_swin_transformer_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SWINS, "swin-tiny", SMALL)
    recipe = with_settings(find_recipe("rrid-s"), ["model.backbone=swin-tiny", "model.last_stride=2"])
    model = recipe.model.build(3).train()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rrid_loss(model(torch.randn(4, 3, 384, 128)), torch.tensor([0, 0, 1, 1])).total.backward()
    optimizer.step()
    assert [k for k, v in model.backbone.state_dict().items() if torch.equal(v, before[k])] == []


def test_settings_that_do_not_work_together_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"swin-tiny gives a map of 1/32 .* Set model.last_stride=2"):
        with_settings(find_recipe("rrid-s"), ["model.backbone=swin-tiny"])
    with pytest.raises(RecipeError, match=r"swin-tiny cannot be parted into branches"):
        with_settings(find_recipe("mgn"), ["model.backbone=swin-tiny"])
    with pytest.raises(RecipeError, match=r"'swin-large'. Known: .*, swin-tiny, swin-small, swin-base\."):
        with_settings(find_recipe("bot"), ["model.backbone=swin-large"])
    with pytest.raises(RecipeError, match=r"cannot be cut into 6 stripes at 1/32"):
        with_settings(find_recipe("rrid-s"), ["model.backbone=swin-tiny", "model.last_stride=2", "data.height=256"])
    assert with_settings(find_recipe("bot"), ["model.backbone=swin-base", "model.last_stride=2"]).model.last_stride == 2
