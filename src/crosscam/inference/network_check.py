"""Whether a network's declared input is right: other orders of channels and scales, compared on images of people.

A network that gets red for blue still recognizes mirrored and darker images, even a little better, for it looks past
color. What it loses is the difference between people. So agreement counts as far as it is above the similarity of other
images, and it is not divided by the spread of similarities; ``docs/log.md`` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.data.network_input import ORDERS, SCALES, NetworkInput
from crosscam.data.records import DISTRACTOR_PID, Sample
from crosscam.errors import DataError, EngineError
from crosscam.inference.engines.base import Pixels
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.retrieval.distances import unit_rows
from crosscam.system.text import counted

T = TypeVar("T")
IMAGES = 64
EACH = 4
FEWEST = 12
_BATCH = 32
# Images described together and each alone, and how alike that must be; 8-bit networks round differently.
_COMPANY = 4
_LEAST_ALIKE = 0.98
# A difference counts if it is this many standard errors of the mean over the images, and at least so large.
STANDARD_ERRORS = 3.0
LEAST_MARGIN, LEAST_AP = 0.004, 0.01


@dataclass(frozen=True, eq=False)
class Agreement:
    """How a network describes images by one reading of its input.

    Attributes:
        takes: the reading.
        margins: (N,) cosine of each image and its mirror image, less the mean cosine to the mirror images of others.
        average_precision: (N,) of each image's ranking of the others; None without labels, NaN for who is alone.
    """

    takes: NetworkInput
    margins: NDArray[np.float64]
    average_precision: NDArray[np.float64] | None = None

    @property
    def margin(self) -> float:
        """Mean over the images."""
        return float(self.margins.mean())

    @property
    def mean_ap(self) -> float | None:
        """Mean over the images whose person has others; None without labels."""
        return None if self.average_precision is None else float(np.nanmean(self.average_precision))

    def lead_over(self, other: Agreement) -> float:
        """By how many standard errors this reading is better than another on the same images; 0 if hardly at all."""
        leads = [_lead(self.margins - other.margins, LEAST_MARGIN)]
        if self.average_precision is not None and other.average_precision is not None:
            difference = self.average_precision - other.average_precision
            leads.append(_lead(difference[~np.isnan(difference)], LEAST_AP))
        return float(sum(leads) / math.sqrt(len(leads)))


def _lead(differences: NDArray[np.float64], least: float) -> float:
    mean = float(differences.mean())
    if abs(mean) < least:
        return 0.0
    return mean / max(float(differences.std()) / math.sqrt(len(differences)), 1e-9)


def check_rows(network: ImportedNetwork) -> None:
    """Refuse (EngineError) a network that gives no usable row for an image, or another one in other company.

    The second is what a network does that was saved in training mode: its batch normalization looks at the batch.
    """
    shape = (_COMPANY, 3, network.takes.height, network.takes.width)
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    together = network(planes).descriptor.double()
    lengths = together.norm(dim=1)
    if not torch.isfinite(lengths).all() or not (lengths > 0).all():
        raise EngineError(
            f"{network.name} gives rows that are not finite or have length 0 for images of noise. Look at its "
            "weights; export it again."
        )
    alone = torch.cat([network(planes[k : k + 1]).descriptor for k in range(_COMPANY)]).double()
    agreement = float(torch.nn.functional.cosine_similarity(alone, together).min())
    if not agreement > _LEAST_ALIKE:
        raise EngineError(
            f"{network.name} describes an image in another way when others are beside it (cosine {agreement:.3f}), so "
            "that its descriptors do not compare. Export it in evaluation mode (model.eval())."
        )


def other_readings(takes: NetworkInput) -> list[NetworkInput]:
    """Both orders and all scales, the declared reading first; each of the size and the resize that are declared."""
    plain = NetworkInput(takes.order, takes.height, takes.width, takes.scale, resize=takes.resize)
    swapped = replace(takes, order="bgr" if takes.order == "rgb" else "rgb", mean=takes.mean[::-1], std=takes.std[::-1])
    found = [takes, swapped, *(replace(plain, order=order, scale=scale) for scale in SCALES for order in ORDERS)]
    return list(dict.fromkeys(found))


def compare_readings(
    network: ImportedNetwork,
    pixels: Pixels,
    pids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Agreement]:
    """Describe images by each reading that the network takes, the declared one first.

    Args:
        network: with its declared input.
        pixels: (N, height, width, 3) uint8 RGB.
        pids: of the images, if they are known.
        progress: called with (done, all) readings.
    """
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    readings = other_readings(network.takes)
    found: list[Agreement] = []
    for place, takes in enumerate(readings):
        try:
            with torch.inference_mode():
                rows, mirrored = (_rows(network.read_as(takes), images) for images in (planes, planes.flip(3)))
        except EngineError:
            if not found:
                raise
            continue  # a network of bytes takes no other scale
        found.append(Agreement(takes, mirror_margins(rows, mirrored), _precisions(rows + mirrored, pids)))
        if progress:
            progress(place + 1, len(readings))
    return found


def best_reading(found: Sequence[Agreement]) -> Agreement | None:
    """The reading that is clearly better than the first; None where there is none."""
    declared = found[0]
    leads = [(one.lead_over(declared), one) for one in found[1:]]
    clear = [one for lead, one in leads if lead > STANDARD_ERRORS]
    if not clear:
        return None
    best = max(clear, key=lambda one: (one.mean_ap or 0.0) + one.margin)
    # Of those that the images do not tell apart, the one of the declared scale: the order alone may be wrong.
    alike = [one for one in clear if best.lead_over(one) <= STANDARD_ERRORS]
    return next((one for one in alike if one.takes.scale == declared.takes.scale), best)


def indistinguishable(found: Sequence[Agreement], like: Agreement) -> list[Agreement]:
    """The other readings that these images do not tell from one."""
    return [one for one in found if one is not like and abs(one.lead_over(like)) <= STANDARD_ERRORS]


def mirror_margins(rows: NDArray[np.float64], mirrored: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) cosine of each row and its mirror image's, less the mean cosine to those of the others.

    Args:
        rows, mirrored: (N, D), N at least 2.
    """
    cosines = unit_rows(rows) @ unit_rows(mirrored).T
    own = np.diagonal(cosines)
    others = (cosines.sum(axis=1) - own) / (len(rows) - 1)
    margins: NDArray[np.float64] = own - others
    return margins


def _precisions(rows: NDArray[np.float64], pids: Sequence[int] | None) -> NDArray[np.float64] | None:
    """Average precision of each image's ranking of all others; NaN for a person with one image."""
    if pids is None:
        return None
    people = np.asarray(pids)
    unit = unit_rows(rows)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    found = np.full(len(rows), np.nan)
    for place, ranked in enumerate(people[order] == people[:, None]):
        hits = np.flatnonzero(ranked)
        if len(hits):
            found[place] = np.mean(np.arange(1, len(hits) + 1) / (hits + 1))
    return found if not np.isnan(found).all() else None


def _rows(network: ImportedNetwork, planes: torch.Tensor) -> NDArray[np.float64]:
    rows = np.concatenate([network(part).descriptor.numpy() for part in torch.split(planes, _BATCH)]).astype(np.float64)
    if not np.isfinite(rows).all():
        raise EngineError(f"{network.name} gives numbers that are not finite for images read as {network.takes}.")
    return rows


def images_to_check(samples: Sequence[Sample], *, labeled: bool) -> list[Sample]:
    """About :data:`IMAGES` of them: evenly spread; of labeled ones, up to four of each person with several.

    Raises:
        DataError: too few.
    """
    if labeled:
        people: dict[int, list[Sample]] = {}
        for sample in samples:
            if sample.pid > DISTRACTOR_PID:
                people.setdefault(sample.pid, []).append(sample)
        groups = [_spread(some, EACH) for some in people.values() if len(some) > 1]
        chosen = [sample for some in _spread(groups, IMAGES // EACH) for sample in some]
    if not labeled or len(chosen) < FEWEST:
        chosen = _spread(list(samples), IMAGES)
    if len(chosen) < FEWEST:
        raise DataError(
            f"Found {counted(len(chosen), 'image')}, too few to check a declared input. Expected at least {FEWEST}."
        )
    return chosen


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]
