"""The calibration that is kept with a gallery: which of its distances is the same person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from crosscam.errors import DataError
from crosscam.gallery.interface import Gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.retrieval.calibration import Calibration

CALIBRATION = "calibration"


def calibration_of(gallery: Gallery) -> tuple[Calibration | None, str]:
    """The gallery's calibration; or None, and the reason in one sentence."""
    value = gallery.document(CALIBRATION)
    if value is None:
        return None, "this gallery is not calibrated; 'crosscam calibrate RUN --data LABELLED --gallery' does it."
    try:
        found = Calibration.from_json(json.dumps(value), "The gallery's calibration")
    except DataError as error:
        return None, str(error)
    if found.origin.model_fingerprint != gallery.model.fingerprint:
        return None, "the calibration kept with this gallery is of another model; make it again."
    return found, ""


def of_gallery(calibration: Calibration, names: Mapping[int, str], known: Mapping[int, str]) -> Calibration:
    """A calibration with the numbers that its cameras have in a gallery.

    Thresholds of single cameras stay where both sides call the camera by the same name, or both by a number; what the
    labelled data call otherwise, the gallery does not have.

    Args:
        calibration: of labelled data.
        names: of the cameras there, by camid.
        known: of the gallery's cameras, by camid.
    """
    numbers = {name: camid for camid, name in known.items()}

    def number(camid: int) -> int | None:
        name = names.get(camid)
        if name is not None:
            return numbers.get(name)
        return None if camid in known else camid

    kept = []
    for entry in calibration.cameras:
        a, b = (number(camid) for camid in entry.camids)
        if a is not None and b is not None:
            kept.append(replace(entry, camids=(min(a, b), max(a, b))))
    return replace(calibration, cameras=tuple(kept))


def verdicts_of(gallery: Gallery, options: SearchOptions) -> tuple[Calibration | None, str]:
    """The calibration that holds for a search, and what its verdicts rest on; or None, and why there are none."""
    calibration, reason = calibration_of(gallery)
    if calibration is None:
        return None, f"No verdicts: {reason}"
    if not options.keeps_distances:
        return None, "No verdicts: weights and re-ranking change the distances that were calibrated."
    return calibration, calibration.rests_on()
