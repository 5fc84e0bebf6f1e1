"""Networks: from images to descriptors with named blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.models.authors import import_authors, load_authors_state, read_authors_checkpoint
    from crosscam.models.backbones.build import build_backbone, check_backbone
    from crosscam.models.output import Block, Layout, ReidOutput, describe
    from crosscam.models.pooling import GlobalContrastivePooling, GlobalPooling
    from crosscam.models.relation import RelationModule
    from crosscam.models.rrid import RRID, RRIDModel
    from crosscam.models.systems import SYSTEMS, layout_of
    from crosscam.recipes.catalogue import build_model

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Block": "models.output",
        "GlobalContrastivePooling": "models.pooling",
        "GlobalPooling": "models.pooling",
        "Layout": "models.output",
        "RRID": "models.rrid",
        "RRIDModel": "models.rrid",
        "ReidOutput": "models.output",
        "RelationModule": "models.relation",
        "SYSTEMS": "models.systems",
        "build_backbone": "models.backbones.build",
        "build_model": "recipes.catalogue",
        "check_backbone": "models.backbones.build",
        "describe": "models.output",
        "import_authors": "models.authors",
        "layout_of": "models.systems",
        "load_authors_state": "models.authors",
        "read_authors_checkpoint": "models.authors",
    },
)
__all__ = [
    "RRID",
    "SYSTEMS",
    "Block",
    "GlobalContrastivePooling",
    "GlobalPooling",
    "Layout",
    "RRIDModel",
    "ReidOutput",
    "RelationModule",
    "build_backbone",
    "build_model",
    "check_backbone",
    "describe",
    "import_authors",
    "layout_of",
    "load_authors_state",
    "read_authors_checkpoint",
]
