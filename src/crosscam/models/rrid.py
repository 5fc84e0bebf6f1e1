"""Relation Network for Person Re-identification: one branch per scale on one backbone.

Source: Park & Ham, AAAI 2020, Fig. 1. RRID-S has the scale of six stripes, RRID-F those of 6, 4 and 2.
:class:`BlockProjection` makes the descriptor shorter, block by block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.build import build_backbone, check_backbone
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, Layout, ReidOutput
from crosscam.models.pooling import Contrast, GlobalContrastivePooling, GlobalOutput, GlobalPooling, PooledFeature
from crosscam.models.relation import Relation, RelationModule, RelationOutput
from crosscam.models.stripes import (
    Activation,
    GammaInit,
    LocalPooling,
    PartLinear,
    check_stripes,
    merge_stripes,
    part_classifiers,
    pool_stripes,
)

# Directions of less than this share of a block's mean variance are not blown up further.
VARIANCE_FLOOR = 0.02


class BlockProjection(nn.Module):
    """Blocks of c numbers -> blocks of fewer, along the strongest directions over the images it was fitted to.

    The descriptor is scaled to length 1 first. Whitened blocks are uncorrelated and of equal variance; others are
    turned and cut alone: distances stay what they were, as nearly as so many numbers can keep them. No gradient reaches
    these weights: :meth:`fit` finds them, from the descriptors of training images. Until then they take the first
    numbers of each block. Source: PCA whitening of descriptors (Jégou & Chum, ECCV 2012), block by block; without
    whitening the truncated singular value decomposition (Eckart & Young 1936).

    Args:
        num_blocks, in_features, out_features: L, c, and the length of each block afterwards, at most c.
        whiten: whether :meth:`fit` takes the mean out and makes all directions equally long.
    """

    def __init__(self, num_blocks: int, in_features: int, out_features: int, *, whiten: bool = True) -> None:
        super().__init__()
        self.whiten = whiten
        self.linear = PartLinear(num_blocks, in_features, out_features)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(in_features, out_features).expand_as(self.linear.weight))
            self.linear.bias.zero_()
        self.requires_grad_(False)

    def forward(self, embeddings: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """L embeddings (B, c) -> L embeddings (B, out_features)."""
        whole = torch.cat(embeddings, dim=1)
        # A constant where gradients by places of the map are wanted: all that grows together would else cancel out.
        whole = whole / torch.linalg.vector_norm(whole, dim=1, keepdim=True).clamp(min=1e-12).detach()
        # Numbers of the weights, not of the images: an exported graph must take batches of any length.
        projected: Tensor = self.linear(whole.unflatten(1, self.linear.weight.shape[:2]))
        return projected.unbind(dim=1)

    @torch.no_grad()
    def fit(self, descriptors: Tensor) -> None:
        """Find each block's strongest directions over N >= 2 descriptors (N, L c) of length 1, not yet projected."""
        blocks = descriptors.double().view(len(descriptors), *self.linear.weight.shape[:2]).transpose(0, 1)
        mean = blocks.mean(dim=1, keepdim=True) * self.whiten
        centered = blocks - mean
        variances, directions = torch.linalg.eigh(centered.transpose(1, 2) @ centered / (len(descriptors) - 1))
        # The sign of a direction is arbitrary; its largest entry is made positive, so that all machines agree.
        directions *= directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
        if self.whiten:
            floor = VARIANCE_FLOOR * variances.mean(dim=1, keepdim=True)
            directions *= (variances.clamp(min=0) + floor).rsqrt().unsqueeze(1)
        # Strongest first; eigh sorts the other way.
        weight = directions[:, :, -self.linear.weight.shape[2] :].flip(2)
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(-(mean @ weight).squeeze(1))


Classifiers = Literal["all", "descriptor"]
# (B, P, C) stripes of one scale, by how they were pooled.
Stripes = Mapping[LocalPooling, Tensor]


@dataclass(frozen=True)
class RRIDModel:
    """RRID's choices, as a recipe holds them.

    Attributes:
        backbone: its name.
        last_stride: stride of its last stage.
        pretrained: a file of ImageNet weights in torchvision's layout, ``"download"``, or None for random weights.
        scales: number of stripes of each branch, in the order of the descriptor; (6, 4, 2) for RRID-F, (6,) for RRID-S.
        dim: c, length of each feature; 256 in the paper.
        project: length of each block of the finished descriptor, found at the end of the training; 0 leaves ``dim``.
        whiten: whether the shorter blocks are whitened, see :class:`BlockProjection`.
        local_features: whether the stripes enter the descriptor; not in the first row of Table 2.
        relation, local_pooling, global_pooling, contrast, gamma_init: see the modules of those names.
        classifiers: ``"all"``: one for each projected feature, as in the authors' code (3P + 3 with relation and
            GCP); ``"descriptor"``: one for each feature of the descriptor, as in eq. (5).
        activation: ``"relu"`` after every unit (the paper), or ``"none"``.
        contrast_pooling: how the stripes that GCP contrasts are pooled; ``"max"`` in the paper.
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
    activation: Activation = "relu"
    contrast_pooling: LocalPooling = "max"

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) settings that do not work together or on images of this size, and name one to change."""
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
        return RRID(build_backbone(self.backbone, self.last_stride, source), num_ids, self)

    @property
    def poolings(self) -> tuple[LocalPooling, ...]:
        """How stripes are pooled: for the local features, and for GCP."""
        kinds: set[LocalPooling] = {self.local_pooling} if self.local_features else set()
        return tuple(sorted(kinds | ({self.contrast_pooling} if self.global_pooling == "gcp" else set())))

    @property
    def layout(self) -> Layout:
        """The blocks of the descriptor in order: every scale's stripes, then every scale's global feature."""
        names: list[tuple[str, int, Literal["local", "global"], tuple[float, float]]] = []
        if self.local_features:
            names += [(f"p{n}.local{i + 1}", n, "local", (i / n, (i + 1) / n)) for n in self.scales for i in range(n)]
        if self.global_pooling != "none":
            names += [(f"p{n}.global", n, "global", (0.0, 1.0)) for n in self.scales]
        dim = self.project or self.dim
        return tuple(
            Block(name, k * dim, (k + 1) * dim, num_parts, kind, rows)
            for k, (name, num_parts, kind, rows) in enumerate(names)
        )


@dataclass(frozen=True)
class ScaleOutput:
    """What one scale gives: local features (B, c) top to bottom, global features (none or one), logits (B, K)."""

    local_features: tuple[Tensor, ...]
    global_features: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


class ScaleBranch(nn.Module):
    """Stripes of one scale, P of them: local relational features, a global feature, and their classifiers."""

    def __init__(self, num_parts: int, in_features: int, num_ids: int, settings: RRIDModel) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.local_pooling = settings.local_pooling
        self.contrast_pooling = settings.contrast_pooling
        dim, pooling = settings.dim, settings.global_pooling
        unit = settings.gamma_init, settings.activation
        self.local = None
        if settings.local_features:
            self.local = RelationModule(num_parts, in_features, dim, settings.relation, *unit)
        self.globe: GlobalContrastivePooling | PooledFeature | None = None
        if pooling == "gcp":
            self.globe = GlobalContrastivePooling(in_features, dim, settings.contrast, *unit)
        elif pooling != "none":
            self.globe = PooledFeature(in_features, dim, pooling, *unit)
        everything = settings.classifiers == "all"
        local_groups = 0 if self.local is None else 3 if everything and settings.relation != "none" else 1
        global_groups = 0 if self.globe is None else 3 if everything and pooling == "gcp" else 1
        self.local_classifiers = nn.ModuleList(
            part_classifiers(num_parts, dim, num_ids) for _ in range(local_groups if num_ids else 0)
        )
        self.global_classifiers = nn.ModuleList(
            part_classifiers(1, dim, num_ids) for _ in range(global_groups if num_ids else 0)
        )

    def forward(self, feature_map: Tensor, stripes: Stripes) -> ScaleOutput:
        """(B, C, H, W) feature map and its (B, P, C) stripes -> features and logits of this scale."""
        local: RelationOutput | None = None
        globe: GlobalOutput | None = None
        if self.local is not None:
            local = self.local(stripes[self.local_pooling])
        if isinstance(self.globe, GlobalContrastivePooling):
            globe = self.globe(stripes[self.contrast_pooling])
        elif self.globe is not None:
            globe = self.globe(feature_map)
        of_parts = () if local is None else (local.q, local.p, local.r)
        of_image = () if globe is None else (globe.q0, globe.p_max, globe.p_cont)
        return ScaleOutput(
            () if local is None else local.q.unbind(dim=1),
            () if globe is None else (globe.q0,),
            (
                *_logits(self.local_classifiers, of_parts),
                *_logits(self.global_classifiers, [None if f is None else f.unsqueeze(1) for f in of_image]),
            ),
        )


def _logits(classifiers: nn.ModuleList, features: Sequence[Tensor | None]) -> list[Tensor]:
    """(B, K) for each part of the (B, P, c) features that have classifiers."""
    return [one for classify, f in zip(classifiers, features, strict=False) for one in classify(f).unbind(dim=1)]


class RRID(nn.Module):
    """The paper's network. ``model(images)`` gives a :class:`ReidOutput`.

    ``layout``: local features of all scales, then the global ones (``differences.md`` row 24). A setting that is not
    one of its choices, or nothing left to describe, is a ValueError.
    """

    def __init__(self, backbone: Backbone, num_ids: int, settings: RRIDModel = RRIDModel()) -> None:
        super().__init__()
        _check_choices(settings)
        self.backbone = backbone
        self.scales, self.poolings, self.layout = settings.scales, settings.poolings, settings.layout
        self.branches = nn.ModuleList(
            ScaleBranch(num_parts, backbone.out_channels, num_ids, settings) for num_parts in settings.scales
        )
        if not self.layout:
            raise ArgumentError(
                "A network without local and without global features describes nothing. Keep one of them."
            )
        self.projection: BlockProjection | None = None
        if settings.project:
            self.projection = BlockProjection(len(self.layout), settings.dim, settings.project, whiten=settings.whiten)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, H divisible by 16 x each scale -> embeddings and logits."""
        feature_map = self.backbone(images)
        # The finest common stripes are pooled once; the stripes of every scale are made of them.
        finest = {kind: pool_stripes(feature_map, math.lcm(*self.scales), kind) for kind in self.poolings}
        found: list[ScaleOutput] = []
        for num_parts, branch in zip(self.scales, self.branches, strict=True):
            stripes = {kind: merge_stripes(cells, num_parts, kind) for kind, cells in finest.items()}
            found.append(branch(feature_map, stripes))
        embeddings = tuple(f for s in found for f in s.local_features)
        embeddings += tuple(f for s in found for f in s.global_features)
        if self.projection is not None and not self.training:
            embeddings = self.projection(embeddings)
        return ReidOutput(embeddings, tuple(f for s in found for f in s.logits))


def _check_choices(settings: RRIDModel) -> None:
    for name, choices in (
        ("relation", Relation),
        ("local_pooling", LocalPooling),
        ("global_pooling", GlobalPooling),
        ("contrast", Contrast),
        ("classifiers", Classifiers),
        ("gamma_init", GammaInit),
        ("activation", Activation),
        ("contrast_pooling", LocalPooling),
    ):
        value = getattr(settings, name)
        if value not in get_args(choices):
            raise ArgumentError(f"Unknown {name}={value!r}. Known: {', '.join(get_args(choices))}.")
    scales = settings.scales
    compares = (settings.local_features and settings.relation != "none") or settings.global_pooling == "gcp"
    if not scales or len(set(scales)) < len(scales) or min(scales) < 1 + compares:
        raise ArgumentError(f"scales={scales}: expected different numbers of stripes, each at least {1 + compares}.")
