"""Vision transformers: timm's numbers, published files in several shapes, and TransReID on top."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vit_state import DEPTH, DIM, FILE, HEADS, fill, images

from crosscam.errors import CheckpointError, RecipeError
from crosscam.losses import batch_hard_soft_margin, transreid_loss
from crosscam.models.backbones.build import build_backbone, num_stages
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.vit import VITS, VisionTransformer, ViTShape, resize_patches, resize_positions
from crosscam.models.baselines.transreid import TransReID
from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings

SMALL = ViTShape(DIM, DEPTH, HEADS)


@torch.no_grad()
def test_tokens_are_those_of_timm() -> None:
    model = VisionTransformer(SMALL).eval()
    fill(model.state_dict())
    with np.load(FILE) as file:
        expected = torch.from_numpy(file["tokens"])
    found = model(images()).flatten(2).transpose(1, 2)
    assert (found - expected[:, 1:]).abs().max() <= 1e-5 * expected.abs().max()


class PublishedClip(nn.Module):
    """CLIP's image tower with its published names, on torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, DIM, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(DIM))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + 14 * 14, DIM))
        self.ln_pre, self.ln_post = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.proj = nn.Parameter(torch.zeros(DIM, 3))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(self.block() for _ in range(DEPTH))})

    @staticmethod
    def block() -> nn.ModuleDict:
        mlp = nn.ModuleDict({"c_fc": nn.Linear(DIM, 4 * DIM), "c_proj": nn.Linear(4 * DIM, DIM)})
        attention = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        return nn.ModuleDict({"attn": attention, "ln_1": nn.LayerNorm(DIM), "mlp": mlp, "ln_2": nn.LayerNorm(DIM)})

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(x), 1, -1), patches], dim=1)
        tokens = self.ln_pre(tokens + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            y = block["ln_1"](tokens)
            tokens = tokens + block["attn"](y, y, y, need_weights=False)[0]
            y = block["mlp"]["c_fc"](block["ln_2"](tokens))
            tokens = tokens + block["mlp"]["c_proj"](y * torch.sigmoid(1.702 * y))
        return self.ln_post(tokens)


@torch.no_grad()
@pytest.mark.parametrize("front", ["visual.", "image_encoder."])
def test_clip_files_give_the_tokens_of_clip(front: str, tmp_path: Path) -> None:
    clip = PublishedClip().eval()
    for tensor in clip.state_dict().values():
        tensor.copy_(torch.randn_like(tensor) * 0.3)
    state = {front + k: v.half() for k, v in clip.state_dict().items()}
    for tensor, half in zip(clip.state_dict().values(), state.values(), strict=True):
        tensor.copy_(half)
    text = {"transformer.resblocks.0.ln_1.weight": torch.zeros(7), "logit_scale": torch.zeros(())}
    torch.save(text | state, tmp_path / "clip.pth")
    model = VisionTransformer(replace(SMALL, clip=True)).eval()
    load_pretrained(model, "vit-base-16-clip", str(tmp_path / "clip.pth"))
    expected = clip(images())[:, 1:]
    assert (model(images()).flatten(2).transpose(1, 2) - expected).abs().max() <= 1e-5 * expected.abs().max()
    # The same weights by timm's names, from another tool.
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    again = VisionTransformer(replace(SMALL, clip=True)).eval()
    load_pretrained(again, "vit-base-16-clip", str(tmp_path / "timm.pth"))
    assert torch.equal(again(images()), model(images()))


@torch.no_grad()
def test_files_of_luperson_with_a_convolutional_stem(tmp_path: Path) -> None:
    shape = replace(SMALL, grid=(16, 8), stem=True)
    model = VisionTransformer(shape).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    theirs = {k.replace(".instance.", ".IN.").replace(".batch.", ".BN."): v for k, v in model.state_dict().items()}
    state = {f"module.backbone.{k}": v for k, v in theirs.items()} | {"module.head.mlp.0.weight": torch.zeros(2, 2)}
    torch.save({"student": {}, "teacher": state, "epoch": 99}, tmp_path / "lup.pth")
    again = VisionTransformer(shape).eval()
    load_pretrained(again, "vit-small-16-ics", str(tmp_path / "lup.pth"))
    x = torch.randn(2, 3, 256, 128)
    tokens, rows, columns = again.embed(x)
    assert (rows, columns) == (16, 8)
    stem = model.patch_embed.conv
    half = [*nn.functional.conv2d(x, stem[0].weight, stride=2, padding=3).split(32, dim=1)]
    half[0] = nn.functional.instance_norm(half[0], weight=stem[1].instance.weight, bias=stem[1].instance.bias)
    half[1] = stem[1].batch(half[1])
    proj = model.patch_embed.proj
    patches = nn.functional.conv2d(stem[3:](torch.cat(half, 1).relu()), proj.weight, proj.bias, stride=8)
    # Positions of 256 x 128 pixels are taken as they are.
    torch.testing.assert_close(tokens[:, 1:], patches.flatten(2).transpose(1, 2) + model.pos_embed[:, 1:])


def test_positions_twice_as_high_as_wide_are_stretched(tmp_path: Path) -> None:
    ramp = torch.arange(16.0).repeat_interleave(8).reshape(1, 128, 1).expand(1, 128, DIM)
    torch.save(published(pos_embed=torch.cat([torch.zeros(1, 1, DIM), ramp], dim=1)), tmp_path / "person.pth")
    model = VisionTransformer(SMALL)
    load_pretrained(model, "vit", str(tmp_path / "person.pth"))
    rows = model.pos_embed[0, 1:, 0].reshape(14, 14)
    assert torch.allclose(rows, rows[:, :1].expand(14, 14), atol=1e-5)
    assert (rows[1:, 0] > rows[:-1, 0]).all()


@pytest.mark.parametrize("name", VITS)
def test_maps_have_a_sixteenth_of_the_images_size(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
        assert backbone(torch.empty(2, 3, 96, 48)).shape == (2, VITS[name].dim, 6, 3)
    assert num_stages(name) == len(backbone.stages) == 1 + VITS[name].depth


@torch.no_grad()
def test_positions_of_a_linear_ramp_stay_a_linear_ramp() -> None:
    ramp = torch.arange(14.0).repeat_interleave(14).reshape(1, 196, 1)
    positions = torch.cat([torch.full((1, 1, 1), 7.0), ramp], dim=1)
    resized = resize_positions(positions, (14, 14), (28, 7))
    assert resized[0, 0, 0] == 7
    rows = resized[0, 1:, 0].reshape(28, 7)
    assert torch.allclose(rows, rows[:, :1].expand(28, 7))
    # Away from the edges, row i lies at i / 2 - 1 / 4.
    assert torch.allclose(rows[4:24, 0], torch.arange(4.0, 24.0) / 2 - 0.25, atol=0.05)


def test_an_enlarged_patch_gives_the_same_token() -> None:
    kernel, patch = torch.randn(5, 3, 14, 14, dtype=torch.float64), torch.randn(1, 3, 14, 14, dtype=torch.float64)
    larger = interpolate(patch, size=(16, 16), mode="bilinear", align_corners=False)
    expected = (kernel * patch).flatten(1).sum(1)
    torch.testing.assert_close((resize_patches(kernel, 16) * larger).flatten(1).sum(1), expected)


def published(prefix: str = "", **others: Tensor) -> dict[str, Tensor]:
    state = VisionTransformer(SMALL).state_dict()
    fill(state)
    return {prefix + k: v for k, v in {**state, **others}.items()}


@torch.no_grad()
def test_layer_scale_of_dinov2_is_taken_into_the_layers(tmp_path: Path) -> None:
    scale = torch.linspace(0.1, 2.0, DIM)
    state = published("backbone.", **{f"blocks.{i}.ls{j}.gamma": scale for i in range(DEPTH) for j in (1, 2)})
    torch.save(state | {"head.weight": torch.zeros(3)}, tmp_path / "dinov2.pth")
    model = VisionTransformer(SMALL).eval()
    load_pretrained(model, "vit", str(tmp_path / "dinov2.pth"))

    class Scaled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * scale

    plain = VisionTransformer(SMALL).eval()
    fill(plain.state_dict())
    for block in plain.blocks:
        block.attn, block.mlp = Scaled(block.attn), Scaled(block.mlp)
    torch.testing.assert_close(model(images()), plain(images()))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = published()
    state["pos_embed"] = torch.zeros(1, 198, DIM)
    torch.save(state, tmp_path / "distilled.pth")
    with pytest.raises(CheckpointError, match=r"pos_embed has shape \(1, 198, 8\): expected one position"):
        load_pretrained(VisionTransformer(SMALL), "vit", str(tmp_path / "distilled.pth"))
    torch.save(published(register_tokens=torch.zeros(1, 4, DIM)), tmp_path / "registers.pth")
    with pytest.raises(CheckpointError, match="register_tokens"):
        load_pretrained(VisionTransformer(SMALL), "vit", str(tmp_path / "registers.pth"))


def test_settings_that_do_not_work_together_are_refused() -> None:
    with pytest.raises(RecipeError, match="vit-nano-16 has one size throughout"):
        with_settings(find_recipe("mgn"), ["model.backbone=vit-nano-16"])
    with pytest.raises(RecipeError, match=r"model.backbone=resnet50: expected one of vit-"):
        with_settings(find_recipe("transreid"), ["model.backbone=resnet50"])
    with pytest.raises(RecipeError, match=r"model.stride=17: expected from 1 to 16"):
        with_settings(find_recipe("transreid"), ["model.stride=17"])
    with pytest.raises(RecipeError, match=r"model.stride=11: vit-base-16-ics cuts its patches from a map of half"):
        with_settings(find_recipe("transreid"), ["model.stride=11", "model.backbone=vit-base-16-ics"])
    recipe = with_settings(find_recipe("rrid-s"), ["model.backbone=vit-nano-16"])
    assert recipe.model.build(3).eval()(torch.zeros(1, 3, 384, 128)).descriptor.shape == (1, 1792)


@torch.no_grad()
def test_patches_are_shifted_shuffled_and_dealt() -> None:
    model = TransReID(VisionTransformer(SMALL), 3, groups=2, shift=1)
    tokens = torch.arange(7.0).reshape(1, 7, 1)
    # Patches 1 to 6, shifted: 2 3 4 5 6 1; two heaps in turns: 2 5 3 6 4 1.
    assert [part.flatten().tolist() for part in model._deal(tokens)] == [[0, 2, 5, 3], [0, 6, 4, 1]]


@torch.no_grad()
def test_transreid_with_overlapping_patches() -> None:
    settings = replace(find_recipe("transreid").model, backbone="vit-nano-16", stride=12)
    output = settings.build(4).eval()(torch.randn(2, 3, 256, 128))
    assert output.descriptor.shape == (2, 5 * 128)
    features = output.extras["before_necks"]
    assert torch.equal(output.embeddings[0], features[:, 0])
    assert torch.equal(output.embeddings[2], features[:, 2] / 4)


def test_the_loss_is_the_global_one_plus_the_mean_of_the_groups() -> None:
    features = torch.randn(4, 3, 6)
    logits = tuple(torch.randn(4, 2) for _ in range(3))
    pids = torch.tensor([0, 0, 1, 1])
    loss = transreid_loss(ReidOutput((features[:, 0],), logits, {"before_necks": features}), pids)
    triplets = [batch_hard_soft_margin(features[:, i], pids) for i in range(3)]
    entropies = [nn.functional.cross_entropy(x, pids) for x in logits]
    expected = triplets[0] + (triplets[1] + triplets[2]) / 2 + entropies[0] + (entropies[1] + entropies[2]) / 2
    torch.testing.assert_close(loss.total, expected)


def test_stochastic_depth_drops_whole_branches_and_keeps_the_mean() -> None:
    model = VisionTransformer(SMALL, drop_path=0.5)
    block = model.blocks[-1].train()
    thinned = block._thin(torch.ones(4000, 1, 1))
    assert set(thinned.flatten().tolist()) == {0.0, 2.0}
    assert thinned.mean() == pytest.approx(1, abs=0.1)
    assert torch.equal(block.eval()._thin(torch.ones(3, 1, 1)), torch.ones(3, 1, 1))
