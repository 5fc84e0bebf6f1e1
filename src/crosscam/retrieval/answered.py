"""A calibration from answers to "same person?" about pairs, where nobody has labels.

The pairs are near ones from across the range of distances, so the answers tell how probable the same person is at a
distance, which is what a search needs. They do not tell false-match rates: those need labels of every image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crosscam.retrieval.calibrating import log_likelihood_ratio
from crosscam.retrieval.calibration import Calibration, Origin, Thresholds
from crosscam.retrieval.pair_counts import BINS, WIDTH

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
