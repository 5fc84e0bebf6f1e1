"""The bag of tricks: one global feature with a normalization neck (BNNeck), the strong plain baseline.

Source: Luo et al., "Bag of tricks and a strong baseline for deep person re-identification", CVPR Workshops 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from crosscam.models.backbones.build import build_backbone, check_backbone
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.class_heads import Centers, CosineClassifier
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import check_stripes

Classifier = Literal["linear", "cosine"]


class BoT(nn.Module):
    """Global average pooling, then a batch normalization before the classifier.

    Source: Luo et al., CVPRW 2019, "BNNeck" and Fig. 5. The triplet loss takes the feature before the neck; the
    classifier (without bias) and the descriptor take the one after it. The neck scales, but does not shift.

    Args:
        backbone: from images to the feature map.
        num_ids: K, identities to classify; 0 for a network that only describes.
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
        heads = range(1 if num_ids else 0)
        self.id_classifiers = nn.ModuleList(
            CosineClassifier(width, num_ids) if classifier == "cosine" else nn.Linear(width, num_ids, bias=False)
            for _ in heads
        )
        for head in self.id_classifiers:
            if isinstance(head, nn.Linear):
                nn.init.normal_(head.weight, std=0.001)
        # By its name it is left out, as classifiers are, where the network only describes.
        self.center_classifiers = nn.ModuleList(Centers(width, num_ids) for _ in heads if centers)
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
class BoTModel:
    """The choices of :class:`BoT`.

    Attributes:
        backbone: its name.
        last_stride: stride of its last stage; 1 is one of the tricks.
        pretrained: a file of ImageNet weights, ``"download"``, or None for random weights.
        classifier, centers: see :class:`BoT`; for ``loss.softmax`` and ``loss.center_weight``.
    """

    system: Literal["bot"] = "bot"
    backbone: str = "resnet50"
    last_stride: int = 1
    pretrained: str | None = None
    classifier: Classifier = "linear"
    centers: bool = False

    def check(self, height: int, width: int) -> None:
        """Whether these settings go with images of this size.

        Raises:
            ValueError: they do not; the message names the setting to change.
        """
        check_backbone(self.backbone, self.last_stride)
        check_stripes(height, width, 1, self.last_stride, "model.last_stride")

    def build(self, num_ids: int, *, pretrained: bool = True) -> BoT:
        """The network for ``num_ids`` identities."""
        backbone = build_backbone(self.backbone, self.last_stride, self.pretrained if pretrained else None)
        return BoT(backbone, num_ids, self.classifier, self.centers)
