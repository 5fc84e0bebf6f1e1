"""MGN, the multiple granularity network: three branches from the fourth stage, of 1, 2 and 3 stripes.

Source: Wang et al., "Learning discriminative features with multiple granularities for person re-identification",
ACM Multimedia 2018.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.build import build_backbone, check_backbone
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.baselines.pcb import reduction_unit, stripe_layout
from crosscam.models.output import ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import check_stripes, feature_classifiers, pool_stripes

GlobalClassifiers = Literal["pooled", "reduced"]


class BranchedBackbone(nn.Module):
    """A backbone that parts into branches after its first block at 1/16 of the image's size (ResNet's ``conv4_1``).

    Source: Wang et al., ACM Multimedia 2018, Table 1. The branches start with the same weights. The first keeps the
    stride of the last stage, 2 (else ValueError), the others have none, so that their maps are twice as high and wide.
    Layers of ``backbone`` are taken over; ``stages`` are those before the branches part.
    """

    def __init__(self, backbone: Backbone, num_branches: int) -> None:
        super().__init__()
        self.stages = backbone.trunk_stages
        self.trunk, own = backbone.parted()
        if not _strided(own):
            raise ArgumentError("The backbone has last_stride=1. MGN's global branch needs last_stride=2.")
        self.branches = nn.ModuleList(deepcopy(own) for _ in range(num_branches))
        for branch in list(self.branches)[1:]:
            for layer in _strided(branch):
                layer.stride = (1, 1)
                if isinstance(layer, nn.AvgPool2d):
                    layer.kernel_size = (1, 1)
        self.out_channels = backbone.out_channels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalized images -> one map a branch: (B, C, H/32, W/32), then (B, C, H/16, W/16)."""
        shared = self.trunk(images)
        return tuple(branch(shared) for branch in self.branches)


def _strided(module: nn.Module) -> list[nn.Conv2d | nn.AvgPool2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.AvgPool2d) and m.stride in (2, (2, 2))]


class MGN(nn.Module):
    """Global features of three branches and the stripes of two. ``model(images)`` gives a :class:`ReidOutput`.

    Source: Wang et al., ACM Multimedia 2018, Fig. 3 and Table 1. All pooling is by the maximum. The embeddings are the
    reduced features; the global ones come first, and are those that the triplet loss sees. In the paper the identities
    are told from the global features before their reduction, and from the stripes after it, by classifiers without bias
    (section on the loss functions). The widely used public code (seathiefwang/MGN-pytorch) tells them from the reduced
    features, with bias: ``global_classifiers="reduced", classifier_bias=True``.

    Args:
        backbone: its last stride must be 2.
        scales: stripes of each branch; a branch of 1 has the global feature alone. The first keeps the stride.
        dim: length of each reduced feature.

    Attributes:
        backbone: a :class:`BranchedBackbone`, from images to one map a branch.
        layout: the descriptor's blocks: every branch's global feature, then every branch's stripes.

    Raises:
        ValueError: unknown ``global_classifiers``, bad scales, or a backbone of another stride.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_ids: int,
        *,
        scales: tuple[int, ...] = (1, 2, 3),
        dim: int = 256,
        global_classifiers: GlobalClassifiers = "pooled",
        classifier_bias: bool = False,
    ) -> None:
        super().__init__()
        if global_classifiers not in get_args(GlobalClassifiers):
            raise ArgumentError(f"Unknown global_classifiers={global_classifiers!r}. Known: pooled, reduced.")
        if not scales or len(set(scales)) < len(scales) or min(scales) < 1:
            raise ArgumentError(f"scales={scales}: expected different numbers of stripes, each at least 1.")
        self.backbone = BranchedBackbone(backbone, len(scales))
        self.scales = scales
        self.classifies_pooled = global_classifiers == "pooled"
        channels = backbone.out_channels
        num_stripes = sum(n for n in scales if n > 1)
        self.global_reductions = nn.ModuleList(_reduction(channels, dim) for _ in scales)
        self.part_reductions = nn.ModuleList(_reduction(channels, dim) for _ in range(num_stripes))
        width = channels if self.classifies_pooled else dim
        self.global_classifiers = feature_classifiers(len(scales), width, num_ids, bias=classifier_bias)
        self.part_classifiers = feature_classifiers(num_stripes, dim, num_ids, bias=classifier_bias)
        slots: list[tuple[int, int | None]] = [(n, None) for n in scales]
        self.layout = stripe_layout(slots + [(n, i) for n in scales if n > 1 for i in range(n)], dim)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, H divisible by 16 x each scale -> embeddings and logits."""
        maps = self.backbone(images)
        pooled = [pool_map(m, "gmp") for m in maps]
        stripes = [pool_stripes(m, n, "max") for m, n in zip(maps, self.scales, strict=True) if n > 1]
        parts = torch.cat(stripes, dim=1).unbind(dim=1) if stripes else ()
        whole = [reduce(x) for reduce, x in zip(self.global_reductions, pooled, strict=True)]
        local = [reduce(x) for reduce, x in zip(self.part_reductions, parts, strict=True)]
        seen = pooled if self.classifies_pooled else whole
        # Without classifiers the shorter lists end the pairs: no logits.
        logits = [classify(x) for classify, x in zip(self.global_classifiers, seen, strict=False)]
        logits += [classify(x) for classify, x in zip(self.part_classifiers, local, strict=False)]
        return ReidOutput((*whole, *local), tuple(logits))


def _reduction(in_features: int, dim: int) -> nn.Sequential:
    """A reduction unit that starts as in the public code: weights by the fan-in, scales near one."""
    unit = reduction_unit(in_features, dim)
    nn.init.kaiming_normal_(unit[0].weight, mode="fan_in")  # type: ignore[arg-type]
    nn.init.normal_(unit[1].weight, mean=1.0, std=0.02)  # type: ignore[arg-type]
    return unit


@dataclass(frozen=True)
class MGNModel:
    """The choices of :class:`MGN`. The last stride is 2 in the first branch and 1 in the others."""

    system: Literal["mgn"] = "mgn"
    backbone: str = "resnet50"
    pretrained: str | None = None
    scales: tuple[int, ...] = (1, 2, 3)
    dim: int = 256
    global_classifiers: GlobalClassifiers = "pooled"
    classifier_bias: bool = False

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) images of a size that the stripes do not divide, or an unknown backbone."""
        check_backbone(self.backbone, last_stride=2, parted=True)
        check_stripes(height, width, 2, 1, "model.scales")
        for num_parts in self.scales:
            check_stripes(height, width, num_parts, 1, "model.scales")

    def build(self, num_ids: int, *, pretrained: bool = True) -> MGN:
        backbone = build_backbone(self.backbone, 2, self.pretrained if pretrained else None)
        return MGN(
            backbone,
            num_ids,
            scales=self.scales,
            dim=self.dim,
            global_classifiers=self.global_classifiers,
            classifier_bias=self.classifier_bias,
        )
