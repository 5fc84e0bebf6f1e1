"""Losses of pairs and triplets: plain functions of embeddings and identities; batch-hard mining is equation (6).

``embeddings`` are (B, D), as they are and not normalized; ``pids`` are (B,) identities. Each loss is a scalar, the mean
over anchors, and raises ValueError for fewer than two embeddings, or lengths that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from crosscam.errors import ArgumentError


def batch_hard_triplet(embeddings: Tensor, pids: Tensor, margin: float) -> Tensor:
    """Batch-hard triplet loss: for each anchor its farthest positive against its closest negative, and a margin alpha.

    Source: Hermans et al. 2017; Park & Ham, AAAI 2020, eq. (6); ``differences.md`` row 9. Distances are Euclidean, not
    squared, on features as they are; the anchor counts among its own positives; the mean over anchors is taken. An
    anchor without negatives contributes nothing. Embeddings (E, B, D) give E losses at once, (E,).
    """
    if embeddings.shape[-2] != len(pids) or len(pids) < 2:
        raise ArgumentError(
            f"{embeddings.shape[-2]} embeddings and {len(pids)} identities: expected equal numbers, at least 2."
        )
    hardest_positive, hardest_negative = _hardest(embeddings.reshape(-1, *embeddings.shape[-2:]), pids)
    losses = torch.relu(hardest_positive - hardest_negative + margin).mean(dim=1)
    return losses if embeddings.dim() == 3 else losses[0]


def batch_hard_soft_margin(embeddings: Tensor, pids: Tensor) -> Tensor:
    """Batch-hard triplet loss with a soft margin: ln(1 + exp(farthest positive - closest negative)).

    Source: Hermans et al., "In defense of the triplet loss for person re-identification", 2017, eq. (5) and the text on
    the soft margin. Distances and the choice of triplets are as in :func:`batch_hard_triplet`. An anchor without
    negatives contributes nothing.
    """
    _check(embeddings, pids)
    hardest_positive, hardest_negative = _hardest(embeddings.unsqueeze(0), pids)
    return softplus(hardest_positive - hardest_negative).mean()


@torch.no_grad()
def hard_pairs(embeddings: Tensor, pids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B,) indices of each anchor's farthest positive (or itself) and closest negative; (B,) if there is a negative."""
    with torch.autocast(embeddings.device.type, enabled=False):
        distances = torch.cdist(embeddings.float(), embeddings.float())
    same = pids.unsqueeze(0) == pids.unsqueeze(1)
    positive = distances.masked_fill(~same, -torch.inf).argmax(dim=1)
    negative = distances.masked_fill(same, torch.inf).argmin(dim=1)
    return positive, negative, ~same.all(dim=1)


def _hardest(x: Tensor, pids: Tensor) -> tuple[Tensor, Tensor]:
    """(E, B, D) -> distances to the farthest positive and the closest negative, (E, B) each."""
    distances = euclidean_distances(x)
    same = pids.unsqueeze(0) == pids.unsqueeze(1)
    # max and min over a dimension, not amax and amin: on ties only one entry receives the gradient.
    positive = distances.masked_fill(~same, -torch.inf).max(dim=2).values
    return positive, distances.masked_fill(same, torch.inf).min(dim=2).values


def euclidean_distances(x: Tensor) -> Tensor:
    """(E, B, D) -> (E, B, B), or (B, D) -> (B, B): distances among the vectors of a batch, for losses."""
    # Half precision would lose the differences of near vectors, and autocast would bring it back.
    with torch.autocast(x.device.type, enabled=False):
        x = _wide(x)
        return _euclidean(x) if x.dim() == 3 else _euclidean(x.unsqueeze(0))[0]


def _euclidean(x: Tensor) -> Tensor:
    """(E, B, D) -> (E, B, B); the floor keeps the square root's gradient finite where vectors coincide."""
    squares = x.square().sum(dim=2)
    squared = torch.baddbmm(squares.unsqueeze(1) + squares.unsqueeze(2), x, x.transpose(1, 2), alpha=-2)
    return squared.clamp(min=1e-12).sqrt()


Pairs = Literal["batch-hard", "soft-margin", "weighted", "circle"]


def weighted_triplet(embeddings: Tensor, pids: Tensor) -> Tensor:
    """All positives and negatives of an anchor, the harder the heavier; a soft margin.

    Source: Ye et al., "Deep learning for person re-identification: a survey and outlook", PAMI 2021, equation (7)
    (weighted regularization triplet). Positives are weighed by the softmax of their distances, negatives by that of
    their negative distances. An anchor without another image of its identity, or without negatives, adds nothing.
    """
    positive, negative = _masks(embeddings, pids)
    distances = euclidean_distances(embeddings)
    near = _weighted(distances, positive, 1.0)
    far = _weighted(distances, negative, -1.0)
    counted = positive.any(dim=1) & negative.any(dim=1)
    return (softplus(near - far) * counted).mean()


def circle_loss(embeddings: Tensor, pids: Tensor, margin: float = 0.25, scale: float = 64.0) -> Tensor:
    """Circle loss: cosine similarities of pairs, each weighed by how far it is from its optimum.

    Source: Sun et al., "Circle loss: a unified perspective of pair similarity optimization", CVPR 2020, equations (6)
    to (8) with margin m and scale gamma, for each anchor over all its pairs in the batch. An anchor without both kinds
    of pairs adds nothing.
    """
    positive, negative = _masks(embeddings, pids)
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = normalize(_wide(embeddings), dim=1)
        cosine = unit @ unit.T
    # The weights are constants: no gradient goes through them.
    weight_positive = (1 + margin - cosine.detach()).clamp(min=0)
    weight_negative = (cosine.detach() + margin).clamp(min=0)
    logit_positive = -scale * weight_positive * (cosine - (1 - margin))
    logit_negative = scale * weight_negative * (cosine - margin)
    nearness = logit_positive.masked_fill(~positive, -torch.inf).logsumexp(dim=1)
    farness = logit_negative.masked_fill(~negative, -torch.inf).logsumexp(dim=1)
    counted = positive.any(dim=1) & negative.any(dim=1)
    return softplus((nearness + farness).masked_fill(~counted, -torch.inf)).mean()


def _check(embeddings: Tensor, pids: Tensor) -> None:
    if embeddings.dim() != 2 or len(embeddings) != len(pids) or len(pids) < 2:
        raise ArgumentError(
            f"Embeddings of shape {tuple(embeddings.shape)}, {len(pids)} identities: expected (B, D) and B, at least 2."
        )


def _masks(embeddings: Tensor, pids: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B): pairs of one identity without the anchor itself, and pairs of two."""
    _check(embeddings, pids)
    same = pids.unsqueeze(0) == pids.unsqueeze(1)
    return same & ~torch.eye(len(pids), dtype=torch.bool, device=pids.device), ~same


def _weighted(distances: Tensor, mask: Tensor, sign: float) -> Tensor:
    """(B,) means of the masked distances, weighed by the softmax of ``sign`` times them; 0 where none is masked."""
    scores = (sign * distances).masked_fill(~mask, torch.finfo(distances.dtype).min)
    return (scores.softmax(dim=1) * distances * mask).sum(dim=1)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


# By the names that recipes use (``loss.pairs``): (embeddings, pids, margin of the recipe) -> scalar.
PAIR_LOSSES: Mapping[Pairs, Callable[[Tensor, Tensor, float], Tensor]] = {
    "batch-hard": batch_hard_triplet,
    "soft-margin": lambda embeddings, pids, _: batch_hard_soft_margin(embeddings, pids),
    "weighted": lambda embeddings, pids, _: weighted_triplet(embeddings, pids),
    "circle": circle_loss,
}
