"""torchreid's OSNet weights as a run folder, against the toolkit's own layers written down here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from crosscam.errors import CheckpointError
from crosscam.inference.describing import load_model
from crosscam.inference.extractor import Extractor
from crosscam.models.baselines.osnet import OSNetModel
from crosscam.recipes.checkpoint import load_recipe
from crosscam.training.torchreid import OSNETS, import_torchreid


class Unit(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int = 1, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outside)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return torch.relu(y) if self.relu else y


class Light(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv2(self.conv1(x))))


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 16, 1), nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        mid = outside // 4
        self.conv1, self.conv2a = Unit(inside, mid), Light(mid)
        self.conv2b, self.conv2c, self.conv2d = (nn.Sequential(*(Light(mid) for _ in range(n))) for n in (2, 3, 4))
        self.gate, self.conv3 = Gate(mid), Unit(mid, outside, relu=False)
        self.downsample = Unit(inside, outside, relu=False) if inside != outside else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = sum(self.gate(branch(y)) for branch in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        return torch.relu(self.conv3(y) + (x if self.downsample is None else self.downsample(x)))


class Toolkit(nn.Module):
    """osnet_x0_25 by the names of the toolkit."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = 16, 64, 96, 128
        self.conv1 = Unit(3, a, 7, 2)
        self.conv2 = nn.Sequential(Block(a, b), Block(b, b), nn.Sequential(Unit(b, b), nn.AvgPool2d(2)))
        self.conv3 = nn.Sequential(Block(b, c), Block(c, c), nn.Sequential(Unit(c, c), nn.AvgPool2d(2)))
        self.conv4 = nn.Sequential(Block(c, d), Block(d, d))
        self.conv5 = Unit(d, d)
        self.fc = nn.Sequential(nn.Linear(d, 512), nn.BatchNorm1d(512), nn.ReLU())
        self.classifier = nn.Linear(512, 7)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.max_pool2d(self.conv1(x), 3, 2, 1)
        y = self.conv5(self.conv4(self.conv3(self.conv2(y))))
        return self.fc(y.mean(dim=(2, 3)))


class StreamBlock(nn.Module):
    """A block of osnet_ain: streams in a list, and an instance normalization inside some."""

    def __init__(self, inside: int, outside: int, instance: bool) -> None:
        super().__init__()
        mid = outside // 4
        self.conv1, self.gate, self.conv3 = Unit(inside, mid), Gate(mid), Unit(mid, outside, relu=False)
        self.conv2 = nn.ModuleList()
        for depth in range(1, 5):
            stream = nn.Module()
            stream.layers = nn.Sequential(*(Light(mid) for _ in range(depth)))
            self.conv2.append(stream)
        self.downsample = Unit(inside, outside, relu=False) if inside != outside else None
        if instance:
            del self.conv3.bn
            self.IN = nn.InstanceNorm2d(outside, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.conv3.conv(sum(self.gate(stream.layers(y)) for stream in self.conv2))
        y = self.IN(y) if hasattr(self, "IN") else self.conv3.bn(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class AINToolkit(Toolkit):
    """osnet_ain_x0_25 by the names of the toolkit."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = 16, 64, 96, 128
        self.conv1.bn = nn.InstanceNorm2d(a, affine=True)
        self.conv2 = nn.Sequential(StreamBlock(a, b, True), StreamBlock(b, b, True))
        self.pool2 = nn.Sequential(Unit(b, b), nn.AvgPool2d(2))
        self.conv3 = nn.Sequential(StreamBlock(b, c, False), StreamBlock(c, c, True))
        self.pool3 = nn.Sequential(Unit(c, c), nn.AvgPool2d(2))
        self.conv4 = nn.Sequential(StreamBlock(c, d, True), StreamBlock(d, d, False))

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool2(self.conv2(nn.functional.max_pool2d(self.conv1(x), 3, 2, 1)))
        y = self.conv5(self.conv4(self.pool3(self.conv3(y))))
        return self.fc(y.mean(dim=(2, 3)))


class IBNBlock(Block):
    """A block of osnet_ibn's first stage."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside)
        self.IN = nn.InstanceNorm2d(outside, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = sum(self.gate(branch(y)) for branch in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        return torch.relu(self.IN(self.conv3(y) + (x if self.downsample is None else self.downsample(x))))


class IBNToolkit(Toolkit):
    """osnet_ibn_x1_0 by the names of the toolkit, at a quarter of its width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1.bn = nn.InstanceNorm2d(16, affine=True)
        self.conv2 = nn.Sequential(IBNBlock(16, 64), IBNBlock(64, 64), self.conv2[2])


@pytest.mark.parametrize(("build", "family"), [(AINToolkit, "osnet_ain_x0_25"), (IBNToolkit, "osnet_ibn_x1_0")])
def test_networks_with_instance_normalization(
    build: type[Toolkit], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(OSNETS, "osnet_ibn_x1_0", OSNetModel(width=0.25, norm="ibn"))
    torch.manual_seed(3)
    model = build().eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2) if "var" in name else value.normal_(0.1, 0.2)
    torch.save(model.state_dict(), tmp_path / "osnet.pth")
    import_torchreid(tmp_path / "osnet.pth", family, tmp_path / "run")
    ours = load_model(tmp_path / "run", load_recipe(tmp_path / "run")).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = model(images), ours(images).descriptor
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    with pytest.raises(CheckpointError, match="is not osnet_x0_25: it"):
        import_torchreid(tmp_path / "osnet.pth", "osnet_x0_25", tmp_path / "other")


@pytest.fixture(scope="module")
def toolkit() -> Toolkit:
    torch.manual_seed(0)
    model = Toolkit()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def training_file(toolkit: Toolkit) -> dict[str, object]:
    """As the toolkit's own training saves it: rank-1 of NumPy, and a schedule that counts its milestones."""
    optimizer = torch.optim.SGD(toolkit.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40])
    return {
        "state_dict": {f"module.{name}": value for name, value in toolkit.state_dict().items()},
        "epoch": 3,
        "rank1": np.float32(0.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
    }


LAYOUTS = {
    "alone.pth": lambda toolkit: toolkit.state_dict(),
    "model.pth.tar-3": training_file,
    "wrapped.pth": lambda toolkit: {"model": {"state_dict": toolkit.state_dict()}, "epoch": 3},
    "module.pth": lambda toolkit: toolkit,
    "osnet.safetensors": lambda toolkit: toolkit.state_dict(),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_run_folder_describes_as_the_toolkit_does(toolkit: Toolkit, tmp_path: Path, name: str):
    file = tmp_path / name
    (save_file if file.suffix == ".safetensors" else torch.save)(LAYOUTS[name](toolkit), file)
    import_torchreid(file, "osnet_x0_25", tmp_path / "run")
    model = load_model(tmp_path / "run", load_recipe(tmp_path / "run")).eval()
    images = torch.randn(2, 3, 256, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = toolkit(images), model(images).descriptor
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    assert Extractor.load(tmp_path / "run").dim == 512
    with pytest.raises(CheckpointError, match=r"already holds a training .*\. Choose another"):
        import_torchreid(file, "osnet_x0_25", tmp_path / "run")


def test_another_network_is_one_line(toolkit: Toolkit, tmp_path: Path):
    torch.save(toolkit.state_dict(), tmp_path / "osnet.pth")
    with pytest.raises(CheckpointError, match=r"is not osnet_x1_0: .* has shape") as caught:
        import_torchreid(tmp_path / "osnet.pth", "osnet_x1_0", tmp_path / "run")
    state = toolkit.state_dict()
    torch.save({"conv2.0.IN.weight" if n == "conv5.bn.bias" else n: v for n, v in state.items()}, tmp_path / "ain.pth")
    with pytest.raises(CheckpointError, match="is not osnet_x0_25: it") as also:
        import_torchreid(tmp_path / "ain.pth", "osnet_x0_25", tmp_path / "run")
    torch.save(state | {"conv5.bn.bias": torch.full_like(state["conv5.bn.bias"], torch.inf)}, tmp_path / "inf.pth")
    with pytest.raises(CheckpointError, match=r"inf\.pth has numbers that are not finite in backbone"):
        import_torchreid(tmp_path / "inf.pth", "osnet_x0_25", tmp_path / "run")
    torch.save(state | {"conv1.conv.weight": state["conv1.conv.weight"].char()}, tmp_path / "int8.pth")
    with pytest.raises(
        CheckpointError, match=r"int8\.pth has whole numbers \(int8\) in backbone\.0\.0\.weight, expected"
    ):
        import_torchreid(tmp_path / "int8.pth", "osnet_x0_25", tmp_path / "run")
    (tmp_path / "note.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match=r"Give a \.pth file of osnet_x0_25, or tensors alone as \.safetensors"):
        import_torchreid(tmp_path / "note.pth", "osnet_x0_25", tmp_path / "run")
    assert "\n" not in str(caught.value) + str(also.value)
    assert not (tmp_path / "run" / "weights.safetensors").exists()
