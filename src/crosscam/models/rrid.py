"""Relation Network for Person Re-identification: one branch per scale on one backbone.

Source: Park & Ham, AAAI 2020, Fig. 1. RRID-S has the scale of six stripes, RRID-F those of 6, 4 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones import build_backbone, check_backbone
from crosscam.models.feature_map import Backbone
from crosscam.models.grouped import can_be_grouped
from crosscam.models.output import Block, Layout, ReidOutput
from crosscam.models.parts import GammaInit, LocalPooling, PartUnits, check_stripes, pool_stripes
from crosscam.models.pooling import Contrast, GlobalContrastivePooling, GlobalPooling
from crosscam.models.projection import BlockProjection
from crosscam.models.relation import Relation, RelationModule
from crosscam.models.scale import Classifiers, ScaleBranch, together


class RRID(nn.Module):
    """The paper's network. ``model(images)`` gives a :class:`ReidOutput`.

    Args:
        backbone: from images to the feature map.
        num_ids: K, identities to classify; 0 for a network that only describes.
        scales: number of stripes of each branch, in the order of the descriptor; (6, 4, 2) for RRID-F, (6,) for RRID-S.
        dim: c, 256 in the paper.
        project: length to which each block is projected outside of training, see :class:`BlockProjection`; 0 for none.
        whiten: whether those blocks are whitened.
        Others: see :class:`ScaleBranch`.

    Attributes:
        layout: the descriptor's blocks; local features of all scales, then the global ones (``differences.md`` row 24).
        grouped: whether a training step applies the layers of all scales at once, see :mod:`crosscam.models.grouped`;
            None: on every device but the CPU.

    Raises:
        ValueError: an argument that is not one of its choices, or nothing left to describe.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_ids: int,
        *,
        scales: tuple[int, ...] = (6, 4, 2),
        dim: int = 256,
        project: int = 0,
        whiten: bool = True,
        relation: Relation | None = "one_vs_rest",
        local_pooling: LocalPooling = "max",
        global_pooling: GlobalPooling = "gcp",
        contrast: Contrast = "rest_mean",
        classifiers: Classifiers = "all",
        gamma_init: GammaInit = "ones",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("relation", relation, (*get_args(Relation), None)),
            ("local_pooling", local_pooling, get_args(LocalPooling)),
            ("global_pooling", global_pooling, get_args(GlobalPooling)),
            ("contrast", contrast, get_args(Contrast)),
            ("classifiers", classifiers, get_args(Classifiers)),
            ("gamma_init", gamma_init, get_args(GammaInit)),
        ):
            if value not in choices:
                raise ArgumentError(f"Unknown {name}={value!r}. Known: {', '.join(map(str, choices))}.")
        compares = relation in ("one_vs_rest", "rest_only") or global_pooling == "gcp"
        if not scales or len(set(scales)) < len(scales) or min(scales) < 1 + compares:
            raise ArgumentError(
                f"scales={scales}: expected different numbers of stripes, each at least {1 + compares}."
            )
        self.backbone = backbone
        self.scales = scales
        self.grouped: bool | None = None
        self.branches = nn.ModuleList(
            ScaleBranch(
                num_parts,
                backbone.out_channels,
                dim,
                num_ids,
                relation=relation,
                local_pooling=local_pooling,
                global_pooling=global_pooling,
                contrast=contrast,
                classifiers=classifiers,
                gamma_init=gamma_init,
            )
            for num_parts in scales
        )
        self.layout = rrid_layout(
            scales, project or dim, has_local=relation is not None, has_global=global_pooling != "none"
        )
        if not self.layout:
            raise ArgumentError(
                "A network without local and without global features describes nothing. Keep one of them."
            )
        self.projection = BlockProjection(len(self.layout), dim, project, whiten=whiten) if project else None

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalised images, H divisible by 16 x each scale -> embeddings and logits."""
        feature_map = self.backbone(images)
        branches = [cast(ScaleBranch, branch) for branch in self.branches]
        # The finest common stripes are pooled once; the stripes of every scale are made of them.
        kinds = sorted({kind for branch in branches for kind in branch.poolings})
        cells = {kind: pool_stripes(feature_map, math.lcm(*self.scales), kind) for kind in kinds}
        grouped = feature_map.device.type != "cpu" if self.grouped is None else self.grouped
        if grouped and self.training and self._can_be_grouped():
            found = together(branches, cells)
        else:
            found = [branch(feature_map, cells) for branch in branches]
        embeddings = tuple(f for s in found for f in s.local_features)
        embeddings += tuple(f for s in found for f in s.global_features)
        if self.projection is not None and not self.training:
            embeddings = self.projection(embeddings)
        return ReidOutput(
            embeddings=embeddings,
            logits=tuple(f for s in found for f in s.logits),
        )

    def _can_be_grouped(self) -> bool:
        standard = all(
            isinstance(b.local, RelationModule)
            and b.local.relation != "none"
            and isinstance(b.globe, GlobalContrastivePooling)
            for b in self.branches
        )
        return standard and can_be_grouped([m for m in self.branches.modules() if isinstance(m, PartUnits)])


def rrid_layout(scales: tuple[int, ...], dim: int, *, has_local: bool, has_global: bool) -> Layout:
    """The blocks of RRID's descriptor in order: every scale's stripes, then every scale's global feature."""
    names: list[tuple[str, int, Literal["local", "global"], tuple[float, float]]] = []
    if has_local:
        names += [(f"p{n}.local{i + 1}", n, "local", (i / n, (i + 1) / n)) for n in scales for i in range(n)]
    if has_global:
        names += [(f"p{n}.global", n, "global", (0.0, 1.0)) for n in scales]
    return tuple(
        Block(name, k * dim, (k + 1) * dim, num_parts, kind, rows)
        for k, (name, num_parts, kind, rows) in enumerate(names)
    )


@dataclass(frozen=True)
class RRIDModel:
    """RRID's choices as a recipe holds them; see :class:`RRID`.

    Attributes:
        backbone: its name.
        last_stride: stride of its last stage.
        pretrained: a file of ImageNet weights in torchvision's layout, ``"download"``, or None for random weights.
        project: length of each block of the finished descriptor, found at the end of the training; 0 leaves ``dim``.
        whiten: whether the shorter blocks are whitened, see :class:`BlockProjection`.
        local_features: whether the stripes enter the descriptor (Table 2).
    """

    system: Literal["rrid"] = "rrid"
    backbone: str = "resnet50"
    last_stride: int = 1
    pretrained: str | None = None
    scales: tuple[int, ...] = (6, 4, 2)
    dim: int = 256
    project: int = 0
    whiten: bool = True
    local_features: bool = True
    relation: Relation = "one_vs_rest"
    local_pooling: LocalPooling = "max"
    global_pooling: GlobalPooling = "gcp"
    contrast: Contrast = "rest_mean"
    classifiers: Classifiers = "all"
    gamma_init: GammaInit = "ones"

    def check(self, height: int, width: int) -> None:
        """Whether these settings work together and on images of this size.

        Raises:
            ValueError: they do not; the message names the setting to change.
        """
        check_backbone(self.backbone, self.last_stride)
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise ArgumentError(
                f"model.scales={self.scales}: give different scales, at least one, each of 2 stripes or more."
            )
        if self.dim < 1:
            raise ArgumentError(f"model.dim={self.dim}: expected at least 1.")
        if not 0 <= self.project <= self.dim:
            raise ArgumentError(f"model.project={self.project}: expected from 0 (none) to model.dim={self.dim}.")
        if not self.local_features and self.global_pooling == "none":
            raise ArgumentError(
                "model.local_features=false and model.global_pooling=none leave no descriptor. Keep one."
            )
        for num_parts in self.scales:
            check_stripes(height, width, num_parts, self.last_stride, "model.scales")

    def build(self, num_ids: int, *, pretrained: bool = True) -> RRID:
        """The network; without ``pretrained`` its backbone starts from random weights whatever the settings say."""
        source = self.pretrained if pretrained else None
        return RRID(
            build_backbone(self.backbone, self.last_stride, source),
            num_ids,
            scales=self.scales,
            dim=self.dim,
            project=self.project,
            whiten=self.whiten,
            relation=self.relation if self.local_features else None,
            local_pooling=self.local_pooling,
            global_pooling=self.global_pooling,
            contrast=self.contrast,
            classifiers=self.classifiers,
            gamma_init=self.gamma_init,
        )
