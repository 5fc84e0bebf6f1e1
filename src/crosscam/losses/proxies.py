"""Losses against a memory of proxies, which stand for clusters or for what one camera saw of a cluster.

Sources: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022; Wang et al., "Camera-aware
Proxies for Unsupervised Person Re-Identification", AAAI 2021.

``features`` are (B, D) and ``memory`` is (M, D), all of length 1; ``targets`` are (B,), the proxy of each image;
``cameras`` and ``clusters`` are (M,), those of each proxy; ``temperature`` is tau.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def cluster_contrast(features: Tensor, memory: Tensor, targets: Tensor, temperature: float = 0.05) -> Tensor:
    """InfoNCE: each image against all proxies; Dai et al., eq. (2). Mean over the images."""
    return cross_entropy(features @ memory.T / temperature, targets)


def intra_camera(
    features: Tensor, memory: Tensor, targets: Tensor, cameras: Tensor, temperature: float = 0.05
) -> Tensor:
    """Each image against its own camera's proxies; means by camera, summed as in the code; Wang et al., eq. (4)."""
    own = cameras[targets]
    elsewhere = cameras[None] != own[:, None]
    similar = (features @ memory.T / temperature).masked_fill(elsewhere, -torch.inf)
    return _sum_of_means(cross_entropy(similar, targets, reduction="none"), own)


def inter_camera(
    features: Tensor,
    memory: Tensor,
    targets: Tensor,
    cameras: Tensor,
    clusters: Tensor,
    temperature: float = 0.05,
    hard: int = 50,
) -> Tensor:
    """Each image against the proxies of its cluster and at most ``hard`` of other clusters, the nearest; Wang, eq. (6).

    The proxies of the image's cluster share the target evenly, its own camera's among them. Summed over cameras as
    :func:`intra_camera` is.
    """
    similar = features @ memory.T / temperature
    same = clusters[None] == clusters[targets][:, None]
    others = similar.masked_fill(same, -torch.inf).topk(min(hard, len(memory)), dim=1).values
    ours = similar.masked_fill(~same, -torch.inf)
    whole = torch.logsumexp(torch.cat([ours, others], dim=1), dim=1)
    mean_of_ours = similar.masked_fill(~same, 0.0).sum(dim=1) / same.sum(dim=1)
    return _sum_of_means(whole - mean_of_ours, cameras[targets])


def _sum_of_means(values: Tensor, groups: Tensor) -> Tensor:
    """The mean of the values of each group, summed over the groups."""
    return torch.stack([values[groups == group].mean() for group in sorted(set(groups.tolist()))]).sum()


@torch.no_grad()
def update_memory(memory: Tensor, features: Tensor, targets: Tensor, momentum: float) -> None:
    """Move proxies toward the images of a batch, one image after the other, in place; Dai et al., eq. (3).

    ``proxy = momentum * proxy + (1 - momentum) * feature``, scaled to length 1.
    """
    for feature, target in zip(features, targets.tolist(), strict=True):
        memory[target] = normalize(momentum * memory[target] + (1 - momentum) * feature, dim=0)
