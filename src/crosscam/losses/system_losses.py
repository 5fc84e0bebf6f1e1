"""The loss of each system: plain functions of a model's output and identities, equations (3) to (6).

``output`` is what the model gave for B images; ``pids`` are (B,) class numbers, 0 to K-1. Below them losses of classes:
ArcFace's and CosFace's margins on cosines, and center loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crosscam.errors import ArgumentError
from crosscam.losses.pair_losses import PAIR_LOSSES, Pairs, batch_hard_soft_margin, batch_hard_triplet, hard_pairs
from crosscam.models.baselines.aligned_reid import part_costs, shortest_path
from crosscam.models.output import ReidOutput


@dataclass(frozen=True)
class Loss:
    """A loss, its ``total`` to be minimized, and its terms before weighting; scalars."""

    total: Tensor
    triplet: Tensor
    cross_entropy: Tensor


def cross_entropy_sum(logits: tuple[Tensor, ...], pids: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of (B, K) logits, mean over images, summed over classifiers (eq. 4; ``differences.md`` row 8)."""
    if not logits:
        return torch.zeros((), device=pids.device)
    stacked = torch.stack(logits).float() if logits[0].dtype != torch.float64 else torch.stack(logits)
    heads = len(logits)
    mean = cross_entropy(stacked.flatten(0, 1), pids.repeat(heads), label_smoothing=label_smoothing)
    return mean * heads


def rrid_loss(
    output: ReidOutput,
    pids: Tensor,
    margin: float = 1.2,
    cross_entropy_weight: float = 2.0,
    *,
    label_smoothing: float = 0.0,
    triplet_on: str = "blocks",
    pairs: Pairs = "batch-hard",
) -> Loss:
    """L = L_triplet + lambda L_ce, equation (3).

    Args:
        margin: alpha; 1.2 in the authors' code.
        cross_entropy_weight: lambda; 2 in the paper.
        label_smoothing: see :func:`cross_entropy_sum`.
        triplet_on: ``"blocks"``: one triplet loss for each block of the descriptor, summed (the authors' code);
            ``"descriptor"``: one on the whole (eq. 6). ``differences.md`` row 9.
        pairs: what stands in the triplet loss's place, see :mod:`crosscam.losses.pair_losses`; ``"soft-margin"`` and
            ``"weighted"`` have no margin.
    Raises:
        ValueError: unknown ``triplet_on`` or ``pairs``.
    """
    if pairs not in PAIR_LOSSES:
        raise ArgumentError(f"pairs is one of {', '.join(PAIR_LOSSES)}, not {pairs!r}.")
    if triplet_on == "blocks" and pairs == "batch-hard":
        triplet = _triplet_sum(output.embeddings, pids, margin)
    elif triplet_on == "blocks":
        triplet = torch.stack([PAIR_LOSSES[pairs](e, pids, margin) for e in output.embeddings]).sum()
    elif triplet_on == "descriptor":
        triplet = PAIR_LOSSES[pairs](output.descriptor, pids, margin)
    else:
        raise ArgumentError(f"triplet_on is 'blocks' or 'descriptor', not {triplet_on!r}.")
    ce = cross_entropy_sum(output.logits, pids, label_smoothing)
    return Loss(triplet + cross_entropy_weight * ce, triplet, ce)


def _triplet_sum(embeddings: tuple[Tensor, ...], pids: Tensor, margin: float) -> Tensor:
    if len({e.shape for e in embeddings}) == 1:
        return batch_hard_triplet(torch.stack(embeddings), pids, margin).sum()
    return torch.stack([batch_hard_triplet(e, pids, margin) for e in embeddings]).sum()


def soft_margin_loss(output: ReidOutput, pids: Tensor) -> Loss:
    """TriNet's loss: :func:`batch_hard_soft_margin` of the descriptor, and nothing else."""
    triplet = batch_hard_soft_margin(output.descriptor, pids)
    return Loss(triplet, triplet, torch.zeros((), device=triplet.device))


def classification_loss(output: ReidOutput, pids: Tensor, *, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy summed over the classifiers, and nothing else: the loss of PCB and HPM."""
    ce = cross_entropy_sum(output.logits, pids, label_smoothing)
    return Loss(ce, torch.zeros((), device=ce.device), ce)


def mgn_loss(output: ReidOutput, pids: Tensor, margin: float = 1.2, *, num_globals: int = 3) -> Loss:
    """MGN's loss: mean triplet loss of the global features plus mean cross-entropy of all classifiers.

    Source: Wang et al., ACM Multimedia 2018, "Loss functions"; the margin is 1.2 there. The paper is silent about how
    the terms are weighed; means of each kind, added, as in the public code. The first ``num_globals`` embeddings are
    the global features.
    """
    embeddings = output.embeddings[:num_globals]
    triplet = _triplet_sum(embeddings, pids, margin) / len(embeddings)
    ce = cross_entropy_sum(output.logits[:num_globals], pids) + cross_entropy_sum(output.logits[num_globals:], pids)
    ce = ce / max(len(output.logits), 1)
    return Loss(triplet + ce, triplet, ce)


def bnneck_loss(
    output: ReidOutput,
    pids: Tensor,
    margin: float = 0.3,
    cross_entropy_weight: float = 1.0,
    *,
    label_smoothing: float = 0.1,
    softmax: Softmax = "plain",
    softmax_scale: float = 30.0,
    softmax_margin: float = 0.35,
    center_weight: float = 0.0,
    center_rate: float = 0.5,
) -> Loss:
    """The bag of tricks' loss: triplet loss before the neck, smoothed cross-entropy after it.

    Source: Luo et al., CVPR Workshops 2019, "BNNeck", "Label smoothing" and "Center loss", with margin 0.3, weight 1
    and smoothing 0.1. The output has the extra ``"before_neck"``, (B, C).

    Args:
        softmax: with ``softmax_scale`` and ``softmax_margin`` as of :func:`margin_logits`.
        center_weight: of the center loss before the neck, 0.0005 in the paper; 0 for none.
        center_rate: see :func:`move_centers`.
    Raises:
        ValueError: an output without that extra, or without centers.
    """
    if "before_neck" not in output.extras:
        raise ArgumentError(
            "The output has no extra 'before_neck'. This loss is for a model with a normalization neck."
        )
    before = output.extras["before_neck"]
    triplet = batch_hard_triplet(before, pids, margin)
    logits = tuple(margin_logits(x, pids, softmax, softmax_scale, softmax_margin) for x in output.logits)
    ce = cross_entropy_sum(logits, pids, label_smoothing)
    total = triplet + cross_entropy_weight * ce
    if center_weight:
        if output.centers is None:
            raise ArgumentError("The output has no centers. Center loss is for a model that holds them.")
        total = total + center_weight * center_loss(before, output.centers, pids)
        move_centers(output.centers, before, pids, center_rate)
    return Loss(total, triplet, ce)


def transreid_loss(output: ReidOutput, pids: Tensor) -> Loss:
    """TransReID's loss: soft-margin triplets before the necks, cross-entropy after them.

    Source: He et al., ICCV 2021, equation (5): the loss of the global feature plus the mean of those of the groups. An
    output without the extra ``"before_necks"`` is a ValueError.
    """
    if "before_necks" not in output.extras:
        raise ArgumentError("The output has no extra 'before_necks'. Expected the output of TransReID.")
    features = output.extras["before_necks"].unbind(dim=1)
    groups = max(len(features) - 1, 1)
    triplets = [batch_hard_soft_margin(f, pids) for f in features]
    triplet = triplets[0] + sum(triplets[1:], torch.zeros_like(triplets[0])) / groups
    ce = cross_entropy_sum(output.logits[:1], pids) + cross_entropy_sum(output.logits[1:], pids) / groups
    return Loss(triplet + ce, triplet, ce)


def aligned_reid_loss(
    output: ReidOutput,
    pids: Tensor,
    margin: float = 0.3,
    cross_entropy_weight: float = 1.0,
    *,
    label_smoothing: float = 0.1,
) -> Loss:
    """L = L_id + L_triplet of the global features + L_triplet of the local ones, for the same hard pairs.

    Source: Luo et al. 2019; the pairs are mined by the global distance. An anchor without negatives adds nothing. An
    output without local features is a ValueError.
    """
    if "local" not in output.extras:
        raise ArgumentError("The output has no extras['local']. Expected the output of AlignedReID.")
    whole, local = output.embeddings[0], output.extras["local"]
    global_triplet = batch_hard_triplet(whole, pids, margin)
    positive, negative, has_negative = hard_pairs(whole, pids)
    to_positive = shortest_path(part_costs(local, local[positive]))
    to_negative = shortest_path(part_costs(local, local[negative]))
    local_triplet = (torch.relu(to_positive - to_negative + margin) * has_negative).mean()
    triplet = global_triplet + local_triplet
    ce = cross_entropy_sum(output.logits, pids, label_smoothing)
    return Loss(triplet + cross_entropy_weight * ce, triplet, ce)


Softmax = Literal["plain", "arcface", "cosface"]


def margin_logits(cosines: Tensor, pids: Tensor, kind: Softmax, scale: float = 30.0, margin: float = 0.35) -> Tensor:
    """Cosines with each image's own class made harder by a margin m, times a scale s: what cross-entropy then takes.

    Sources: Deng et al., "ArcFace", CVPR 2019, equation (3): the cosine of the angle plus the margin (0.5 radians
    there), and where that would pass a half-turn, the cosine less ``margin * sin(margin)``, as in the authors' code;
    Wang et al., "CosFace", CVPR 2018, equation (4): the cosine less the margin (0.35 there).

    Args:
        cosines: (B, K) of each image with each class; the logits themselves for ``"plain"``, which changes nothing.
    Returns:
        (B, K).
    Raises:
        ValueError: an unknown kind.
    """
    if kind == "plain":
        return cosines
    target = cosines.gather(1, pids[:, None])
    if kind == "cosface":
        harder = target - margin
    elif kind == "arcface":
        sine = (1 - target.square()).clamp(min=1e-7).sqrt()
        turned = target * math.cos(margin) - sine * math.sin(margin)
        harder = torch.where(target > -math.cos(margin), turned, target - margin * math.sin(margin))
    else:
        raise ArgumentError(f"softmax is plain, arcface or cosface, not {kind!r}.")
    return scale * cosines.scatter(1, pids[:, None], harder)


def center_loss(features: Tensor, centers: Tensor, pids: Tensor) -> Tensor:
    """Half the squared distance of each feature (B, C) from the center of its class (K, C); the mean over the images.

    Source: Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016, equation (2).
    No gradient reaches the centers, :func:`move_centers` does.
    """
    return (features.float() - centers[pids].float()).square().sum(dim=1).mean() / 2


@torch.no_grad()
def move_centers(centers: Tensor, features: Tensor, pids: Tensor, rate: float = 0.5) -> None:
    """Move the (K, C) centers of the batch's classes toward its (B, C) features, in place; eq. (4) of the same paper.

    ``center -= rate * sum(center - feature) / (1 + count)``, over the ``count`` images of the class in the batch.
    """
    sums = torch.zeros_like(centers).index_add_(0, pids, centers[pids] - features.to(centers.dtype))
    counts = torch.bincount(pids, minlength=len(centers))
    centers -= rate * sums / (1 + counts)[:, None]
