"""SVDNet: a linear layer whose weight vectors are made orthogonal, again and again, while the network is trained.

Source: Sun et al., "SVDNet for Pedestrian Retrieval", ICCV 2017, section 3. Where the paper is silent the authors'
public code decides: half of the Eigenlayer's numbers are dropped out before the classifier; the last stage keeps
stride 2; after the decomposition every column takes the place and the sign of the old weight vector nearest to it, so
that the classifier still fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import OnBackbone, PartLinear

Phase = Literal["base", "restraint", "relaxation"]


class SVDNet(nn.Module):
    """Global average, Eigenlayer, classifier. ``model(images)`` gives a :class:`ReidOutput`.

    The Eigenlayer's output is the descriptor, one block ``"global"``. The authors' ResNet-50 gives 1,024 numbers; Table
    1 of Park & Ham, AAAI 2020, lists 2,048, which is the default.

    Args:
        dim: outputs of the Eigenlayer, at most the map's channels: more vectors than dimensions cannot be orthogonal.
        dropout: share of the Eigenlayer's outputs that the classifier does not see in training.

    Raises:
        ValueError: ``dim`` above the map's channels.
    """

    def __init__(self, backbone: Backbone, num_ids: int, *, dim: int = 2048, dropout: float = 0.5) -> None:
        super().__init__()
        channels = backbone.out_channels
        if not 1 <= dim <= channels:
            raise ArgumentError(
                f"dim={dim} weight vectors of {channels} numbers cannot be orthogonal. "
                f"Take dim from 1 to {channels}, or a wider backbone."
            )
        self.backbone = backbone
        self.eigenlayer = nn.Linear(channels, dim, bias=False)
        nn.init.normal_(self.eigenlayer.weight, std=0.01)
        self.dropout = nn.Dropout(dropout)
        self.global_classifiers = nn.ModuleList(
            PartLinear(1, dim, num_ids, std=0.01) for _ in range(1 if num_ids else 0)
        )
        self.layout = (Block("global", 0, dim, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images -> embedding and logits."""
        feature = self.eigenlayer(pool_map(self.backbone(images), "gap"))
        seen = self.dropout(feature).unsqueeze(1)
        return ReidOutput((feature,), tuple(classify(seen).squeeze(1) for classify in self.global_classifiers))

    @torch.no_grad()
    def decorrelate(self) -> None:
        """Make the Eigenlayer's weight vectors orthogonal, in place: W <- U S. Descriptors keep their distances."""
        # A linear layer holds the weight vectors as rows; the paper writes them as columns.
        self.eigenlayer.weight.copy_(decorrelated(self.eigenlayer.weight.T).T)

    def freeze_eigenlayer(self, frozen: bool) -> None:
        """Restraint (True) or relaxation (False): whether training may change the Eigenlayer.

        A frozen weight gets no gradient, and optimizers leave it alone, weight decay included, if gradients are set to
        None between steps.
        """
        self.eigenlayer.weight.requires_grad_(not frozen)


def decorrelated(weights: Tensor) -> Tensor:
    """U S of the decomposition W = U S V^T, with columns placed and signed as in W.

    (C, D) weight vectors as columns, D <= C -> the same shape and type, columns orthogonal; computed in float64.
    Source: Sun et al. 2017, section 3: x^T U S has the same distances as x^T W. The columns' order and signs are free;
    as in the authors' code each column of W, in turn, is replaced by the one left that is nearest in direction.
    """
    w = weights.double()
    u, s, _ = torch.linalg.svd(w, full_matrices=False)
    columns = u * s
    cosines = normalize(w, dim=0).T @ normalize(columns, dim=0)
    places: list[int] = []
    free = torch.ones(w.shape[1], dtype=torch.bool, device=w.device)
    for row in cosines.abs():
        place = int(row.masked_fill(~free, -1.0).argmax())
        free[place] = False
        places.append(place)
    signs = torch.where(cosines[range(len(places)), places] < 0, -1.0, 1.0)
    ordered: Tensor = columns[:, places] * signs
    return ordered.to(weights.dtype)


@dataclass(frozen=True)
class RestraintRelaxation:
    """Restraint and relaxation iteration, in epochs.

    ``base`` epochs train all. Then, again and again: decorrelate, ``restraint`` epochs with a fixed Eigenlayer,
    ``relaxation`` epochs of all. The authors' code for ResNet-50: 25,000 steps, then 7 times 8,000 and 8,000; in
    batches of 32 from Market-1501 about 60, 20 and 20 epochs.
    """

    base: int = 60
    restraint: int = 20
    relaxation: int = 20
    iterations: int = 7

    @property
    def epochs(self) -> int:
        """Length of the whole."""
        return self.base + self.iterations * (self.restraint + self.relaxation)

    def phase(self, epoch: int) -> Phase:
        """What an epoch, counted from 1, belongs to; epochs after the last iteration are relaxation."""
        place = self._place(epoch)
        if place is None:
            return "base"
        return "restraint" if place < self.restraint else "relaxation"

    def decorrelates(self, epoch: int) -> bool:
        """Whether the Eigenlayer is decorrelated right before an epoch, counted from 1."""
        return self._place(epoch) == 0

    def _place(self, epoch: int) -> int | None:
        """Epochs since the iteration's decomposition."""
        since = epoch - 1 - self.base
        if since < 0 or not self.iterations:
            return None
        length = self.restraint + self.relaxation
        return since - min(since // length, self.iterations - 1) * length


def begin_epoch(model: SVDNet, plan: RestraintRelaxation, epoch: int, *, resumed: bool = False) -> Phase:
    """Bring the Eigenlayer into the state that an epoch, counted from 1, asks for, and give its phase.

    Call it before each epoch, before any wrapping. ``resumed``: the epoch goes on from a checkpoint within it; the
    weights were decorrelated before.
    """
    phase = plan.phase(epoch)
    if plan.decorrelates(epoch) and not resumed:
        model.decorrelate()
    model.freeze_eigenlayer(phase == "restraint")
    return phase


@dataclass(frozen=True)
class SVDNetModel(OnBackbone):
    """What builds :class:`SVDNet`, and ``plan``, its training; the recipe's epochs should be ``plan.epochs``."""

    system: Literal["svdnet"] = "svdnet"
    last_stride: int = 2
    dim: int = 2048
    dropout: float = 0.5
    plan: RestraintRelaxation = field(default_factory=RestraintRelaxation)

    def begin_epoch(self, model: nn.Module, epoch: int, *, resumed: bool) -> None:
        """Decompose, hold or free the Eigenlayer, as the plan says for this epoch."""
        if isinstance(model, SVDNet):
            begin_epoch(model, self.plan, epoch, resumed=resumed)

    def build(self, num_ids: int, *, pretrained: bool = True) -> SVDNet:
        return SVDNet(self.own_backbone(pretrained), num_ids, dim=self.dim, dropout=self.dropout)
