"""HPM, horizontal pyramid matching: stripes at four scales, average plus maximum, a classifier each.

Source: Fu et al., "Horizontal pyramid matching for person re-identification", AAAI 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.baselines.pcb import reduction_unit, stripe_layout
from crosscam.models.output import ReidOutput
from crosscam.models.stripes import OnBackbone, feature_classifiers, pool_stripes


def pyramid_pool(feature_map: Tensor, scales: tuple[int, ...]) -> Tensor:
    """(B, C, H, W) -> (B, sum of the scales, C): average plus maximum of every stripe, scale by scale, top to bottom.

    Source: Fu et al., AAAI 2019, "Horizontal pyramid pooling". ValueError for stripes that do not tile the map.
    """
    pooled = [pool_stripes(feature_map, n, "avg") + pool_stripes(feature_map, n, "max") for n in scales]
    return torch.cat(pooled, dim=1)


class HPM(nn.Module):
    """Pyramid of 1, 2, 4 and 8 stripes. ``model(images)`` gives a :class:`ReidOutput`.

    Source: Fu et al., AAAI 2019, Fig. 2. Batch normalization and ReLU after each 1x1 convolution, and classifiers
    without bias, are as in the authors' code. That code pools by the maximum or the average alone; the sum is the
    paper's.

    Args:
        scales: numbers of stripes, in the order of the descriptor; the one stripe of scale 1 is a global block.
        dim: length of each reduced part.

    Raises:
        ValueError: no scales, one twice, or one below 1.
    """

    def __init__(
        self, backbone: Backbone, num_ids: int, *, scales: tuple[int, ...] = (1, 2, 4, 8), dim: int = 256
    ) -> None:
        super().__init__()
        if not scales or len(set(scales)) < len(scales) or min(scales) < 1:
            raise ArgumentError(f"scales={scales}: expected different numbers of stripes, each at least 1.")
        self.backbone = backbone
        self.scales = scales
        num_parts = sum(scales)
        self.reductions = nn.ModuleList(reduction_unit(backbone.out_channels, dim) for _ in range(num_parts))
        self.part_classifiers = feature_classifiers(num_parts, dim, num_ids)
        self.layout = stripe_layout([(n, None if n == 1 else i) for n in scales for i in range(n)], dim)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, H divisible by 16 x each scale -> embeddings and logits."""
        parts = pyramid_pool(self.backbone(images), self.scales).unbind(dim=1)
        embeddings = tuple(reduce(part) for reduce, part in zip(self.reductions, parts, strict=True))
        # Without classifiers the shorter list ends the pairs: no logits.
        pairs = zip(self.part_classifiers, embeddings, strict=False)
        return ReidOutput(embeddings, tuple(classify(embedding) for classify, embedding in pairs))


@dataclass(frozen=True)
class HPMModel(OnBackbone):
    """The choices of :class:`HPM`."""

    cut_by: ClassVar[str] = "scales"
    system: Literal["hpm"] = "hpm"
    scales: tuple[int, ...] = (1, 2, 4, 8)
    dim: int = 256

    def build(self, num_ids: int, *, pretrained: bool = True) -> HPM:
        return HPM(self.own_backbone(pretrained), num_ids, scales=self.scales, dim=self.dim)
