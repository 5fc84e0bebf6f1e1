"""EfficientNet-Lite0: from images to a feature map, with the parameter names of the published PyTorch files.

Source: Tan & Le, ICML 2019, Table 1 (EfficientNet-B0); Liu, "Higher accuracy on vision models with EfficientNet-Lite"
(TensorFlow blog, 2020): without squeeze-and-excitation, and ReLU6 in place of swish. Strided convolutions are padded as
TensorFlow's ``SAME``: what is left over goes to the bottom and the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from crosscam.models.backbones.feature_map import Backbone, init_convolutions

# Expansion, channels, repetitions, stride and kernel of each stage.
_TABLE = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3
# Blocks before each stage, and the first one at 1/16 of the image's size.
_STAGE_STARTS = (0, 1, 3, 5, 8, 11, 15)
_FIRST_AT_SIXTEENTH = 5


class SameConv2d(nn.Conv2d):
    """A convolution padded so that its output has ceil(size / stride) rows and columns."""

    def __init__(self, inplanes: int, outplanes: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inplanes, outplanes, size, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, ceil(H / stride), ceil(W / stride))."""
        size, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return conv2d(x, self.weight, self.bias, 1, size // 2, 1, self.groups)
        rows, columns = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[2:])
        x = pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class MBConv(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection, and a skip where the sizes agree."""

    def __init__(self, inplanes: int, outplanes: int, stride: int, expansion: int, size: int) -> None:
        super().__init__()
        hidden = inplanes * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConv2d(inplanes, hidden, 1)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._depthwise_conv = SameConv2d(hidden, hidden, size, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = SameConv2d(hidden, outplanes, 1)
        self._bn2 = nn.BatchNorm2d(outplanes, eps=_EPSILON)
        self.relu = nn.ReLU6(inplace=True)
        self.has_skip = stride == 1 and inplanes == outplanes

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, ceil(H / stride), ceil(W / stride))."""
        y = self.relu(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self.relu(self._bn1(self._depthwise_conv(y)))
        y = cast(Tensor, self._bn2(self._project_conv(y)))
        return x + y if self.has_skip else y


class EfficientNetLite0(Backbone):
    """The convolutional part of EfficientNet-Lite0.

    ``last_stride`` of the stage of 192 channels is 2 as published. Without ``head``, the last 1x1 convolution to 1,280
    channels, the map has 320.
    """

    def __init__(self, last_stride: int = 1, *, head: bool = True) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        self.relu = nn.ReLU6(inplace=True)
        inplanes, blocks = _STEM, list[nn.Module]()
        for expansion, outplanes, depth, stride, size in _TABLE:
            first = last_stride if outplanes == 192 else stride
            for i in range(depth):
                blocks.append(MBConv(inplanes, outplanes, first if i == 0 else 1, expansion, size))
                inplanes = outplanes
        self._blocks = nn.ModuleList(blocks)
        self.has_head = head
        if head:
            self._conv_head = SameConv2d(inplanes, _HEAD, 1)
            self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPSILON)
        self.out_channels = _HEAD if head else inplanes
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16) feature map, C = ``out_channels``."""
        return cast(Tensor, nn.Sequential(*(m for stage in self.stages for m in stage))(images))

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The stem, the seven stages, and the last convolution where it is kept."""
        blocks = list(self._blocks)
        ends = (*_STAGE_STARTS[1:], len(blocks))
        found: list[list[nn.Module]] = [[self._conv_stem, self._bn0, self.relu]]
        found += [blocks[i:j] for i, j in zip(_STAGE_STARTS, ends, strict=True)]
        return [*found, [self._conv_head, self._bn1, self.relu]] if self.has_head else found

    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Up to the first block of 80 channels, and the rest."""
        blocks = list(self._blocks)
        head = self.stages[-1] if self.has_head else []
        trunk = nn.Sequential(*self.stages[0], *blocks[: _FIRST_AT_SIXTEENTH + 1])
        return trunk, nn.Sequential(*blocks[_FIRST_AT_SIXTEENTH + 1 :], *head)
