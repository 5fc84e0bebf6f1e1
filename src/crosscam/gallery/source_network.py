"""Which network a gallery was built with, and where it is; another one is never taken."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from crosscam.errors import CrosscamError, ModelMismatchError
from crosscam.gallery.entries import ModelIdentity
from crosscam.gallery.interface import Gallery
from crosscam.inference.extractor import Extractor
from crosscam.recipes.checkpoint import WEIGHTS
from crosscam.shipped import RENAMED, SHIPPED
from crosscam.system.text import printable

# The document that says where the network is.
SOURCE = "model_source"


def identify_model(source: Path, extractor: Extractor) -> ModelIdentity:
    """The identity of a model's descriptors.

    Args:
        source: the run folder or exported file.
        extractor: opened from it; its fingerprint is that of the weights, the input size, the layout and the mirror
            pass, the same for a run folder, its copies, and its exported files.
    """
    name = extractor.recipe.name
    return ModelIdentity(extractor.fingerprint, printable(name if source.name == name else f"{name} in {source.name}"))


def matching_extractor(gallery: Gallery, folder: Path, device: str = "cpu") -> Extractor:
    """A run folder's model with or without the mirror pass, as the gallery was built.

    Raises:
        ModelMismatchError: it is another model.
        CheckpointError: not a run folder.
    """
    extractor = Extractor.load(folder, device=device)
    # Most galleries are built as the network is by default, so that a second load is rare. A file's pass is settled.
    if extractor.fingerprint != gallery.model.fingerprint and not extractor.has_fixed_flip:
        extractor = Extractor.load(folder, flip=not extractor.flip, device=device)
    if extractor.fingerprint != gallery.model.fingerprint and str(folder) in RENAMED:
        # A gallery of a version that called another network so.
        with suppress(ModelMismatchError):
            return matching_extractor(gallery, Path(RENAMED[str(folder)]), device)
    if extractor.fingerprint != gallery.model.fingerprint:
        identity = identify_model(folder, extractor)
        gallery.check_model(f"{identity.fingerprint} ({identity.name})")
    return extractor


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
