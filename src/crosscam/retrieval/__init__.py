"""Distances between descriptors, their parts, and re-ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.retrieval.contributions import PARTS, block_weights, body_profile, parse_weights, part_contributions
    from crosscam.retrieval.cross_neighborhoods import rerank_ecn
    from crosscam.retrieval.distances import pairwise_distances
    from crosscam.retrieval.expansion import expand_queries
    from crosscam.retrieval.frame_sets import set_distances
    from crosscam.retrieval.reranking import rerank

__getattr__, __dir__ = lazily(
    __name__,
    {
        "retrieval.contributions": "PARTS block_weights body_profile parse_weights part_contributions",
        "retrieval.cross_neighborhoods": "rerank_ecn",
        "retrieval.distances": "pairwise_distances",
        "retrieval.expansion": "expand_queries",
        "retrieval.reranking": "rerank",
        "retrieval.frame_sets": "set_distances",
    },
)
__all__ = [
    "PARTS",
    "block_weights",
    "body_profile",
    "expand_queries",
    "pairwise_distances",
    "parse_weights",
    "part_contributions",
    "rerank",
    "rerank_ecn",
    "set_distances",
]
