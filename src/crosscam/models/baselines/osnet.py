"""OSNet: a small network whose every block sees several scales, and weighs them anew for each image.

Source: Zhou, Yang, Cavallaro and Xiang, "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019. Where
the paper is silent the authors' implementation decides (``osnet`` of the torchreid toolkit): the first weights, biases
in the gate, and none before a batch normalization.
The loss is :func:`crosscam.losses.classification_loss`: cross-entropy with smoothed labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import STRIDE, conv_unit, init_convolutions
from crosscam.models.backbones.omni_scale import CHANNELS, Instance, OmniScaleBlock
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import PartLinear, PartUnits

# Width multipliers of the paper.
WIDTHS = (1.0, 0.75, 0.5, 0.25)
Norm = Literal["batch", "ibn", "ain"]
# Where the two blocks of each stage have an instance normalization; the first convolution has one in "ibn" and "ain".
_INSTANCE: dict[Norm, tuple[tuple[Instance | None, Instance | None], ...]] = {
    "batch": ((None, None), (None, None), (None, None)),
    "ibn": (("after", "after"), (None, None), (None, None)),
    "ain": (("inside", "inside"), (None, "inside"), ("inside", None)),
}


class OSNet(nn.Module):
    """Three stages of omni-scale blocks, average pooling, and a linear unit. ``model(images)`` gives a ReidOutput.

    Source: Zhou et al. 2019, Table 1; 2.2 M parameters without classifier.

    Args:
        channels: of the first convolution and of each stage.
        dim: length of the descriptor.
        norm: ``"batch"``; ``"ibn"`` and ``"ain"`` have instance normalizations, for cameras that were not trained on
            (Zhou et al., "Learning generalisable omni-scale representations for person re-identification", TPAMI 2021;
            places as in the authors' ``osnet_ibn_x1_0`` and ``osnet_ain_x1_0``).
    """

    def __init__(
        self, num_ids: int, *, channels: tuple[int, ...] = CHANNELS, dim: int = 512, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.backbone = omni_scale_stages(channels, norm)
        self.unit = PartUnits(1, channels[-1], dim)
        # As the authors' code: normal weights, zero bias.
        nn.init.normal_(self.unit.linear.weight, std=0.01)
        nn.init.zeros_(self.unit.linear.bias)
        self.id_classifiers = PartLinear(1, dim, num_ids, std=0.01) if num_ids else None
        self.layout = (Block("global", 0, dim, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images; the paper's are 256 x 128 -> one embedding, at most one logits."""
        feature = self.unit(pool_map(self.backbone(images), "gap").unsqueeze(1))
        logits = () if self.id_classifiers is None else self.id_classifiers(feature).unbind(dim=1)
        return ReidOutput((feature.squeeze(1),), logits)


def omni_scale_stages(channels: tuple[int, ...], norm: Norm = "batch") -> nn.Sequential:
    """The convolutional part: each stage is two blocks and a 1x1 convolution, with average pooling between stages."""
    first = conv_unit(3, channels[0], 7, stride=2)
    if norm != "batch":
        first[1] = nn.InstanceNorm2d(channels[0], affine=True)
    layers: list[nn.Module] = [first, nn.MaxPool2d(3, 2, 1)]
    for (before, after), instance in zip(pairwise(channels), _INSTANCE[norm], strict=True):
        layers += [OmniScaleBlock(before, after, instance=instance[0])]
        layers += [OmniScaleBlock(after, after, instance=instance[1]), conv_unit(after, after, 1), nn.AvgPool2d(2)]
    stages = nn.Sequential(*layers[:-1])
    init_convolutions(stages)
    return stages


@dataclass(frozen=True)
class OSNetModel:
    """What builds :class:`OSNet`, from random weights; ``width`` multiplies all channels but the descriptor's."""

    system: Literal["osnet"] = "osnet"
    width: float = 1.0
    norm: Norm = "batch"

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) another width, or images that do not give a whole map."""
        if self.width not in WIDTHS:
            raise ArgumentError(f"model.width={self.width}: expected one of {', '.join(map(str, WIDTHS))}.")
        if min(height, width) < STRIDE or height % STRIDE or width % STRIDE:
            raise ArgumentError(
                f"Images of {height} x {width} do not give OSNet a whole map at 1/{STRIDE} of their size. "
                f"Take multiples of {STRIDE}."
            )

    def build(self, num_ids: int, *, pretrained: bool = True) -> OSNet:
        del pretrained  # ImageNet weights are not read.
        return OSNet(num_ids, channels=tuple(int(c * self.width) for c in CHANNELS), norm=self.norm)
