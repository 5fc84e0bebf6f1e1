"""The calibration that is kept with a gallery: which of its distances is the same person.

It is a labeled one from elsewhere, or one from answers to "same person?" about pairs, where nothing has labels. The
pairs are near ones from across the range of distances, so the answers tell how probable the same person is at a
distance, which is what a search needs. They do not tell false-match rates: those need labels of every image.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from crosscam.calibration.calibration import Calibration, Origin, Thresholds
from crosscam.calibration.fitting import log_likelihood_ratio
from crosscam.calibration.pair_counts import BINS, WIDTH
from crosscam.data.text_files import read_text
from crosscam.errors import DataError
from crosscam.gallery.answers import ANSWERS, Answer, still_needed
from crosscam.gallery.interface import Gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.shipped import SHIPPED, run_folder

# At these shares of "same" among the answers near a distance, a verdict begins.
SAME_SHARE, OTHER_SHARE = 0.9, 0.1


def calibrate_answers(distances: Sequence[float], same: Sequence[bool], origin: Origin, images: int) -> Calibration:
    """Learn from answered pairs which distances are of one person.

    Args:
        distances: (P,) of the pairs, each in [0, 2].
        same: (P,) whether a person called the pair the same person; both kinds must be there.
        origin: data and model.
        images: distinct images in the pairs.
    Raises:
        CrosscamError: scipy is missing.
    """
    bins = np.minimum((np.asarray(distances) / WIDTH).astype(np.int64), BINS - 1)
    is_same = np.asarray(same, dtype=bool)
    genuine, impostor = (np.bincount(bins[chosen], minlength=BINS) for chosen in (is_same, ~is_same))
    centers, ratios = log_likelihood_ratio(genuine, impostor)
    prior = float(is_same.mean())
    odds = np.interp((np.arange(BINS + 1)) * WIDTH, centers, ratios) + math.log(prior / (1 - prior))
    share = 1 / (1 + np.exp(-odds))
    below = int(np.count_nonzero(share >= SAME_SHARE)) * WIDTH
    beyond = int(np.count_nonzero(share > OTHER_SHARE)) * WIDTH
    pooled = Thresholds(min(below, 2.0), min(max(below, beyond), 2.0), int(is_same.sum()), int((~is_same).sum()))
    closer = np.asarray(distances) < pooled.same
    farther = np.asarray(distances) >= pooled.other
    return Calibration(
        origin=origin,
        fmr=float((closer & ~is_same).sum() / (~is_same).sum()),
        fnmr=float((farther & is_same).sum() / is_same.sum()),
        prior=prior,
        pooled=pooled,
        within=None,
        cameras=(),
        images=images,
        people=0,
        distractors=0,
        num_cameras=0,
        within_pairs=0,
        open_set=(),
        det=(),
        steps=tuple((round(float(d), 6), round(float(r), 6)) for d, r in zip(centers, ratios, strict=True)),
        notes=_notes(
            int((closer & is_same).sum()), int(closer.sum()), int((farther & ~is_same).sum()), int(farther.sum())
        ),
        answered=len(bins),
    )


def _notes(right: int, called_same: int, other: int, called_other: int) -> tuple[str, ...]:
    """What the verdicts are worth, in numbers, and what they do not cover."""
    notes = []
    if called_same:
        low, high = wilson_interval(right, called_same)
        notes.append(
            f"Of the {called_same:,} answered pairs that are called same, {right:,} were answered so "
            f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        )
    else:
        notes.append("No distance is so close that nine in ten answers there say the same person: none is called same.")
    if called_other:
        low, high = wilson_interval(other, called_other)
        notes.append(
            f"Of the {called_other:,} answered pairs that are called other, {other:,} were answered so "
            f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        )
    notes.append(
        "The answers are about nearest images. Farther down a list of matches the same distance means less, and "
        "nobody has checked the answers."
    )
    return tuple(notes)


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score.

    Args:
        count: of ``total``, which is at least 1.
    """
    z = 1.96
    share = count / total
    center = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)


CALIBRATION = "calibration"
# The data fingerprint of a calibration whose cameras are not the gallery's. Another calibration has another one.
ELSEWHERE = "calibrated_elsewhere"


def keep_from_elsewhere(gallery: Gallery, calibration: Calibration) -> None:
    """Keep a calibration of other cameras with a gallery, opened for writing, unless it has one of its own."""
    if gallery.document(CALIBRATION) is None:
        gallery.set_document(CALIBRATION, json.loads(calibration.to_json()))
        gallery.set_document(ELSEWHERE, calibration.origin.data_fingerprint)


def shipped_calibration(fingerprint: str) -> Calibration | None:
    """The calibration that came with a network of the package, of other cameras; None for any other network."""
    for name in SHIPPED:
        file = run_folder(Path(name)) / "calibration.json"
        if file.is_file():
            found = Calibration.from_json(read_text(file))
            if found.origin.model_fingerprint == fingerprint:
                return found
    return None


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
    found = ANSWERS.read(gallery.document(ANSWERS.document))
    if found and not any(still_needed(found)):
        return _from_answers(found, gallery.model.fingerprint), ""
    return kept, reason


def _kept(gallery: Gallery) -> tuple[Calibration | None, str]:
    value = gallery.document(CALIBRATION)
    if value is None:
        command = "crosscam calibrate RUN --data LABELED --gallery GALLERY"
        return None, f"this gallery is not calibrated; '{command}' does it."
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
    labeled data call otherwise, the gallery does not have.

    Args:
        calibration: of labeled data.
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
def _from_answers(found: tuple[Answer, ...], model: str) -> Calibration:
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
