"""TransReID: a vision transformer with a jigsaw branch.

Source: He et al., "TransReID: transformer-based object re-identification", ICCV 2021. Its side information embedding is
left out: it asks for the camera of every image, also of those that are searched for.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.vit import PATCH, STEM_STRIDE, VITS, VisionTransformer
from crosscam.models.output import Block, ReidOutput
from crosscam.models.stripes import feature_classifiers


class TransReID(nn.Module):
    """The class token of the whole image, and those of groups of shuffled patches.

    Source: He et al., ICCV 2021, sections 3.1 and 3.2. The patches before the last block are shifted, shuffled and
    dealt into groups; a second last block, shared by them, sees each group with the class token. Triplet losses take
    the features before the necks, classifiers those after them, and so does the public code's descriptor: features
    before the necks, those of the groups divided by their number.

    Args:
        backbone: a vision transformer of at least two blocks.
        groups: of shuffled patches; 0 for the baseline without the jigsaw branch.
        shift: by how many patches they are shifted.

    Attributes:
        layout: the global block, then one block a group; each sees the whole image.
    """

    def __init__(self, backbone: VisionTransformer, num_ids: int, *, groups: int = 4, shift: int = 5) -> None:
        super().__init__()
        self.backbone = backbone
        self.groups, self.shift = groups, shift
        width = backbone.out_channels
        self.jigsaw = nn.Sequential(deepcopy(backbone.blocks[-1]), deepcopy(backbone.norm)) if groups else nn.Identity()
        self.necks = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(1 + groups))
        self.id_classifiers = feature_classifiers(1 + groups, width, num_ids)
        for neck in self.necks:
            neck.bias.requires_grad_(False)
        names = ["global", *(f"jigsaw{i + 1}" for i in range(groups))]
        self.layout = tuple(
            Block(name, i * width, (i + 1) * width, 1, "global", (0.0, 1.0)) for i, name in enumerate(names)
        )

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images -> 1 + groups embeddings and logits, and the extra ``"before_necks"``:
        (B, 1 + groups, C), the features that the triplet loss takes.
        """
        tokens, _, _ = self.backbone.embed(images)
        for block in list(self.backbone.blocks)[:-1]:
            tokens = block(tokens)
        features = [self.backbone.norm(self.backbone.blocks[-1](tokens))[:, 0]]
        features += [self.jigsaw(group)[:, 0] for group in self._deal(tokens)]
        # Without classifiers the shorter list ends the pairs: no logits.
        necks = [neck(f) for neck, f in zip(self.necks, features, strict=True)]
        logits = [classify(f) for classify, f in zip(self.id_classifiers, necks, strict=False)]
        embeddings = (features[0], *(f / self.groups for f in features[1:]))
        return ReidOutput(embeddings, tuple(logits), {"before_necks": torch.stack(features, dim=1)})

    def _deal(self, tokens: Tensor) -> list[Tensor]:
        """(B, 1 + T, C) tokens -> for each group (B, 1 + T // groups, C), the class token first."""
        if not self.groups:
            return []
        patches = tokens[:, 1:].roll(-self.shift, dims=1)
        # Dealt like cards: one of each half in turns.
        half, size = patches.shape[1] // 2, patches.shape[1] // self.groups
        pairs = torch.stack([patches[:, :half], patches[:, half : 2 * half]], dim=2).flatten(1, 2)
        dealt = torch.cat([pairs, patches[:, 2 * half :]], dim=1)
        parts = [dealt[:, i * size : (i + 1) * size] for i in range(self.groups)]
        return [torch.cat([tokens[:, :1], part], dim=1) for part in parts]


@dataclass(frozen=True)
class TransReIDModel:
    """The choices of :class:`TransReID`; ``pretrained`` weights have timm's names.

    ``stride`` from patch to patch is 16 pixels, or 12 for patches that overlap; ``drop_path`` the most stochastic
    depth.
    """

    system: Literal["transreid"] = "transreid"
    backbone: str = "vit-base-16"
    pretrained: str | None = None
    stride: int = PATCH
    drop_path: float = 0.1
    groups: int = 4
    shift: int = 5

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) settings that do not go with images of this size; the message names one to change."""
        if self.backbone not in VITS:
            raise ArgumentError(f"model.backbone={self.backbone}: expected one of {', '.join(VITS)}.")
        if not 1 <= self.stride <= PATCH:
            raise ArgumentError(f"model.stride={self.stride}: expected from 1 to {PATCH}.")
        if VITS[self.backbone].stem and self.stride % STEM_STRIDE:
            raise ArgumentError(
                f"model.stride={self.stride}: {self.backbone} cuts its patches from a map of half the image's size. "
                "Give an even stride."
            )
        if not 0 <= self.drop_path < 1:
            raise ArgumentError(f"model.drop_path={self.drop_path}: expected from 0 to below 1.")
        if self.shift < 0:
            raise ArgumentError(f"model.shift={self.shift}: expected at least 0.")
        patches = ((height - PATCH) // self.stride + 1) * ((width - PATCH) // self.stride + 1)
        if min(height, width) < PATCH or not 0 <= self.groups <= patches:
            raise ArgumentError(
                f"model.groups={self.groups}: expected from 0 to the number of patches of an image of "
                f"{height} x {width}."
            )

    def build(self, num_ids: int, *, pretrained: bool = True) -> TransReID:
        backbone = VisionTransformer(VITS[self.backbone], self.stride, self.drop_path)
        if pretrained and self.pretrained is not None:
            load_pretrained(backbone, self.backbone, self.pretrained)
        return TransReID(backbone, num_ids, groups=self.groups, shift=self.shift)
