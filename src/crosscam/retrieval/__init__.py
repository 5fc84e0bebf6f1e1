"""Distances between descriptors, their parts, and re-ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.retrieval.contributions import PARTS, block_weights, body_profile, parse_weights, part_contributions
    from crosscam.retrieval.distances import pairwise_distances
    from crosscam.retrieval.reranking import rerank

__getattr__, __dir__ = lazily(
    __name__,
    {
        "PARTS": "retrieval.contributions",
        "block_weights": "retrieval.contributions",
        "body_profile": "retrieval.contributions",
        "pairwise_distances": "retrieval.distances",
        "parse_weights": "retrieval.contributions",
        "part_contributions": "retrieval.contributions",
        "rerank": "retrieval.reranking",
    },
)
__all__ = [
    "PARTS",
    "block_weights",
    "body_profile",
    "pairwise_distances",
    "parse_weights",
    "part_contributions",
    "rerank",
]
