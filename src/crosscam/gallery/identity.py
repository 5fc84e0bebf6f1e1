"""Which model made a descriptor, as a fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from crosscam.errors import CheckpointError
from crosscam.extraction import Extractor
from crosscam.gallery.records import ModelIdentity
from crosscam.training.checkpoint import WEIGHTS


def identify_model(folder: Path, extractor: Extractor) -> ModelIdentity:
    """The identity of a run folder's descriptors.

    The fingerprint changes with the weights, the input size, the layout and the mirror pass, and with nothing else: a
    copy of the run folder elsewhere has the same.

    Args:
        folder: the run folder.
        extractor: opened from it.
    Raises:
        CheckpointError: the weights cannot be read.
    """
    data = extractor.recipe.data
    layout = [[b.name, b.start, b.stop, b.kind] for b in extractor.layout]
    about = {"size": [data.height, data.width], "flip": extractor.flip, "layout": layout}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    try:
        with open(folder / WEIGHTS, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {error.strerror or error}.") from error
    return ModelIdentity(digest.hexdigest()[:16], f"{extractor.recipe.name} in {folder.name}")
