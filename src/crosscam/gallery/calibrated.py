"""The calibration that is kept with a gallery: which of its distances is the same person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from crosscam.errors import DataError
from crosscam.gallery import answers
from crosscam.gallery.interface import Gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.retrieval.answered import calibrate_answers
from crosscam.retrieval.calibration import Calibration, Origin

CALIBRATION = "calibration"
# The data fingerprint of a calibration whose cameras are not the gallery's. Another calibration has another one.
ELSEWHERE = "calibrated_elsewhere"


def keep_from_elsewhere(gallery: Gallery, calibration: Calibration) -> None:
    """Keep a calibration of other cameras with a gallery, opened for writing, unless it has one of its own."""
    if gallery.document(CALIBRATION) is None:
        gallery.set_document(CALIBRATION, json.loads(calibration.to_json()))
        gallery.set_document(ELSEWHERE, calibration.origin.data_fingerprint)


def is_from_elsewhere(gallery: Gallery, calibration: Calibration | None) -> bool:
    """Whether a gallery's calibration is of other cameras: what a distance means at these is not known."""
    return calibration is not None and gallery.document(ELSEWHERE) == calibration.origin.data_fingerprint


def calibration_of(gallery: Gallery) -> tuple[Calibration | None, str]:
    """The gallery's calibration; or None, and the reason in one sentence.

    One from labeled images of these cameras counts first, then answers to pairs, then one of other cameras.
    """
    kept, reason = _kept(gallery)
    if kept is not None and not is_from_elsewhere(gallery, kept):
        return kept, ""
    found = answers.read_answers(gallery.document(answers.DOCUMENT))
    if found and not any(answers.still_needed(found)):
        return _from_answers(found, gallery.model.fingerprint), ""
    return kept, reason


def _kept(gallery: Gallery) -> tuple[Calibration | None, str]:
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


@lru_cache(maxsize=8)
def _from_answers(found: tuple[answers.Answer, ...], model: str) -> Calibration:
    given = [(a.distance, a.same) for a in found if a.same is not None]
    images = {n for a in found if a.same is not None for n in (a.first, a.second)}
    digest = hashlib.sha256(repr([(a.first, a.second, a.same) for a in found]).encode()).hexdigest()
    origin = Origin("answers about pairs of this gallery", digest[:16], model)
    return calibrate_answers([d for d, _ in given], [same for _, same in given], origin, len(images))


def verdicts_of(gallery: Gallery, options: SearchOptions) -> tuple[Calibration | None, str]:
    """The calibration that holds for a search, and what its verdicts rest on; or None, and why there are none."""
    calibration, reason = calibration_of(gallery)
    if calibration is None:
        return None, f"No verdicts: {reason}"
    if is_from_elsewhere(gallery, calibration):
        return None, (
            f"No verdicts by distance: distances were calibrated on other cameras ({calibration.origin.data}). "
            "Answer pairs on the Calibration page of 'crosscam serve', or run 'crosscam calibrate' with labeled "
            "images of yours."
        )
    if not options.keeps_distances:
        return None, "No verdicts: weights and re-ranking change the distances that were calibrated."
    return calibration, calibration.rests_on()
