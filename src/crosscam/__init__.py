"""crosscam: find the same person across cameras.

>>> import crosscam
>>> model = crosscam.build_model("rrid-s", num_ids=10)
>>> model.layout[-1].name
'p6.global'
"""

from __future__ import annotations

from importlib.metadata import version

from crosscam import losses
from crosscam.data.holdout import holdout
from crosscam.data.readers import read_dataset
from crosscam.data.records import ReidDataset, Sample
from crosscam.extraction import Extractor
from crosscam.models.authors import load_authors_state
from crosscam.models.output import Block, ReidOutput
from crosscam.recipes.catalogue import build_model
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.metrics import RankingResult, evaluate_ranking
from crosscam.retrieval.rerank import rerank

__version__ = version("crosscam")
__all__ = [
    "Block",
    "Extractor",
    "RankingResult",
    "ReidDataset",
    "ReidOutput",
    "Sample",
    "build_model",
    "evaluate_ranking",
    "holdout",
    "load_authors_state",
    "losses",
    "pairwise_distances",
    "read_dataset",
    "rerank",
]
