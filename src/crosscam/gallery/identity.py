"""Which model made a descriptor."""

from __future__ import annotations

from pathlib import Path

from crosscam.extraction import Extractor
from crosscam.gallery.records import ModelIdentity
from crosscam.system.names import printable


def identify_model(source: Path, extractor: Extractor) -> ModelIdentity:
    """The identity of a model's descriptors.

    Args:
        source: the run folder or exported file.
        extractor: opened from it; its fingerprint is that of the weights, the input size, the layout and the mirror
            pass, the same for a run folder, its copies, and its exported files.
    """
    return ModelIdentity(extractor.fingerprint, printable(f"{extractor.recipe.name} in {source.name}"))
