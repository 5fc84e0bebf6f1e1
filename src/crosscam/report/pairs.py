"""Pairs of images that look alike, as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from crosscam.calibration.calibration import Calibration
from crosscam.gallery.entries import Entry
from crosscam.gallery.fragments import shown_name
from crosscam.models.output import Layout
from crosscam.report.hits import image_uri, when
from crosscam.report.image_tiles import SHOWN_HEIGHT as HIT_HEIGHT
from crosscam.report.image_tiles import profile_bars
from crosscam.report.shell import fragment, html_page, write_page
from crosscam.retrieval.contributions import BodyProfile, body_profile

# Standard deviations of all similarities by which a pair must be ahead of the next: benchmarks/verdicts.py.
STANDS_OUT = 1.2
SHOWN_HEIGHT = 224
LIKELY, LOOK_ALIKE = "likely the same person", "look-alike"


@dataclass(frozen=True, eq=False)
class SimilarPair:
    """Two images of a gallery, the one that came first in front.

    Attributes:
        distance: Euclidean distance of their descriptors.
        contributions: (L,) squared distance block by block.
        margin: how far the two are ahead of the next, in standard deviations of the similarities of all images; the
            mean of both sides.
    """

    first: Entry
    second: Entry
    distance: float
    contributions: NDArray[np.float64]
    margin: float = 0.0

    @property
    def stands_out(self) -> bool:
        """Whether it is far enough ahead of its rivals to be likely: the best of thousands are near by chance."""
        return self.margin >= STANDS_OUT

    @property
    def verdict(self) -> str:
        """What is said of the pair."""
        return LIKELY if self.stands_out else LOOK_ALIKE


def write_pairs(
    path: Path,
    pairs: Sequence[SimilarPair],
    images: Sequence[bytes | None],
    layout: Layout,
    calibration: Calibration | None = None,
    *,
    subtitle: str,
    notes: Sequence[str] = (),
    left_out: tuple[int, int] = (0, 0),
    across: bool = True,
) -> None:
    """Write the page; CrosscamError if that fails.

    Args:
        pairs: nearest first.
        images: JPEG images, two for each pair in turn, None where there is none.
        layout: blocks of the pairs' contributions.
        calibration: what the distance of a single pair means; None says nothing of it.
        subtitle, notes: what was compared, in a sentence; more sentences.
        left_out: likely pairs and look-alikes that are not among ``pairs``.
        across: whether only different cameras were compared.
    """
    profile = body_profile(np.array([p.contributions for p in pairs]).reshape(len(pairs), len(layout)), layout)
    tiles = [_tile(n, pair, images[2 * n : 2 * n + 2], profile) for n, pair in enumerate(pairs)]
    likely = [tile for tile, pair in zip(tiles, pairs, strict=True) if pair.stands_out]
    others = [tile for tile, pair in zip(tiles, pairs, strict=True) if not pair.stands_out]
    nearest = "Each is the other's nearest image" + (" at another camera" if across else " of all")
    sections = {
        "pairs": (
            f"Likely the same person: {len(likely) + left_out[0]}",
            _section(f"{nearest}, {LIKELY_LEAD}" if likely else NONE_LEAD, likely, left_out[0]),
        ),
        "look-alikes": (
            f"Look-alikes: {len(others) + left_out[1]}",
            _section(f"{nearest}, {LOOK_ALIKE_LEAD}" if others else NO_LOOK_ALIKE_LEAD, others, left_out[1]),
        ),
    }
    about = [*notes, *([] if calibration is None else [_what_distances_mean(calibration)])]
    if about:
        sections["about"] = ("About these images", fragment("pairs.html", "about", notes=about))
    legend, styles = fragment("pairs.html", "legend", likely_from=STANDS_OUT), ("hits.css", "pairs.css")
    page = html_page("pairs", "Who looks alike", subtitle, sections, lead=legend, styles=styles)
    write_page(path, page)


def _what_distances_mean(calibration: Calibration) -> str:
    return (
        f"The distances d were calibrated on {calibration.origin.data}: there, {calibration.pooled.same:.2f} or "
        "less is one person for a single pair. At your cameras that may be otherwise; 'crosscam calibrate' finds "
        "out from labeled images of yours, and the Calibration page of 'crosscam serve' from your answers."
    )


LIKELY_LEAD = (
    "and clearly ahead of all others. Where this was measured, at cameras that the network never saw, about nine in "
    "ten such pairs were right. Look before you conclude."
)
NONE_LEAD = "No pair is far enough ahead of the others to be called the same person."
NO_LOOK_ALIKE_LEAD = "No other pairs are each the other's nearest."
LOOK_ALIKE_LEAD = "but others are nearly as near, so many of these pairs are two people."


def _section(lead: str, tiles: Sequence[dict[str, object]], left_out: int) -> Markup:
    return fragment("pairs.html", "section", lead=lead, tiles=tiles, left_out=left_out, height=HIT_HEIGHT)


def _tile(n: int, pair: SimilarPair, images: Sequence[bytes | None], profile: BodyProfile) -> dict[str, object]:
    sides = []
    for side, entry, data in zip("ab", (pair.first, pair.second), images, strict=True):
        name = shown_name(entry.path)
        words = (f"cam {entry.camera_label}", name, when(entry.time))
        alt = f"Pair {n + 1}: camera {entry.camera_label}, {name}"
        shown = {"id": f"pair-{n + 1}-{side}", "image": image_uri(data), "alt": alt}
        sides.append(shown | {"name": " ".join(word for word in words if word)})
    bars = profile_bars(profile, n, profile.longest, SHOWN_HEIGHT)
    return {"id": f"pair-{n + 1}", "number": f"{n + 1:,}", "pair": pair, "sides": sides, "bars": bars}
