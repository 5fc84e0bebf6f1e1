"""The bag of tricks: one global feature with a normalization neck (BNNeck), the strong plain baseline.

Source: Luo et al., "Bag of tricks and a strong baseline for deep person re-identification", CVPR Workshops 2019.
Beside linear classifiers it may hold directions for cosines, and centers of classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import OnBackbone, feature_classifiers


class CosineClassifier(nn.Module):
    """Cosines of a feature with one direction a class, for :func:`crosscam.losses.system_losses.margin_logits`."""

    def __init__(self, in_features: int, num_ids: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_ids, in_features))
        nn.init.xavier_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) -> (B, K) in at least single precision: margins are finer than bf16's steps near 1."""
        with torch.autocast(features.device.type, enabled=False):
            wide = features if features.dtype == torch.float64 else features.float()
            return normalize(wide, dim=1) @ normalize(self.weight, dim=1).T


class Centers(nn.Module):
    """(K, C) centers, zeros at first, which :func:`crosscam.losses.system_losses.move_centers` moves."""

    centers: Tensor

    def __init__(self, in_features: int, num_ids: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(num_ids, in_features))


Classifier = Literal["linear", "cosine"]


class BoT(nn.Module):
    """Global average pooling, then a batch normalization before the classifier.

    Source: Luo et al., CVPRW 2019, "BNNeck" and Fig. 5. The triplet loss takes the feature before the neck; the
    classifier (without bias) and the descriptor take the one after it. The neck scales, but does not shift.

    Args:
        classifier: ``"linear"``, or ``"cosine"`` for losses with margins on cosines.
        centers: whether it holds a center of each identity, before the neck, for center loss.

    Attributes:
        layout: one global block of the backbone's width (2,048 for a ResNet-50).
    """

    def __init__(
        self, backbone: Backbone, num_ids: int, classifier: Classifier = "linear", centers: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.out_channels
        self.neck = nn.BatchNorm1d(width)
        self.neck.bias.requires_grad_(False)
        if classifier == "cosine":
            self.id_classifiers = nn.ModuleList([CosineClassifier(width, num_ids)] if num_ids else [])
        else:
            self.id_classifiers = feature_classifiers(1, width, num_ids)
        # By its name it is left out, as classifiers are, where the network only describes.
        self.center_classifiers = nn.ModuleList([Centers(width, num_ids)] if num_ids and centers else [])
        self.layout = (Block("global", 0, width, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images -> one embedding, at most one classifier's logits, and the extra
        ``"before_neck"``: (B, C), the feature that the triplet loss takes.
        """
        pooled = pool_map(self.backbone(images), "gap")
        feature = self.neck(pooled)
        logits = tuple(classify(feature) for classify in self.id_classifiers)
        kept = next((c.centers for c in self.center_classifiers if isinstance(c, Centers)), None)
        return ReidOutput((feature,), logits, {"before_neck": pooled}, kept)


@dataclass(frozen=True)
class BoTModel(OnBackbone):
    """The choices of :class:`BoT`; a last stride of 1 is one of the tricks."""

    system: Literal["bot"] = "bot"
    classifier: Classifier = "linear"
    centers: bool = False

    def build(self, num_ids: int, *, pretrained: bool = True) -> BoT:
        return BoT(self.own_backbone(pretrained), num_ids, self.classifier, self.centers)
