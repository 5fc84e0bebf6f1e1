"""ResNets with a BNNeck from files of fast-reid and of the Bag of Tricks, against a network of their structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from crosscam.errors import CheckpointError
from crosscam.inference.describing import load_model
from crosscam.models.backbones.build import build_backbone
from crosscam.models.baselines.bot import BoTModel
from crosscam.recipes.checkpoint import load_recipe
from crosscam.training.fast_reid import BOTS, import_fast_reid

PLANES, DEPTHS = (4, 8, 16, 32), (1, 2, 1, 1)


class HalfAndHalf(nn.Module):
    """fast-reid's IBN-a: instance normalization of the first half, batch normalization of the rest."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.IN(x[:, : self.half]), self.BN(x[:, self.half :])), 1)


class ToolkitBlock(nn.Module):
    """A bottleneck by the toolkit's names."""

    def __init__(self, inplanes: int, planes: int, stride: int, ibn: bool) -> None:
        super().__init__()
        out = 4 * planes
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = HalfAndHalf(planes) if ibn else nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        changes = stride > 1 or inplanes != out
        skip = nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.downsample = skip if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Toolkit(nn.Module):
    """The toolkit's ResNet with a last stride of 1, small; the neck under the name that the file gives it."""

    def __init__(self, ibn: bool) -> None:
        super().__init__()
        body = nn.Module()
        body.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        body.bn1 = nn.BatchNorm2d(4)
        inplanes = 4
        for i, (planes, depth, stride) in enumerate(zip(PLANES, DEPTHS, (1, 2, 2, 1), strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(ToolkitBlock(inplanes, planes, stride if j == 0 else 1, ibn and i < 3))
                inplanes = 4 * planes
            setattr(body, f"layer{i + 1}", nn.Sequential(*blocks))
        self.backbone = body
        self.neck = nn.BatchNorm1d(inplanes)

    def forward(self, images: Tensor) -> Tensor:
        body = self.backbone
        x = torch.max_pool2d(torch.relu(body.bn1(body.conv1(images))), 3, 2, 1)
        for i in range(4):
            x = getattr(body, f"layer{i + 1}")(x)
        return self.neck(x.mean(dim=(2, 3)))


def fast_reid(state: dict[str, Tensor]) -> dict[str, object]:
    """As fast-reid's checkpoints hold it: beside the optimizer, with the classifier and the mean of the images."""
    named = {name.replace("neck.", "heads.bottleneck.0."): value for name, value in state.items()}
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) * 255 for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return {
        "model": named | {"heads.weight": torch.ones(7, 128), "pixel_mean": mean, "pixel_std": std},
        "iteration": 3,
    }


def bag_of_tricks(state: dict[str, Tensor]) -> dict[str, object]:
    """As the Bag of Tricks' own code saves it, from several GPUs."""
    named = {name.replace("backbone.", "base.").replace("neck.", "bottleneck."): v for name, v in state.items()}
    return {f"module.{name}": value for name, value in (named | {"classifier.weight": torch.ones(7, 128)}).items()}


def wrapped_twice(state: dict[str, Tensor]) -> dict[str, object]:
    """The model's dictionary in another, with what else a training keeps."""
    return {"model": {"state_dict": fast_reid(state)["model"], "epoch": 3}}


def whole_training(state: dict[str, Tensor]) -> dict[str, object]:
    """With a score of NumPy beside it."""
    return fast_reid(state) | {"metric": np.float64(0.9)}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "bottleneck:stem=4,planes=4.8.16.32,out=16.32.64.128,depths=1.2.1.1"
    monkeypatch.setitem(BOTS, "bot_resnet50", BoTModel(backbone=name))
    monkeypatch.setitem(BOTS, "bot_resnet50_ibn", BoTModel(backbone=f"{name},ibn"))


def toolkit(ibn: bool = False) -> Toolkit:
    torch.manual_seed(4)
    model = Toolkit(ibn).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2) if "var" in name else value.normal_(0.1, 0.2)
    return model


@pytest.mark.parametrize("ibn", [False, True])
@pytest.mark.parametrize("layout", [fast_reid, bag_of_tricks, wrapped_twice, whole_training])
def test_the_run_folder_describes_as_the_toolkit_does(
    layout: Callable[[dict[str, Tensor]], dict[str, object]], ibn: bool, tmp_path: Path
):
    model = toolkit(ibn)
    torch.save(layout(model.state_dict()), tmp_path / "bot.pth")
    import_fast_reid(tmp_path / "bot.pth", "bot_resnet50_ibn" if ibn else "bot_resnet50", tmp_path / "run")
    ours = load_model(tmp_path / "run", load_recipe(tmp_path / "run")).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = model(images), ours(images).descriptor
    assert expected.std() > 0
    assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"heads.pool_layer.p": torch.ones(1)}, "has, beyond it, heads.pool_layer.p"),
        ({"backbone.NL_2.0.g.weight": torch.ones(1)}, "has, beyond it, backbone.NL_2.0.g.weight"),
        (
            {"pixel_mean": torch.full((1, 3, 1, 1), 127.5)},
            "pixel_mean: 127.5, 127.5, 127.5, expected ImageNet's 123.67, 116.28",
        ),
        ({"pixel_std": torch.ones(1, 3, 1, 1)}, "pixel_std: 1, 1, 1, expected ImageNet's 58.395, 57.12, 57.375"),
        ({"heads.bottleneck.0.bias": torch.full((128,), torch.nan)}, "not finite in neck.bias"),
        ({"heads.bottleneck.0.bias": torch.full((128,), 1e6).half()}, "not finite in neck.bias"),
        ({"heads.bottleneck.0.running_var": -torch.ones(128)}, "variances below 0 in neck.running_var"),
        ({"heads.bottleneck.0.weight": torch.ones(128).char()}, r"has whole numbers \(int8\) in neck.weight, expected"),
        ({"heads.bottleneck.0.weight": torch.ones(3)}, r"neck.weight has shape \(3,\), expected \(128,\)"),
    ],
)
def test_another_network_is_one_line(further: dict[str, Tensor], said: str, tmp_path: Path):
    file = fast_reid(toolkit().state_dict())
    torch.save({"model": file["model"] | further}, tmp_path / "sbs.pth")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=said) as caught:
        import_fast_reid(tmp_path / "sbs.pth", "bot_resnet50", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_network_without_its_other_normalization_is_refused(tmp_path: Path):
    torch.save(fast_reid(toolkit(ibn=True).state_dict()), tmp_path / "bot.pth")
    with pytest.raises(CheckpointError, match="is not bot_resnet50: it"):
        import_fast_reid(tmp_path / "bot.pth", "bot_resnet50", tmp_path / "run")


def test_the_first_three_stages_of_resnet50_ibn_are_half_instance_normalized():
    with torch.device("meta"):
        shapes = {name: tuple(v.shape) for name, v in build_backbone("resnet50-ibn", 1, None).state_dict().items()}
    halves = [shapes[f"layer{stage}.0.bn1.instance.weight"] for stage in (1, 2, 3)]
    assert halves == [(32,), (64,), (128,)]
    assert shapes["layer4.0.bn1.weight"] == (512,)
