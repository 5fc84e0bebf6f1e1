"""PCB, the part-based convolutional baseline, and its refined part pooling.

Source: Sun et al., "Beyond part models: person retrieval with refined part pooling (and a strong convolutional
baseline)", ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, Layout, ReidOutput
from crosscam.models.stripes import OnBackbone, part_classifiers, pool_stripes

RppStage = Literal["stripes", "assignment", "everything"]


def reduction_unit(in_features: int, dim: int) -> nn.Sequential:
    """Linear layer without bias, batch normalization, ReLU: (N, in_features) -> (N, dim).

    A 1x1 convolution on a pooled vector. The weights start normal, by the fan-out, as PCB's first author has them.
    """
    linear = nn.Linear(in_features, dim, bias=False)
    nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(linear, nn.BatchNorm1d(dim), nn.ReLU(inplace=True))


def stripe_layout(slots: Sequence[tuple[int, int | None]], dim: int) -> Layout:
    """Blocks of length ``dim``, one a slot: stripes of its scale, and which of them, None for the whole image."""
    blocks: list[Block] = []
    for k, (parts, stripe) in enumerate(slots):
        start, stop = k * dim, (k + 1) * dim
        if stripe is None:
            blocks.append(Block(f"p{parts}.global", start, stop, parts, "global", (0.0, 1.0)))
        else:
            rows = (stripe / parts, (stripe + 1) / parts)
            blocks.append(Block(f"p{parts}.local{stripe + 1}", start, stop, parts, "local", rows))
    return tuple(blocks)


def refined_pool(feature_map: Tensor, assignment: Tensor) -> Tensor:
    """Average the column vectors of a map for each part, weighted by how much each belongs to it.

    Source: Sun et al., ECCV 2018, "Refined part pooling". The paper leaves the divisor open. As in the first author's
    code it is H W / P for every part, whatever its weights sum to: where each stripe owns its rows alone, this is
    average pooling of the stripes.

    Args:
        feature_map: (B, C, H, W).
        assignment: (B, P, H, W), not negative, sum over P is one.
    Returns:
        (B, P, C).
    """
    _, num_parts, height, width = assignment.shape
    sums = assignment.flatten(2) @ feature_map.flatten(2).transpose(1, 2)
    return sums * (num_parts / (height * width))


class PartHead(nn.Module):
    """P pooled parts to the reduced features h_i, and a classifier for each; the classifiers share nothing. See PCB."""

    def __init__(
        self, num_parts: int, in_features: int, dim: int, num_ids: int, *, shared_reduction: bool, dropout: float
    ) -> None:
        super().__init__()
        if num_parts < 1:
            raise ArgumentError(f"num_parts={num_parts}: expected at least 1.")
        self.dropout = nn.Dropout(dropout)
        count = 1 if shared_reduction else num_parts
        self.reductions = nn.ModuleList(reduction_unit(in_features, dim) for _ in range(count))
        self.part_classifiers = part_classifiers(num_parts, dim, num_ids) if num_ids else None

    def forward(self, parts: Tensor) -> ReidOutput:
        """(B, P, C) pooled parts -> P embeddings (B, c) and P logits (B, K)."""
        parts = self.dropout(parts)
        if len(self.reductions) == 1:
            reduced = self.reductions[0](parts.flatten(0, 1)).unflatten(0, parts.shape[:2])
        else:
            pairs = zip(self.reductions, parts.unbind(dim=1), strict=True)
            reduced = torch.stack([reduce(part) for reduce, part in pairs], dim=1)
        logits = () if self.part_classifiers is None else self.part_classifiers(reduced).unbind(dim=1)
        return ReidOutput(reduced.unbind(dim=1), logits)


class PCB(nn.Module):
    """Six stripes, average-pooled, and a classifier for each. ``model(images)`` gives a :class:`ReidOutput`.

    Source: Sun et al., ECCV 2018, "PCB" and Fig. 2. The descriptor is the paper's H: the parts after the 1x1
    convolution, 6 x 256 numbers. The paper draws that convolution alone; batch normalization, ReLU and dropout around
    it are as in the first author's code. There, as in the paper's text, it is one layer for all stripes; other
    implementations take one for each.

    Args:
        num_parts, dim: P stripes, and c, length of each reduced part.
        shared_reduction: one 1x1 convolution for all stripes (the first author's code) or one for each.
        dropout: on the pooled stripes in training; 0.5 in the first author's code, the paper is silent.

    Attributes:
        layout: the descriptor's blocks, the stripes top to bottom.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_ids: int,
        *,
        num_parts: int = 6,
        dim: int = 256,
        shared_reduction: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_parts = num_parts
        self._begin(backbone.out_channels)
        self.head = PartHead(
            num_parts, backbone.out_channels, dim, num_ids, shared_reduction=shared_reduction, dropout=dropout
        )
        self.layout = stripe_layout([(num_parts, i) for i in range(num_parts)], dim)

    def _begin(self, in_features: int) -> None:
        """Layers that draw their first weights before the head, so that a seed gives the same weights as ever."""

    def pool(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, C) parts."""
        return pool_stripes(feature_map, self.num_parts, "avg")

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, H divisible by 16 P -> embeddings and logits."""
        output: ReidOutput = self.head(self.pool(self.backbone(images)))
        return output


class PCBRPP(PCB):
    """PCB with refined part pooling: each place of the map belongs to every part by some share.

    Source: Sun et al., ECCV 2018, "Refined part pooling" and Algorithm 1 (induced training). The part classifier, here
    ``assignment``, is a linear layer and a softmax over the parts at every place. Its weights start near zero, so that
    every place belongs to all parts alike. Weights of a :class:`PCB` load.

    Training has three stages, see :meth:`begin_stage`. Which pooling is in use is kept with the weights (``refined``),
    so a run that stopped in the first stage describes as it was trained.

    Attributes:
        stage: the current stage; ``"everything"`` for a new model.
        layout: the descriptor's blocks; their rows are those of the stripes that the parts grew from.
    """

    refined: Tensor
    stage: RppStage

    def _begin(self, in_features: int) -> None:
        self.assignment = nn.Conv2d(in_features, self.num_parts, 1)
        nn.init.normal_(self.assignment.weight, std=0.001)
        nn.init.zeros_(self.assignment.bias)  # type: ignore[arg-type]
        self.register_buffer("refined", torch.tensor(True))
        self.stage = "everything"

    def begin_stage(self, stage: RppStage) -> None:
        """Set what is pooled and what is trained, by the steps of Algorithm 1.

        The optimizer (and a wrapper for several processes) must be made after this call. The stage itself is not part
        of the weights: call it again when a training is resumed.

        Args:
            stage: ``"stripes"``: plain PCB, all but the assignment is trained; ``"assignment"``: refined pooling, the
                assignment alone is trained, and all other layers stand still, with their running statistics and
                without dropout; ``"everything"``: refined pooling, all layers are trained.
        Raises:
            ValueError: an unknown stage.
        """
        if stage not in get_args(RppStage):
            raise ArgumentError(f"Unknown stage {stage!r}. Known: {', '.join(get_args(RppStage))}.")
        self.stage = stage
        self.refined.fill_(stage != "stripes")
        self.assignment.requires_grad_(stage != "stripes")
        self.backbone.requires_grad_(stage != "assignment")
        self.head.requires_grad_(stage != "assignment")
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch; layers that the stage keeps still stay in evaluation mode."""
        super().train(mode)
        if self.stage == "assignment":
            self.backbone.eval()
            self.head.eval()
        return self

    def soft_assignment(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, H, W): the share of each place that belongs to each part; sum over P is one."""
        return torch.softmax(self.assignment(feature_map), dim=1)

    def pool(self, feature_map: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, C) parts, or stripes in the first stage."""
        stripes = super().pool(feature_map)
        parts = refined_pool(feature_map, self.soft_assignment(feature_map))
        # A choice by value, not by a branch: reading the buffer would make a GPU wait.
        return torch.where(self.refined, parts.to(stripes.dtype), stripes)


@dataclass(frozen=True)
class PCBModel(OnBackbone):
    """The choices of :class:`PCB` and, if ``refined``, :class:`PCBRPP`.

    Attributes:
        stripe_epochs, assignment_epochs: with ``refined``, epochs of the first two stages; the rest trains everything.
    """

    cut_by: ClassVar[str] = "num_parts"
    system: Literal["pcb"] = "pcb"
    num_parts: int = 6
    dim: int = 256
    shared_reduction: bool = True
    dropout: float = 0.5
    refined: bool = False
    stripe_epochs: int = 60
    assignment_epochs: int = 5

    def begin_epoch(self, model: nn.Module, epoch: int, *, resumed: bool) -> None:
        """Take up the stage of this epoch, if the pooling is refined."""
        del resumed  # A stage may be taken up again at any time.
        if isinstance(model, PCBRPP):
            refining = epoch - self.stripe_epochs
            if refining <= 0:
                model.begin_stage("stripes")
            elif refining <= self.assignment_epochs:
                model.begin_stage("assignment")
            else:
                model.begin_stage("everything")

    def build(self, num_ids: int, *, pretrained: bool = True) -> PCB | PCBRPP:
        backbone = self.own_backbone(pretrained)
        return (PCBRPP if self.refined else PCB)(
            backbone,
            num_ids,
            num_parts=self.num_parts,
            dim=self.dim,
            shared_reduction=self.shared_reduction,
            dropout=self.dropout,
        )
