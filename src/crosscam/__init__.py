"""crosscam: find the same person across cameras.

>>> import crosscam
>>> model = crosscam.build_model("rrid-s", num_ids=10)
>>> model.layout[-1].name
'p6.global'
"""

from __future__ import annotations

from importlib.metadata import version

from crosscam.system.waiting import wait_politely

wait_politely()  # before torch is imported

from crosscam import losses  # noqa: E402
from crosscam.data.holdout import holdout  # noqa: E402
from crosscam.data.readers import read_dataset  # noqa: E402
from crosscam.data.records import ReidDataset, Sample  # noqa: E402
from crosscam.extraction import Extractor  # noqa: E402
from crosscam.models.authors import load_authors_state  # noqa: E402
from crosscam.models.output import Block, ReidOutput  # noqa: E402
from crosscam.recipes.catalogue import build_model  # noqa: E402
from crosscam.retrieval.distances import pairwise_distances  # noqa: E402
from crosscam.retrieval.metrics import RankingResult, evaluate_ranking  # noqa: E402
from crosscam.retrieval.rerank import rerank  # noqa: E402

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
