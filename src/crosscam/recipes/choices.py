"""Losses, optimizers and schedules as recipes hold them: each a dataclass of its own, with the settings that it uses.

A new one is a class here, and a line in the dictionary below its kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from crosscam import losses
from crosscam.losses.class_losses import Softmax
from crosscam.losses.pair_losses import Pairs
from crosscam.models.output import ReidOutput

# What a batch-hard triplet loss with a soft margin is worth where all distances are equal.
LN_2 = math.log(2)


@dataclass(frozen=True)
class RRIDLoss:
    """Equation (3); also the loss of Deep-Person.

    Attributes:
        margin: alpha of the triplet loss.
        cross_entropy_weight: lambda.
        label_smoothing: share of the target that is spread over all classes.
        triplet_on, pairs: see :func:`crosscam.losses.rrid_loss`.
    """

    name: Literal["rrid"] = "rrid"
    margin: float = 1.2
    cross_entropy_weight: float = 2.0
    label_smoothing: float = 0.0
    triplet_on: Literal["blocks", "descriptor"] = "blocks"
    pairs: Pairs = "batch-hard"

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.rrid_loss(
            output,
            pids,
            self.margin,
            self.cross_entropy_weight,
            label_smoothing=self.label_smoothing,
            triplet_on=self.triplet_on,
            pairs=self.pairs,
        )

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """The triplet loss of a network to which all images are alike; None without a triplet loss."""
        count = num_blocks if self.triplet_on == "blocks" else 1
        # The circle loss of equal descriptors depends on the batch.
        least = {"batch-hard": self.margin, "soft-margin": LN_2, "weighted": LN_2, "circle": None}[self.pairs]
        return None if least is None else least * count


@dataclass(frozen=True)
class ClassificationLoss:
    """Cross-entropy summed over the classifiers: PCB, HPM, SVDNet, HA-CNN, OSNet."""

    name: Literal["classification"] = "classification"
    label_smoothing: float = 0.0

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.classification_loss(output, pids, label_smoothing=self.label_smoothing)

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """None: it has no triplet loss."""
        del num_blocks
        return None


@dataclass(frozen=True)
class SoftMarginLoss:
    """TriNet's loss; it has no settings."""

    name: Literal["soft-margin"] = "soft-margin"

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.soft_margin_loss(output, pids)

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """ln 2: the soft margin of two equal distances."""
        del num_blocks
        return LN_2


@dataclass(frozen=True)
class MGNLoss:
    """MGN's loss.

    Attributes:
        margin: of the triplet loss of the global features.
    """

    name: Literal["mgn"] = "mgn"
    margin: float = 1.2

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.mgn_loss(output, pids, self.margin)

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """The margin: the loss is a mean over the global features."""
        del num_blocks
        return self.margin


@dataclass(frozen=True)
class BNNeckLoss:
    """The bag of tricks' loss; attributes as in :class:`RRIDLoss`.

    Attributes:
        softmax: ``"plain"``; ``"arcface"`` or ``"cosface"``, with ``model.classifier=cosine``.
        softmax_scale, softmax_margin: s and m of these two.
        center_weight: of the center loss, with ``model.centers=true``; 0 for none.
        center_rate: how fast centers move, 0 to 1.
    """

    name: Literal["bnneck"] = "bnneck"
    margin: float = 0.3
    cross_entropy_weight: float = 1.0
    label_smoothing: float = 0.1
    softmax: Softmax = "plain"
    softmax_scale: float = 30.0
    softmax_margin: float = 0.35
    center_weight: float = 0.0
    center_rate: float = 0.5

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.bnneck_loss(
            output,
            pids,
            self.margin,
            self.cross_entropy_weight,
            label_smoothing=self.label_smoothing,
            softmax=self.softmax,
            softmax_scale=self.softmax_scale,
            softmax_margin=self.softmax_margin,
            center_weight=self.center_weight,
            center_rate=self.center_rate,
        )

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """The margin."""
        del num_blocks
        return self.margin


@dataclass(frozen=True)
class AlignedReIDLoss:
    """AlignedReID++'s loss; attributes as in :class:`RRIDLoss`."""

    name: Literal["aligned-reid"] = "aligned-reid"
    margin: float = 0.3
    cross_entropy_weight: float = 1.0
    label_smoothing: float = 0.1

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.aligned_reid_loss(
            output, pids, self.margin, self.cross_entropy_weight, label_smoothing=self.label_smoothing
        )

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """Twice the margin: of the global features, and of the local ones."""
        del num_blocks
        return 2 * self.margin


@dataclass(frozen=True)
class TransReIDLoss:
    """TransReID's loss; it has no settings."""

    name: Literal["transreid"] = "transreid"

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        return losses.transreid_loss(output, pids)

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """ln 2, and once more for the mean over the groups."""
        return LN_2 * min(num_blocks, 2)


Loss = RRIDLoss | ClassificationLoss | SoftMarginLoss | MGNLoss | BNNeckLoss | AlignedReIDLoss | TransReIDLoss
LOSSES: dict[str, type[Loss]] = {
    "rrid": RRIDLoss,
    "classification": ClassificationLoss,
    "soft-margin": SoftMarginLoss,
    "mgn": MGNLoss,
    "bnneck": BNNeckLoss,
    "aligned-reid": AlignedReIDLoss,
    "transreid": TransReIDLoss,
}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent.

    Attributes:
        lr_backbone: learning rate of the backbone.
        lr_head: learning rate of everything else.
        weight_decay: on all parameters, as in the authors' code.
        clip_norm: largest norm of the gradient; None for no limit.
    """

    name: Literal["sgd"] = "sgd"
    lr_backbone: float = 1e-3
    lr_head: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    clip_norm: float | None = None


@dataclass(frozen=True)
class Adam:
    """Adam, weight decay added to the gradient; attributes as in :class:`SGD`, and Adam's own betas."""

    name: Literal["adam"] = "adam"
    lr_backbone: float = 1e-3
    lr_head: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    clip_norm: float | None = None


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay; attributes as in :class:`Adam`."""

    name: Literal["adamw"] = "adamw"
    lr_backbone: float = 1e-3
    lr_head: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    clip_norm: float | None = None


Optim = SGD | Adam | AdamW
OPTIMIZERS: dict[str, type[Optim]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


@dataclass(frozen=True)
class Steps:
    """The learning rate times ``gamma`` at the start of each milestone.

    Attributes:
        milestones: 1-based epochs.
        warmup_epochs: linear rise from ``warmup_start`` at the beginning; 0 for none.
    """

    name: Literal["steps"] = "steps"
    milestones: tuple[int, ...] = (40, 60)
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1


@dataclass(frozen=True)
class Cosine:
    """The learning rate from 1 to ``floor`` by half a cosine, after the warm-up; see :class:`Steps`."""

    name: Literal["cosine"] = "cosine"
    floor: float = 0.0
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1


@dataclass(frozen=True)
class Exponential:
    """The learning rate as it is for ``constant_epochs``, then down to ``floor`` by a constant factor; see
    :class:`Steps` for the warm-up."""

    name: Literal["exponential"] = "exponential"
    constant_epochs: int = 0
    floor: float = 1e-3
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1


Schedule = Steps | Cosine | Exponential
SCHEDULES: dict[str, type[Schedule]] = {"steps": Steps, "cosine": Cosine, "exponential": Exponential}
