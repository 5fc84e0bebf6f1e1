"""Pairs of pictures that look alike, as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.explain.parts import BodyProfile, body_profile
from crosscam.gallery.records import Entry
from crosscam.models.output import Layout
from crosscam.report.hits import picture_html, when
from crosscam.report.shell import html_page, write_page
from crosscam.report.strip_view import profile_bars
from crosscam.retrieval.calibration import Calibration

# Standard deviations of all similarities by which a pair must be ahead of the next: benchmarks/verdicts.py.
STANDS_OUT = 1.2
LIKELY, LOOK_ALIKE = "likely the same person", "look-alike"


@dataclass(frozen=True, eq=False)
class SimilarPair:
    """Two pictures of a gallery.

    Attributes:
        first: the one that came first.
        second: the other.
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
        """Whether it is far enough ahead to be called likely.

        The best of thousands of pairs look alike by chance, whatever the distance of one pair says. Only how far it is
        ahead of its own rivals, among the same people at the same cameras, tells more.
        """
        return self.margin >= STANDS_OUT


def write_pairs(
    path: Path,
    pairs: Sequence[SimilarPair],
    thumbnails: Sequence[bytes | None],
    layout: Layout,
    calibration: Calibration | None = None,
    *,
    subtitle: str,
    notes: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        pairs: nearest first.
        thumbnails: JPEG pictures, two for each pair in turn, None where there is none.
        layout: blocks of the pairs' contributions.
        calibration: what the distance of a single pair means; None says nothing of it.
        subtitle: what was compared, in a sentence.
        notes: more sentences.
    Raises:
        CrosscamError: the file cannot be written.
    """
    profile = body_profile(np.array([p.contributions for p in pairs]).reshape(len(pairs), len(layout)), layout)
    tiles = [_tile(n, pair, thumbnails[2 * n : 2 * n + 2], profile) for n, pair in enumerate(pairs)]
    likely = [tile for tile, pair in zip(tiles, pairs, strict=True) if pair.stands_out]
    others = [tile for tile, pair in zip(tiles, pairs, strict=True) if not pair.stands_out]
    sections = {
        "pairs": (f"Likely the same person: {len(likely)}", _section(LIKELY_LEAD if likely else NONE_LEAD, likely)),
        "look-alikes": (f"Look-alikes: {len(others)}", _section(LOOK_ALIKE_LEAD, others)),
    }
    about = list(notes)
    if calibration is not None:
        about.append(
            f"The distances d were calibrated on {calibration.origin.data}: there, {calibration.pooled.same:.2f} or "
            "less is one person for a single pair. At your cameras that may be otherwise; 'crosscam calibrate' finds "
            "out from labeled images of yours."
        )
    if about:
        sections["about"] = ("About these images", "".join(f'<p class="lead">{escape(note)}</p>' for note in about))
    write_page(path, html_page("pairs", "Who looks alike", subtitle, sections, styles=("hits.css",)))


LIKELY_LEAD = (
    "Each is the other's nearest image at another camera, and clearly ahead of all others. Where this was measured, at "
    "cameras that the network never saw, about nine in ten such pairs were right. Look before you conclude."
)
NONE_LEAD = "No pair is far enough ahead of the others to be called the same person."
LOOK_ALIKE_LEAD = (
    "Each is the other's nearest image at another camera, but others are nearly as near, so many of these pairs are "
    "two people. The bars show how much the rows at that height, and the whole image (grey, below), add to the squared "
    "distance d²: a short bar means that the two agree there."
)


def _section(lead: str, tiles: Sequence[str]) -> str:
    found = f'<ol class="hits pairs">{"".join(tiles)}</ol>' if tiles else '<p class="empty">None.</p>'
    return f'<p class="lead">{escape(lead)}</p>{found}'


def _tile(
    n: int,
    pair: SimilarPair,
    thumbnails: Sequence[bytes | None],
    profile: BodyProfile,
) -> str:
    shown = "".join(
        f'<div class="frame">{picture_html(data, f"Pair {n + 1}: camera {entry.camid}, {Path(entry.path).name}")}</div>'
        for entry, data in zip((pair.first, pair.second), thumbnails, strict=True)
    )
    verdict = LIKELY if pair.stands_out else LOOK_ALIKE
    names = "<br>".join(
        escape(" ".join(part for part in (f"cam {e.camera_label}", Path(e.path).name, when(e.time)) if part))
        for e in (pair.first, pair.second)
    )
    return (
        f'<li class="tile"><div class="pair">{shown}{profile_bars(profile, n, profile.longest)}</div>'
        f'<p class="caption"><b>{n + 1:,}</b> · {verdict}<br>'
        f"d {pair.distance:.3f}, ahead by {pair.margin:.1f}<br>{names}</p></li>"
    )
