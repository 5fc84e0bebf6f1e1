"""Losses of classes: ArcFace's and CosFace's margins on cosines, and center loss. Plain functions, like all losses."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from crosscam.errors import ArgumentError

Softmax = Literal["plain", "arcface", "cosface"]


def margin_logits(cosines: Tensor, pids: Tensor, kind: Softmax, scale: float = 30.0, margin: float = 0.35) -> Tensor:
    """Cosines with each image's own class made harder by a margin, times a scale: what cross-entropy then takes.

    Sources: Deng et al., "ArcFace", CVPR 2019, equation (3): the cosine of the angle plus the margin, and where that
    would pass a half-turn, the cosine less ``margin * sin(margin)``, as in the authors' code; Wang et al., "CosFace",
    CVPR 2018, equation (4): the cosine less the margin.

    Args:
        cosines: (B, K) of each image with each class; the logits themselves for ``"plain"``, which changes nothing.
        pids: (B,) class numbers, 0 to K-1.
        kind: whose margin.
        scale: s.
        margin: m; 0.5 radians in ArcFace's paper, 0.35 in CosFace's.
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
    """Half the squared distance of each feature from the center of its class; the mean over the images.

    Source: Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016, equation (2).

    Args:
        features: (B, C).
        centers: (K, C); no gradient reaches them, :func:`move_centers` does.
        pids: (B,) class numbers, 0 to K-1.
    """
    return (features.float() - centers[pids].float()).square().sum(dim=1).mean() / 2


@torch.no_grad()
def move_centers(centers: Tensor, features: Tensor, pids: Tensor, rate: float = 0.5) -> None:
    """Move the centers of the batch's classes toward its features, in place; equation (4) of the same paper.

    ``center -= rate * sum(center - feature) / (1 + count)``, over the ``count`` images of the class in the batch.

    Args:
        centers, features, pids: see :func:`center_loss`.
        rate: alpha, 0 to 1.
    """
    sums = torch.zeros_like(centers).index_add_(0, pids, centers[pids] - features.to(centers.dtype))
    counts = torch.bincount(pids, minlength=len(centers))
    centers -= rate * sums / (1 + counts)[:, None]
