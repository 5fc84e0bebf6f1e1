"""Metrics of a ranking: CMC, mAP, mINP, and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.metrics.intervals import Interval, mean_interval, paired_difference
    from crosscam.metrics.ranking import RankingResult, evaluate_descriptors, evaluate_ranking
    from crosscam.metrics.single_shot import expected_single_shot, sampled_single_shot_cmc

__getattr__, __dir__ = lazily(
    __name__,
    {
        "metrics.intervals": "Interval mean_interval paired_difference",
        "metrics.ranking": "RankingResult evaluate_descriptors evaluate_ranking",
        "metrics.single_shot": "expected_single_shot sampled_single_shot_cmc",
    },
)
__all__ = [
    "Interval",
    "RankingResult",
    "evaluate_descriptors",
    "evaluate_ranking",
    "expected_single_shot",
    "mean_interval",
    "paired_difference",
    "sampled_single_shot_cmc",
]
