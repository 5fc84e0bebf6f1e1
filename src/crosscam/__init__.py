"""crosscam: find the same person across cameras.

>>> import crosscam
>>> model = crosscam.build_model("rrid-s", num_ids=10)
>>> model.layout[-1].name
'p6.global'
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from crosscam.system.cores import wait_politely

if TYPE_CHECKING:
    from crosscam import losses
    from crosscam.data.datasets.holdout import holdout
    from crosscam.data.datasets.readers import read_dataset
    from crosscam.data.records import ReidDataset, Sample
    from crosscam.experiments.adapting import adapt
    from crosscam.experiments.experiment import train
    from crosscam.gallery import create_gallery, open_gallery
    from crosscam.inference.descriptor_tables import DescriptorFile, read_descriptors
    from crosscam.inference.exporting import export_model
    from crosscam.inference.extractor import Extractor
    from crosscam.inference.tracker_features import TrackerFeatures
    from crosscam.metrics.ranking import RankingResult, evaluate_ranking
    from crosscam.models.authors import load_authors_state
    from crosscam.models.output import Block, ReidOutput
    from crosscam.recipes.catalogue import build_model, list_recipes
    from crosscam.retrieval.distances import pairwise_distances
    from crosscam.retrieval.expansion import expand_queries
    from crosscam.retrieval.reranking import rerank
    from crosscam.shipped import list_models

wait_politely()  # before torch is imported

__version__ = version("crosscam")
# Where each name is; loaded when it is first used, so that importing crosscam takes a fraction of a second.
_PLACES = {
    "Block": "models.output",
    "DescriptorFile": "inference.descriptor_tables",
    "Extractor": "inference.extractor",
    "RankingResult": "metrics.ranking",
    "ReidDataset": "data.records",
    "ReidOutput": "models.output",
    "Sample": "data.records",
    "TrackerFeatures": "inference.tracker_features",
    "adapt": "experiments.adapting",
    "build_model": "recipes.catalogue",
    "create_gallery": "gallery",
    "evaluate_ranking": "metrics.ranking",
    "expand_queries": "retrieval.expansion",
    "export_model": "inference.exporting",
    "holdout": "data.datasets.holdout",
    "list_models": "shipped",
    "list_recipes": "recipes.catalogue",
    "load_authors_state": "models.authors",
    "open_gallery": "gallery",
    "pairwise_distances": "retrieval.distances",
    "read_dataset": "data.datasets.readers",
    "read_descriptors": "inference.descriptor_tables",
    "rerank": "retrieval.reranking",
    "train": "experiments.experiment",
}
_ROOMS = (
    "adaptation",
    "calibration",
    "data",
    "errors",
    "experiments",
    "explain",
    "gallery",
    "inference",
    "losses",
    "metrics",
    "models",
    "recipes",
    "report",
    "reproduce",
    "retrieval",
    "training",
    "video",
)
__all__ = [
    "Block",
    "DescriptorFile",
    "Extractor",
    "RankingResult",
    "ReidDataset",
    "ReidOutput",
    "Sample",
    "TrackerFeatures",
    "adapt",
    "build_model",
    "create_gallery",
    "evaluate_ranking",
    "expand_queries",
    "export_model",
    "holdout",
    "list_models",
    "list_recipes",
    "load_authors_state",
    "losses",
    "open_gallery",
    "pairwise_distances",
    "read_dataset",
    "read_descriptors",
    "rerank",
    "train",
]


def __getattr__(name: str) -> Any:
    """A public name, from the file that it is in."""
    if name in _ROOMS:
        return import_module(f"crosscam.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'crosscam' has no attribute {name!r}")
    found = getattr(import_module(f"crosscam.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
