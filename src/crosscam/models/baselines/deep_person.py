"""Deep-Person: the body read as a sequence of parts, from head to foot and back, beside two global branches.

Source: Bai et al., "Deep-Person: Learning discriminative deep features for person re-identification", Pattern
Recognition 2020. Where the paper is silent the authors' public code decides: stride 2 in the last stage, so that
256 x 128 pixels give 8 rows, one for each part; 256 hidden numbers; and the descriptor is the ranking branch alone.
Its loss is :func:`crosscam.losses.rrid_loss` with ``triplet_on="descriptor"``, margin 0.5 and cross-entropy weight 1;
the authors' code leaves the cross-entropy out (weight 0) for the first 30 of 150 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import OnBackbone, PartUnits, part_classifiers, pool_stripes


class DeepPerson(nn.Module):
    """Three branches on one map. ``model(images)`` gives a :class:`ReidOutput` with the one block ``"global"``.

    The ranking branch is the pooled map itself: the descriptor (C numbers), and what the triplet loss sees. The global
    and the part branch only serve identification; their logits come in this order.

    Args:
        num_parts: P, steps of the sequence.
        hidden: numbers that each direction of each layer of the LSTM gives.
        dim: length of the features that are classified.
    """

    def __init__(
        self, backbone: Backbone, num_ids: int, *, num_parts: int = 8, hidden: int = 256, dim: int = 2048
    ) -> None:
        super().__init__()
        channels = backbone.out_channels
        self.backbone = backbone
        # From the map to logits, so whole branches count as classifiers: a network that describes goes without them.
        self.branch_classifiers = nn.ModuleList()
        if num_ids:
            self.branch_classifiers.append(GlobalBranch(channels, dim, num_ids))
            self.branch_classifiers.append(PartBranch(num_parts, channels, hidden, dim, num_ids))
        self.layout = (Block("global", 0, channels, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, the map's height divisible by P -> embedding and logits."""
        feature_map = self.backbone(images)
        whole = pool_map(feature_map, "gap")
        return ReidOutput((whole,), tuple(classify(feature_map) for classify in self.branch_classifiers))


class GlobalBranch(nn.Module):
    """Global average, a unit of linear layer, batch normalization and ReLU, and a classifier."""

    def __init__(self, in_features: int, dim: int, num_ids: int) -> None:
        super().__init__()
        self.unit = PartUnits(1, in_features, dim)
        self.classify = part_classifiers(1, dim, num_ids)

    def forward(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K) logits."""
        logits: Tensor = self.classify(self.unit(pool_map(feature_map, "gap").unsqueeze(1)))
        return logits.squeeze(1)


class PartBranch(nn.Module):
    """The parts in their context, side by side, then as in :class:`GlobalBranch`."""

    def __init__(self, num_parts: int, in_features: int, hidden: int, dim: int, num_ids: int) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.body = nn.Sequential(BodyLSTM(in_features, hidden), BodyLSTM(hidden, hidden))
        self.unit = PartUnits(1, num_parts * hidden, dim)
        self.classify = part_classifiers(1, dim, num_ids)

    def forward(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W), H divisible by P -> (B, K) logits."""
        parts = self.body(pool_stripes(feature_map, self.num_parts, "avg"))
        logits: Tensor = self.classify(self.unit(parts.flatten(1).unsqueeze(1)))
        return logits.squeeze(1)


class BodyLSTM(nn.Module):
    """Each part with what stands above and below it: one bidirectional LSTM layer, its directions joined linearly."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(in_features, hidden, batch_first=True, bidirectional=True)
        # One layer over both directions is the authors' sum of two, one for each.
        self.join = nn.Linear(2 * hidden, hidden)

    def forward(self, parts: Tensor) -> Tensor:
        """(B, P, in_features), top to bottom -> (B, P, hidden)."""
        joined: Tensor = self.join(self.lstm(parts)[0])
        return joined


@dataclass(frozen=True)
class DeepPersonModel(OnBackbone):
    """What builds :class:`DeepPerson`; see there. The defaults are the authors'."""

    cut_by: ClassVar[str] = "num_parts"
    system: Literal["deep-person"] = "deep-person"
    last_stride: int = 2
    num_parts: int = 8
    hidden: int = 256
    dim: int = 2048

    def build(self, num_ids: int, *, pretrained: bool = True) -> DeepPerson:
        backbone = self.own_backbone(pretrained)
        return DeepPerson(backbone, num_ids, num_parts=self.num_parts, hidden=self.hidden, dim=self.dim)
