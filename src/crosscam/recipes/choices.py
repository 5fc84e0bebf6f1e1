"""Losses, optimizers, schedules and adaptation as recipes hold them: each a dataclass with the settings that it uses.

A new loss, optimizer or schedule is a class here, and a name in the union below its kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

from torch import Tensor

from crosscam import losses
from crosscam.losses.pair_losses import Pairs
from crosscam.losses.system_losses import Softmax
from crosscam.models.output import ReidOutput

# What a batch-hard triplet loss with a soft margin is worth where all distances are equal.
LN_2 = math.log(2)


@dataclass(frozen=True)
class _Loss:
    """A loss; its fields, but for the name, are arguments of its function."""

    function: ClassVar[Callable[..., losses.Loss]]

    def compute(self, output: ReidOutput, pids: Tensor) -> losses.Loss:
        """The loss of one batch; pids: (B,) class numbers, 0 to K-1."""
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "name"}
        return type(self).function(output, pids, **settings)

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """The triplet loss of a network to which all images are alike, here the margin; None without a triplet loss."""
        del num_blocks
        margin: float | None = getattr(self, "margin", None)
        return margin


@dataclass(frozen=True)
class RRIDLoss(_Loss):
    """Equation (3), see :func:`crosscam.losses.rrid_loss`; also the loss of Deep-Person."""

    function = staticmethod(losses.rrid_loss)
    name: Literal["rrid"] = "rrid"
    margin: float = 1.2
    cross_entropy_weight: float = 2.0
    label_smoothing: float = 0.0
    triplet_on: Literal["blocks", "descriptor"] = "blocks"
    pairs: Pairs = "batch-hard"

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """As many as there are triplet losses; the circle loss of equal descriptors depends on the batch."""
        count = num_blocks if self.triplet_on == "blocks" else 1
        least = {"batch-hard": self.margin, "soft-margin": LN_2, "weighted": LN_2, "circle": None}[self.pairs]
        return None if least is None else least * count


@dataclass(frozen=True)
class ClassificationLoss(_Loss):
    """Cross-entropy summed over the classifiers: PCB, HPM, SVDNet, HA-CNN, OSNet."""

    function = staticmethod(losses.classification_loss)
    name: Literal["classification"] = "classification"
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class SoftMarginLoss(_Loss):
    """TriNet's loss; it has no settings."""

    function = staticmethod(losses.soft_margin_loss)
    name: Literal["soft-margin"] = "soft-margin"

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """ln 2: the soft margin of two equal distances."""
        del num_blocks
        return LN_2


@dataclass(frozen=True)
class MGNLoss(_Loss):
    """MGN's loss; the margin is of the triplet loss, a mean over the global features."""

    function = staticmethod(losses.mgn_loss)
    name: Literal["mgn"] = "mgn"
    margin: float = 1.2


@dataclass(frozen=True)
class BNNeckLoss(_Loss):
    """The bag of tricks' loss, see :func:`crosscam.losses.bnneck_loss`.

    ``"arcface"`` and ``"cosface"`` go with ``model.classifier=cosine``, a center weight with ``model.centers=true``.
    """

    function = staticmethod(losses.bnneck_loss)
    name: Literal["bnneck"] = "bnneck"
    margin: float = 0.3
    cross_entropy_weight: float = 1.0
    label_smoothing: float = 0.1
    softmax: Softmax = "plain"
    softmax_scale: float = 30.0
    softmax_margin: float = 0.35
    center_weight: float = 0.0
    center_rate: float = 0.5


@dataclass(frozen=True)
class AlignedReIDLoss(_Loss):
    """AlignedReID++'s loss; attributes as in :class:`RRIDLoss`."""

    function = staticmethod(losses.aligned_reid_loss)
    name: Literal["aligned-reid"] = "aligned-reid"
    margin: float = 0.3
    cross_entropy_weight: float = 1.0
    label_smoothing: float = 0.1

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """Twice the margin: of the global features, and of the local ones."""
        del num_blocks
        return 2 * self.margin


@dataclass(frozen=True)
class TransReIDLoss(_Loss):
    """TransReID's loss; it has no settings."""

    function = staticmethod(losses.transreid_loss)
    name: Literal["transreid"] = "transreid"

    def collapsed_triplet(self, num_blocks: int) -> float | None:
        """ln 2, and once more for the mean over the groups."""
        return LN_2 * min(num_blocks, 2)


Loss = RRIDLoss | ClassificationLoss | SoftMarginLoss | MGNLoss | BNNeckLoss | AlignedReIDLoss | TransReIDLoss
LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in get_args(Loss)}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent.

    Attributes:
        lr_backbone, lr_head: learning rate of the backbone, and of everything else.
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
OPTIMIZERS: dict[str, type[Optim]] = {kind.name: kind for kind in get_args(Optim)}


@dataclass(frozen=True)
class Steps:
    """The learning rate times ``gamma`` from each milestone (1-based epochs), after a rise from ``warmup_start``."""

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
    """The learning rate as it is for ``constant_epochs``, then to ``floor`` by a constant factor; see Steps."""

    name: Literal["exponential"] = "exponential"
    constant_epochs: int = 0
    floor: float = 1e-3
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1


Schedule = Steps | Cosine | Exponential
SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in get_args(Schedule)}


@dataclass(frozen=True)
class Adapt:
    """Clusters in place of labels, renewed before each epoch, and the loss against their memory.

    Sources: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022; Wang et al.,
    "Camera-aware Proxies for Unsupervised Person Re-Identification", AAAI 2021.

    Attributes:
        eps: largest Jaccard distance of two images that DBSCAN calls neighbors, above 0 and below 1.
        min_images: images in a neighborhood that begin a cluster, the image itself counted; smaller clusters are
            left out.
        k1, k2: neighbors of the Jaccard distance, see :func:`crosscam.adaptation.pseudo_labels.near_pairs`.
        temperature: of the contrast.
        momentum: share of a proxy that each of its images leaves as it is.
        cameras: whether each camera's images of a cluster have a proxy of their own; without effect where the data
            tell fewer than two cameras.
        inter_camera: weight of the term that pulls the proxies of a cluster together.
        hard_proxies: proxies of other clusters in that term, the nearest.
        tracks: whether the images of a track stay in one cluster.
        apart: who is kept in different clusters: ``"auto"``: tracks of one camera that overlap in time, and images of
            one camera and time where times tell single frames; ``"all"``: the same, however coarse the times look;
            ``"none"``.
    """

    eps: float = 0.5
    min_images: int = 4
    k1: int = 20
    k2: int = 6
    temperature: float = 0.05
    momentum: float = 0.2
    cameras: bool = True
    inter_camera: float = 0.5
    hard_proxies: int = 50
    tracks: bool = True
    apart: Literal["auto", "all", "none"] = "auto"


# Least and largest value, both allowed.
ADAPT_RANGES: dict[str, tuple[float, float]] = {
    "adapt.eps": (1e-3, 0.999),
    "adapt.min_images": (2, math.inf),
    "adapt.k1": (1, 1000),
    "adapt.k2": (1, 1000),
    "adapt.temperature": (1e-3, math.inf),
    "adapt.momentum": (0, 1),
    "adapt.inter_camera": (0, math.inf),
    "adapt.hard_proxies": (1, math.inf),
}
