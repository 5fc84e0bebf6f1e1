from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch.nn import functional as F

from crosscam.errors import CheckpointError
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.resnet import RESNETS, InstanceBatchNorm, PointwiseConv2d, ResNet, ResNetShape

DEPTHS = {
    "resnet18-half": (2, 2, 2, 2),
    "resnet18-half-ibn": (2, 2, 2, 2),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet50-ibn": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
# torchvision's counts less its classifier; the half-width network by hand: no published one.
PARAMETERS = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032, "resnet101": 42_500_160}
TINY = ResNetShape("bottleneck", (1, 2, 1, 1), 4, (2, 2, 4, 4), (8, 8, 16, 16))


def torchvision_names(name: str) -> dict[str, tuple[int, ...]]:
    """torchvision's names and shapes, written down from the paper's table of sizes."""
    width, bottleneck = (32 if "half" in name else 64), name in ("resnet50", "resnet101")
    found: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 7, 7)}

    def norm(prefix: str, channels: int) -> None:
        for kind in ("weight", "bias", "running_mean", "running_var"):
            found[f"{prefix}.{kind}"] = (channels,)
        found[f"{prefix}.num_batches_tracked"] = ()

    norm("bn1", width)
    inputs = width
    for stage, depth in enumerate(DEPTHS[name]):
        inner = width * 2**stage
        outputs = 4 * inner if bottleneck else inner
        kernels = [(inner, 1), (inner, 3), (outputs, 1)] if bottleneck else [(inner, 3), (inner, 3)]
        for block in range(depth):
            prefix, channels = f"layer{stage + 1}.{block}", inputs
            for i, (out, kernel) in enumerate(kernels, start=1):
                found[f"{prefix}.conv{i}.weight"] = (out, channels, kernel, kernel)
                norm(f"{prefix}.bn{i}", out)
                channels = out
            if block == 0 and (stage > 0 or bottleneck):
                found[f"{prefix}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                norm(f"{prefix}.downsample.1", outputs)
            inputs = outputs
    return found


@pytest.mark.parametrize("name", [name for name in RESNETS if not name.endswith("ibn")])
def test_names_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert {k: tuple(v.shape) for k, v in backbone.state_dict().items()} == torchvision_names(name)
    if name in PARAMETERS:
        assert sum(p.numel() for p in backbone.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("last_stride", "rows"), [(1, 12), (2, 6)])
@pytest.mark.parametrize("name", list(RESNETS))
def test_map_sizes(name, last_stride, rows):
    with torch.device("meta"):
        backbone = build_backbone(name, last_stride)
        feature_map = backbone(torch.empty(2, 3, 192, 64))
    assert feature_map.shape == (2, backbone.out_channels, rows, rows // 3)
    narrow = {"resnet18-half": 256, "resnet18-half-ibn": 256, "resnet18": 512, "resnet34": 512}
    assert backbone.out_channels == narrow.get(name, 2048)


def test_strides_stand_where_torchvision_has_them():
    with torch.device("meta"):
        backbone = build_backbone("resnet50")
    strided = {n for n, m in backbone.named_modules() if getattr(m, "stride", 1) in (2, (2, 2))}
    expected = {"conv1", "maxpool"}
    for stage in ("layer2", "layer3"):
        expected |= {f"{stage}.0.conv2", f"{stage}.0.downsample.0"}
    assert strided == expected


def test_a_spelled_name_builds_the_network_it_came_from():
    spelled = TINY.name
    assert spelled == "bottleneck:stem=4,planes=2.2.4.4,out=8.8.16.16,depths=1.2.1.1"
    backbone = build_backbone(spelled)
    same = ResNet(TINY).state_dict()
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {k: v.shape for k, v in same.items()}
    assert all(shape.name == name for name, shape in RESNETS.items())


def test_half_of_the_channels_are_normalized_image_by_image():
    backbone = build_backbone("resnet18-half-ibn")
    layer = backbone.layer2[1].bn1
    torch.nn.init.uniform_(layer.instance.weight, 0.5, 1.5)
    torch.nn.init.uniform_(layer.batch.running_mean, -1, 1)
    x = torch.randn(3, 64, 6, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
    out = layer.eval()(x)
    for image, channel in ((0, 0), (2, 31)):
        values = x[image, channel]
        expected = (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt() * layer.instance.weight[channel]
        torch.testing.assert_close(out[image, channel], expected)
    expected = (x[:, 40] - layer.batch.running_mean[8]) / (layer.batch.running_var[8] + 1e-5).sqrt()
    torch.testing.assert_close(out[:, 40], expected)


def test_instance_normalization_stands_where_ibn_a_has_it():
    backbone = build_backbone("resnet18-half-ibn")
    found = {name for name, module in backbone.named_modules() if isinstance(module, InstanceBatchNorm)}
    assert found == {f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in (0, 1)}
    spelled = ResNetShape("basic", (1, 1, 1, 1), 4, (2, 2, 2, 2), (4, 4, 4, 8), instance=True).name
    assert spelled.endswith(",depths=1.1.1.1,ibn")
    assert isinstance(build_backbone(spelled).layer1[0].bn1, InstanceBatchNorm)


@pytest.mark.parametrize("name", ["resnet152", "", "bottleneck:stem=4", TINY.name.replace("stem=4", "stem=0")])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"Unknown backbone|size of zero"):
        build_backbone(name)


def imagenet_state() -> dict[str, torch.Tensor]:
    """A file of torchvision's layout for the tiny network: with classifier, and without counters as old files are."""
    torch.manual_seed(3)
    state = {k: torch.randn_like(v) for k, v in ResNet(TINY).state_dict().items() if "num_batches" not in k}
    return {**state, "fc.weight": torch.zeros(1000, 16), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", "\udcff.safetensors"])
def test_imagenet_weights_from_a_file(tmp_path: Path, suffix: str):
    state, path = imagenet_state(), tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else path.write_bytes(save(state))
    backbone = ResNet(TINY)
    load_pretrained(backbone, "tiny", str(path))
    own = backbone.state_dict()
    assert all(torch.equal(own[k], v) for k, v in state.items() if not k.startswith("fc."))


def refusal(backbone: ResNet, path: Path) -> str:
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(backbone, "tiny", str(path))
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_imagenet_files_that_do_not_fit_say_why(tmp_path: Path):
    backbone, path = ResNet(TINY), tmp_path / "weights.pth"
    assert "No weights file" in refusal(backbone, path)
    state = imagenet_state()
    torch.save({k: v for k, v in state.items() if k != "conv1.weight"}, path)
    assert "1 parameters missing, 0 unknown or of another shape (first: conv1.weight)" in refusal(backbone, path)
    torch.save({**state, "layer9.weight": torch.zeros(1)}, path)
    assert "0 parameters missing, 1 unknown or of another shape (first: layer9.weight)" in refusal(backbone, path)
    torch.save({**state, "bn1.bias": torch.zeros(5)}, path)
    assert "(first: bn1.bias)" in refusal(backbone, path)
    torch.save({**state, "conv1.weight": state["conv1.weight"].char()}, path)
    assert "weights.pth has whole numbers (int8) in conv1.weight, expected" in refusal(backbone, path)
    torch.save({"state_dict": [1, 2], "epoch": 3}, path)
    assert "does not hold named tensors alone" in refusal(backbone, path)
    path.write_bytes(b"not a checkpoint")
    assert "is not a plain weights file" in refusal(backbone, path)
    torch.save(backbone, path)
    assert "is not a plain weights file" in refusal(backbone, path)


def test_nothing_is_published_for_the_half_width_network():
    with pytest.raises(CheckpointError, match="No ImageNet weights are published for resnet18-half"):
        load_pretrained(ResNet(TINY), "resnet18-half", "download")


@torch.no_grad()
@pytest.mark.parametrize("channels", [3, 4, 8, 12])
def test_a_strided_1x1_convolution_is_the_same_for_few_channels(channels: int):
    torch.manual_seed(0)
    layer, x = PointwiseConv2d(channels, 8, 2).double(), torch.randn(2, channels, 9, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, stride=2))


def test_gradients_of_tiny_networks_are_the_same_each_time():
    """oneDNN's weight gradient of a strided 1x1 convolution of 4 channels writes beyond its memory on AVX2."""
    script = """
import torch
from crosscam.models.backbones.build import build_backbone
torch.manual_seed(0)
net = build_backbone("basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1").to(memory_format=torch.channels_last)
images = torch.randn(8, 3, 64, 32).contiguous(memory_format=torch.channels_last)
seen = set()
for size in range(100):
    net.zero_grad()
    kept = [torch.empty(17 + size) for _ in range(20)]
    net(images).square().sum().backward()
    seen.add(sum(p.grad.double().sum().item() for p in net.parameters()))
assert len(seen) == 1, seen
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
