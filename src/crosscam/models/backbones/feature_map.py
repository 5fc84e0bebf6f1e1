"""What a backbone is: from images to a feature map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

# A map has 1/16 of the image's height and width (last stride 1).
STRIDE = 16


class Backbone(nn.Module, ABC):
    """The convolutional part of an image classifier.

    Attributes:
        out_channels: C of the feature map.
        refused: names beside its modules that a file of weights must not hold, because they change the network.
    """

    out_channels: int
    refused: Sequence[str] = ()

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16) feature map; half of that with a last stride of 2."""

    @property
    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The modules from the image on, stage by stage; ``train.frozen_stages`` counts them."""

    @abstractmethod
    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """The same layers in two: up to the first block at 1/16 of the image's size, and the rest (for MGN)."""

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published file with this network's names, whatever stands in front of them; as it is for most."""
        return dict(state)

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a published file, by this network's names and sizes; as they are for most."""
        return dict(state)

    @property
    def trunk_stages(self) -> Sequence[Sequence[nn.Module]]:
        """The stages that lie in the first of the two parts as a whole."""
        trunk = set(self.parted()[0].children())
        return [stage for stage in self.stages if trunk.issuperset(stage)]


def init_convolutions(module: nn.Module) -> None:
    """Random weights for all convolutions (He et al., ICCV 2015, by the fan out)."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def conv_unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalization, ReLU; the size is kept, or divided by the stride."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
