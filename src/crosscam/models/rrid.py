"""Relation Network for Person Re-identification: one branch per scale on one backbone.

Source: Park & Ham, AAAI 2020, Fig. 1. RRID-S has the scale of six stripes, RRID-F those of 6, 4 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from crosscam.models.backbones import ResNet, build_backbone, check_backbone
from crosscam.models.output import Block, Layout, ReidOutput
from crosscam.models.parts import GammaInit, LocalPooling, check_stripes, part_classifiers, pool_stripes
from crosscam.models.pooling import Contrast, GlobalContrastivePooling, GlobalPooling, PooledFeature
from crosscam.models.relation import Relation, RelationModule

Classifiers = Literal["all", "descriptor"]


@dataclass(frozen=True)
class ScaleOutput:
    """What one scale gives: local features (B, c) top to bottom, global features (none or one), logits (B, K)."""

    local_features: tuple[Tensor, ...]
    global_features: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


class ScaleBranch(nn.Module):
    """Stripes of one scale: local relational features, a global feature, and their classifiers.

    Args:
        num_parts: P, number of stripes.
        in_features: C of the feature map.
        dim: c, length of each feature.
        num_ids: K; 0 for no classifiers.
        relation, local_pooling, global_pooling, contrast, gamma_init: see the modules of those names;
            ``relation=None`` leaves the local features out (Table 2, first row).
        classifiers: ``"all"``: one for each projected feature, as in the authors' code (3P + 3 with relation and
            GCP); ``"descriptor"``: one for each feature of the descriptor, as in eq. (5).
    """

    def __init__(
        self,
        num_parts: int,
        in_features: int,
        dim: int,
        num_ids: int,
        *,
        relation: Relation | None = "one_vs_rest",
        local_pooling: LocalPooling = "max",
        global_pooling: GlobalPooling = "gcp",
        contrast: Contrast = "rest_mean",
        classifiers: Classifiers = "all",
        gamma_init: GammaInit = "ones",
    ) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.local_pooling = local_pooling
        self.local = None
        if relation is not None:
            self.local = RelationModule(num_parts, in_features, dim, relation, gamma_init)
        self.globe: GlobalContrastivePooling | PooledFeature | None = None
        if global_pooling == "gcp":
            self.globe = GlobalContrastivePooling(num_parts, in_features, dim, contrast, gamma_init)
        elif global_pooling != "none":
            self.globe = PooledFeature(in_features, dim, global_pooling, gamma_init)
        everything = classifiers == "all"
        local_groups = 0 if relation is None else 3 if everything and relation != "none" else 1
        global_groups = 0 if global_pooling == "none" else 3 if everything and global_pooling == "gcp" else 1
        self.local_classifiers = nn.ModuleList(
            part_classifiers(num_parts, dim, num_ids) for _ in range(local_groups if num_ids else 0)
        )
        self.global_classifiers = nn.ModuleList(
            part_classifiers(1, dim, num_ids) for _ in range(global_groups if num_ids else 0)
        )

    def forward(self, feature_map: Tensor) -> ScaleOutput:
        """(B, C, H, W) feature map -> features and logits of this scale."""
        locals_: tuple[Tensor, ...] = ()
        globals_: tuple[Tensor, ...] = ()
        logits: list[Tensor] = []
        if self.local is not None:
            found = self.local(pool_stripes(feature_map, self.num_parts, self.local_pooling))
            locals_ = found.q.unbind(dim=1)
            for classify, features in zip(self.local_classifiers, (found.q, found.p, found.r), strict=False):
                logits.extend(classify(features).unbind(dim=1))
        if self.globe is not None:
            whole = self.globe(feature_map)
            globals_ = (whole.q0,)
            for classify, features in zip(self.global_classifiers, (whole.q0, whole.p_max, whole.p_cont), strict=False):
                logits.append(classify(features.unsqueeze(1)).squeeze(1))
        return ScaleOutput(locals_, globals_, tuple(logits))


class RRID(nn.Module):
    """The paper's network. ``model(images)`` gives a :class:`ReidOutput`.

    Args:
        backbone: from images to the feature map.
        num_ids: K, identities to classify; 0 for a network that only describes.
        scales: number of stripes of each branch, in the order of the descriptor; (6, 4, 2) for RRID-F, (6,) for RRID-S.
        dim: c, 256 in the paper.
        Others: see :class:`ScaleBranch`.

    Attributes:
        layout: the descriptor's blocks; local features of all scales, then the global ones (``differences.md`` row 24).

    Raises:
        ValueError: an argument that is not one of its choices, or nothing left to describe.
    """

    def __init__(
        self,
        backbone: ResNet,
        num_ids: int,
        *,
        scales: tuple[int, ...] = (6, 4, 2),
        dim: int = 256,
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
                raise ValueError(f"Unknown {name}={value!r}. Known: {', '.join(map(str, choices))}.")
        compares = relation in ("one_vs_rest", "rest_only") or global_pooling == "gcp"
        if not scales or len(set(scales)) < len(scales) or min(scales) < 1 + compares:
            raise ValueError(f"scales={scales}: expected different numbers of stripes, each at least {1 + compares}.")
        self.backbone = backbone
        self.scales = scales
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
        self.layout = rrid_layout(scales, dim, has_local=relation is not None, has_global=global_pooling != "none")
        if not self.layout:
            raise ValueError("A network without local and without global features describes nothing. Keep one of them.")

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalised images, H divisible by 16 x each scale -> embeddings and logits."""
        feature_map = self.backbone(images)
        found = [branch(feature_map) for branch in self.branches]
        return ReidOutput(
            embeddings=tuple(f for s in found for f in s.local_features)
            + tuple(f for s in found for f in s.global_features),
            logits=tuple(f for s in found for f in s.logits),
        )


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
        local_features: whether the stripes enter the descriptor (Table 2).
    """

    system: Literal["rrid"] = "rrid"
    backbone: str = "resnet50"
    last_stride: int = 1
    pretrained: str | None = None
    scales: tuple[int, ...] = (6, 4, 2)
    dim: int = 256
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
            raise ValueError(
                f"model.scales={self.scales}: give different scales, at least one, each of 2 stripes or more."
            )
        if self.dim < 1:
            raise ValueError(f"model.dim={self.dim}: expected at least 1.")
        if not self.local_features and self.global_pooling == "none":
            raise ValueError("model.local_features=false and model.global_pooling=none leave no descriptor. Keep one.")
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
            relation=self.relation if self.local_features else None,
            local_pooling=self.local_pooling,
            global_pooling=self.global_pooling,
            contrast=self.contrast,
            classifiers=self.classifiers,
            gamma_init=self.gamma_init,
        )
