"""MobileNetV2: from images to a feature map, with torchvision's parameter names.

Source: Sandler et al., CVPR 2018, Table 2. The last stride is a setting; 1 gives a map of 1/16 of the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from crosscam.models.backbones.feature_map import Backbone, init_convolutions

# Expansion t, channels c, repetitions n and stride s of Table 2.
_TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_STEM, _HEAD = 32, 1280
# The first blocks of the stages in ``features``: the stem, then a row of the table each.
_STAGE_STARTS = (0, 1, 2, 4, 7, 11, 14, 17)
_FIRST_AT_SIXTEENTH = 7


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection, and a skip where the sizes agree."""

    def __init__(self, inplanes: int, outplanes: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inplanes * expansion
        expand = [*_convolution(inplanes, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = [*_convolution(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.conv = nn.Sequential(*expand, *depthwise, *_convolution(hidden, outplanes, 1))
        self.has_skip = stride == 1 and inplanes == outplanes

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.has_skip else y


class MobileNetV2(Backbone):
    """The convolutional part of MobileNetV2.

    ``last_stride`` of the stage of 160 channels is 2 in its paper. Without ``head``, the last 1x1 convolution to 1,280
    channels, the map has 320.
    """

    def __init__(self, last_stride: int = 1, *, head: bool = True) -> None:
        super().__init__()
        inplanes = _STEM
        blocks: list[nn.Module] = [nn.Sequential(*_convolution(3, _STEM, 3, 2), nn.ReLU6(inplace=True))]
        for expansion, outplanes, depth, stride in _TABLE:
            first = last_stride if outplanes == 160 else stride
            for i in range(depth):
                blocks.append(InvertedResidual(inplanes, outplanes, first if i == 0 else 1, expansion))
                inplanes = outplanes
        if head:
            blocks.append(nn.Sequential(*_convolution(inplanes, _HEAD, 1), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*blocks)
        self.out_channels = _HEAD if head else inplanes
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16) feature map, C = ``out_channels``."""
        return cast(Tensor, self.features(images))

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The stem, the seven rows of Table 2, and the last convolution where it is kept."""
        starts = [i for i in (*_STAGE_STARTS, 18) if i < len(self.features)]
        blocks = list(self.features.children())
        return [blocks[i:j] for i, j in zip(starts, [*starts[1:], len(blocks)], strict=True)]

    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Up to the first block of 64 channels, and the rest."""
        blocks = list(self.features.children())
        own = _FIRST_AT_SIXTEENTH + 1
        return nn.Sequential(*blocks[:own]), nn.Sequential(*blocks[own:])


def _convolution(inplanes: int, outplanes: int, size: int, stride: int = 1, *, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inplanes, outplanes, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outplanes)]
