"""TriNet: one short global embedding, trained by the triplet loss alone.

Source: Hermans et al., "In defense of the triplet loss for person re-identification", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import OnBackbone


class TriNet(nn.Module):
    """Global average pooling, 1,024 units with batch normalization and ReLU, then 128 numbers. No classifier.

    Source: Hermans et al. 2017, "Network architectures" (TriNet). The first layer has no bias, its normalization takes
    its place; the second starts orthogonal. Both are as in the authors' code; the paper is silent. The embedding, D =
    ``dim`` numbers in one global block, is not normalized.
    """

    def __init__(self, backbone: Backbone, *, hidden: int = 1024, dim: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        first = nn.Linear(backbone.out_channels, hidden, bias=False)
        nn.init.xavier_uniform_(first.weight)
        self.hidden = nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True))
        self.embed = nn.Linear(hidden, dim)
        nn.init.orthogonal_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.layout = (Block("global", 0, dim, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images -> one embedding (B, D), no logits."""
        return ReidOutput((self.embed(self.hidden(pool_map(self.backbone(images), "gap"))),))


@dataclass(frozen=True)
class TriNetModel(OnBackbone):
    """The choices of :class:`TriNet`; a last stride of 2 is the plain ResNet of the paper."""

    system: Literal["trinet"] = "trinet"
    last_stride: int = 2
    hidden: int = 1024
    dim: int = 128

    def build(self, num_ids: int, *, pretrained: bool = True) -> TriNet:  # noqa: ARG002 - all systems are built alike; TriNet has no classifier.
        return TriNet(self.own_backbone(pretrained), hidden=self.hidden, dim=self.dim)
