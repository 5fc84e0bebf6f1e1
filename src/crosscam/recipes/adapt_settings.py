"""How a network is fitted to cameras without labels: the settings of 'crosscam adapt'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Adapt:
    """Clusters in place of labels, renewed before each epoch, and the loss against their memory.

    Sources: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022; Wang et al.,
    "Camera-aware Proxies for Unsupervised Person Re-Identification", AAAI 2021.

    Attributes:
        eps: largest Jaccard distance of two pictures that DBSCAN calls neighbors, above 0 and below 1.
        min_images: pictures in a neighborhood that begin a cluster, the picture itself counted; smaller clusters are
            left out.
        k1, k2: neighbors of the Jaccard distance, see :func:`crosscam.adaptation.pseudo_labels.near_pairs`.
        temperature: of the contrast.
        momentum: share of a proxy that each of its pictures leaves as it is.
        cameras: whether each camera's pictures of a cluster have a proxy of their own; without effect where the data
            tell fewer than two cameras.
        inter_camera: weight of the term that pulls the proxies of a cluster together.
        hard_proxies: proxies of other clusters in that term, the nearest.
        tracks: whether the pictures of a track stay in one cluster.
        apart: who is kept in different clusters: ``"auto"``: tracks of one camera that overlap in time, and pictures of
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
