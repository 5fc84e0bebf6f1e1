"""Networks: from images to descriptors with named blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

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
        "models.authors": "import_authors load_authors_state read_authors_checkpoint",
        "models.backbones.build": "build_backbone check_backbone",
        "models.output": "Block Layout ReidOutput describe",
        "models.pooling": "GlobalContrastivePooling GlobalPooling",
        "models.relation": "RelationModule",
        "models.rrid": "RRID RRIDModel",
        "models.systems": "SYSTEMS layout_of",
        "recipes.catalogue": "build_model",
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
