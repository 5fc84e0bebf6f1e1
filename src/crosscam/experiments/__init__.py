"""Whole experiments: train, score and report; search a folder of own photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.experiments.adapting import adapt
    from crosscam.experiments.experiment import train
    from crosscam.experiments.photographs import search_photographs
    from crosscam.experiments.scoring import Scored
    from crosscam.retrieval.reranking import Reranking

__getattr__, __dir__ = lazily(
    __name__,
    {
        "experiments.adapting": "adapt",
        "experiments.experiment": "train",
        "experiments.photographs": "search_photographs",
        "experiments.scoring": "Scored",
        "retrieval.reranking": "Reranking",
    },
)
__all__ = ["Reranking", "Scored", "adapt", "search_photographs", "train"]
