"""Where the network of a gallery is, so that a server can describe uploads without being told."""

from __future__ import annotations

import os
from pathlib import Path

from crosscam.errors import CrosscamError, ModelMismatchError
from crosscam.extraction import Extractor
from crosscam.gallery.filling import matching_extractor
from crosscam.gallery.interface import Gallery
from crosscam.shipped import SHIPPED
from crosscam.system.names import printable
from crosscam.training.checkpoint import WEIGHTS

SOURCE = "model_source"


def remember_source(gallery: Gallery, source: Path) -> None:
    """Keep with a gallery, opened for writing, where its network is: a shipped network's name, or a place on disk."""
    value = str(source) if str(source) in SHIPPED and not source.is_dir() else printable(os.path.abspath(source))
    if gallery.document(SOURCE) != value:
        gallery.set_document(SOURCE, value)


def recorded_extractor(gallery: Gallery, place: str, device: str = "cpu") -> tuple[Extractor | None, str]:
    """The network that a gallery was built with, where it can be found; another one is never taken.

    Args:
        gallery: opened.
        place: its folder or address.
        device: of torch.
    Returns:
        The network and what to call it; or None, and why there is none, as the end of a sentence.
    """
    candidates = _candidates(gallery, Path(place))
    reasons = []
    for source in candidates:
        if str(source) not in SHIPPED and not source.exists():
            reasons.append(f"{source} is gone")
            continue
        try:
            return matching_extractor(gallery, source, device), str(source)
        except ModelMismatchError:
            reasons.append(f"{source} is another network than the gallery's")
        except CrosscamError as error:
            reasons.append(f"{source} cannot be read ({str(error).rstrip('.')})")
    return None, reasons[0] if reasons else f"the gallery does not say where its network ({gallery.model.name}) is"


def _candidates(gallery: Gallery, place: Path) -> list[Path]:
    """The recorded place; without one, a shipped network of the recorded name, or the run folder around the gallery."""
    recorded = gallery.document(SOURCE)
    if isinstance(recorded, str):
        return [Path(recorded)]
    last = gallery.model.name.rpartition(" in ")[2]
    around = place.absolute().parent
    return [Path(name) for name in SHIPPED if name == last] + [around] * (around / WEIGHTS).is_file()
