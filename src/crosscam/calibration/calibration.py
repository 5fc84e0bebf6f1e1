"""What a calibration says about a distance: same, unsure or other; a probability; and what that rests on.

:mod:`crosscam.calibration.fitting` makes one.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from crosscam.calibration.open_set import DetPoint, OperatingPoint
from crosscam.calibration.pair_counts import Cameras
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted, parse_json, reason_of

Verdict = Literal["same", "unsure", "other"]
FORMAT = 1


@dataclass(frozen=True)
class Thresholds:
    """Closer than ``same`` is the same person, ``other`` and farther is somebody else, between them it is unsure.

    ``genuine`` and ``impostor`` are the pairs that the two distances rest on.
    """

    same: float
    other: float
    genuine: int
    impostor: int


@dataclass(frozen=True)
class CameraThresholds:
    """Thresholds of one pair of cameras."""

    camids: Cameras
    thresholds: Thresholds


@dataclass(frozen=True)
class Origin:
    """What a calibration was made with: the labeled data, the network whose distances these are, and mirror images."""

    data: str
    data_fingerprint: str
    model_fingerprint: str
    flip: bool = True


@dataclass(frozen=True)
class Calibration:
    """What distances mean, for one network.

    Attributes:
        fmr: wanted share of impostor pairs that are called "same".
        fnmr: wanted share of genuine pairs that are called "other".
        prior: share of genuine pairs that :meth:`probability` takes for granted before it looks.
        pooled: thresholds over all pairs of different cameras.
        within: thresholds for two images of one camera; None where there are too few pairs.
        cameras: thresholds of single camera pairs, where there is enough data; (a, a) is within one camera.
        images, people, distractors, num_cameras: what was calibrated on.
        within_pairs: pairs of two people at one camera.
        open_set: what is missed at false-match rates of 1 %, 0.1 % and 0.01 %, and at ``fmr``.
        det: the trade-off of both error rates.
        steps: (distance, logarithm of the likelihood ratio), ascending in distance.
        notes: what falls short, one sentence each.
        answered: pairs that people called same or other, where it rests on such answers instead of labeled images.
    """

    origin: Origin
    fmr: float
    fnmr: float
    prior: float
    pooled: Thresholds
    within: Thresholds | None
    cameras: tuple[CameraThresholds, ...]
    images: int
    people: int
    distractors: int
    num_cameras: int
    within_pairs: int
    open_set: tuple[OperatingPoint, ...]
    det: tuple[DetPoint, ...]
    steps: tuple[tuple[float, float], ...]
    notes: tuple[str, ...] = ()
    answered: int = 0

    def thresholds(self, camid_a: int | None = None, camid_b: int | None = None) -> tuple[Thresholds, str]:
        """The thresholds for two cameras, and in words what they rest on; an unknown camera takes the pooled ones."""
        if camid_a is not None and camid_b is not None:
            wanted = (min(camid_a, camid_b), max(camid_a, camid_b))
            for entry in self.cameras:
                if entry.camids == wanted:
                    a, b = wanted
                    return entry.thresholds, f"camera {a}" if a == b else f"cameras {a} and {b}"
            if camid_a == camid_b and self.within is not None:
                return self.within, "pairs within one camera"
        return self.pooled, "all pairs of different cameras"

    def verdict(self, distance: float, camid_a: int | None = None, camid_b: int | None = None) -> Verdict:
        """What a distance between images of two cameras says."""
        limits, _ = self.thresholds(camid_a, camid_b)
        if distance < limits.same:
            return "same"
        return "unsure" if distance < limits.other else "other"

    def probability(self, distance: float, prior: float | None = None) -> float:
        """How probable it is that two images at this distance show one person; never rises with the distance.

        ``prior`` is the share of genuine pairs among those that are looked at, between 0 and 1 (else ValueError) and
        this calibration's by default; m / N in a gallery of N images of which m show the person.
        """
        prior = self.prior if prior is None else prior
        if not 0 < prior < 1:
            raise ArgumentError(f"prior is {prior}. Expected a number between 0 and 1.")
        centers, ratios = (np.array(column) for column in zip(*self.steps, strict=True))
        log_odds = float(np.interp(distance, centers, ratios)) + math.log(prior / (1 - prior))
        # Either form alone overflows at one end.
        return 1 / (1 + math.exp(-log_odds)) if log_odds > 0 else 1 - 1 / (1 + math.exp(log_odds))

    def rests_on(self) -> str:
        """One sentence: data, model, numbers of pairs."""
        if self.answered:
            return (
                f"Rests on {counted(self.answered, 'answer')} to 'same person?' about pairs of {self.images:,} images "
                f"of this gallery: {self.pooled.genuine:,} say the same person, {self.pooled.impostor:,} two people. "
                "'same' is where nine in ten or more say the same person, 'other' where at most one in ten does."
            )
        # Where both rates can be had at once nothing is unsure, and fewer are missed than was asked for.
        at_most = "at most " if self.pooled.same == self.pooled.other else ""
        return (
            f"Rests on {self.pooled.genuine:,} pairs of one person and {self.pooled.impostor:,} pairs of two people "
            f"across cameras ({self.images:,} images of {counted(self.people, 'person')} at "
            f"{counted(self.num_cameras, 'camera')}) of {self.origin.data}, data {self.origin.data_fingerprint}, with "
            f"the model {self.origin.model_fingerprint[:16]}; 'same' lets through {_percent(self.fmr)} of different "
            f"people, 'other' misses {at_most}{_percent(self.fnmr)} of equal ones."
        )

    def percentages(self) -> str:
        """One sentence: what the probabilities take for granted."""
        if self.answered:
            return "Percentages: how many of the answers near this distance say the same person."
        return f"Percentages: how probable the same person is if {100 * self.prior:.3g} % of the images show them."

    def to_json(self) -> str:
        """The calibration as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "calibration.json") -> Calibration:
        """Read what :meth:`to_json` wrote; DataError, with this name of the file, for anything else."""
        try:
            found = parse_json(text)
            if found.pop("format") != FORMAT:
                raise ArgumentError("another format")
            return _from_dict(found)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            reason = reason_of(error)
            raise DataError(
                f"{name} is not a calibration of this version ({reason}). Make it again with 'crosscam calibrate'."
            ) from error


def _from_dict(found: dict[str, Any]) -> Calibration:
    calibration = Calibration(
        **{
            **found,
            "origin": Origin(**found["origin"]),
            "pooled": Thresholds(**found["pooled"]),
            "within": Thresholds(**found["within"]) if found["within"] else None,
            "cameras": tuple(
                CameraThresholds((int(c["camids"][0]), int(c["camids"][1])), Thresholds(**c["thresholds"]))
                for c in found["cameras"]
            ),
            "open_set": tuple(OperatingPoint(**p) for p in found["open_set"]),
            "det": tuple(DetPoint(**p) for p in found["det"]),
            "steps": tuple((float(d), float(r)) for d, r in found["steps"]),
            "notes": tuple(map(str, found["notes"])),
        }
    )
    limits = [calibration.pooled, calibration.within, *(c.thresholds for c in calibration.cameras)]
    if not calibration.steps or any(t is not None and not 0 <= t.same <= t.other for t in limits):
        raise ArgumentError("thresholds or probabilities are missing or out of order")
    return calibration


def _percent(rate: float) -> str:
    return f"{100 * rate:.4g} %"
