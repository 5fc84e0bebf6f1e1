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

VERDICTS = {"same": "likely the same person", "unsure": "undecided", "other": "likely different people"}


@dataclass(frozen=True, eq=False)
class SimilarPair:
    """Two pictures of a gallery.

    Attributes:
        first: the one that came first.
        second: the other.
        distance: Euclidean distance of their descriptors.
        contributions: (L,) squared distance block by block.
    """

    first: Entry
    second: Entry
    distance: float
    contributions: NDArray[np.float64]


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
        calibration: what distances mean; None leaves verdicts out.
        subtitle: what was compared, in a sentence.
        notes: more sentences.
    Raises:
        CrosscamError: the file cannot be written.
    """
    profile = body_profile(np.array([p.contributions for p in pairs]).reshape(len(pairs), len(layout)), layout)
    tiles = [_tile(n, pair, thumbnails[2 * n : 2 * n + 2], profile, calibration) for n, pair in enumerate(pairs)]
    found = f'<ol class="hits pairs">{"".join(tiles)}</ol>' if tiles else '<p class="empty">No two are near.</p>'
    lead = (
        "Each is the other's nearest at another camera. Beside them: how much the rows at that height, and the whole "
        "picture (grey, below), add to the squared distance d². Nobody has checked these pairs: look before you "
        "conclude."
    )
    if calibration is not None:
        lead += f" Verdicts: {calibration.rests_on()} Other cameras shift them; calibrate on pictures of yours."
    remarks = "".join(f"<p>{escape(note)}</p>" for note in notes)
    write_page(
        path,
        html_page(
            "pairs",
            "Who looks alike",
            subtitle,
            {"pairs": ("Most similar pairs", f'<p class="lead">{escape(lead)}</p>{found}{remarks}')},
            styles=("hits.css",),
        ),
    )


def _tile(
    n: int,
    pair: SimilarPair,
    thumbnails: Sequence[bytes | None],
    profile: BodyProfile,
    calibration: Calibration | None,
) -> str:
    shown = "".join(
        f'<div class="frame">{picture_html(data, f"Pair {n + 1}: camera {entry.camid}, {Path(entry.path).name}")}</div>'
        for entry, data in zip((pair.first, pair.second), thumbnails, strict=True)
    )
    verdict = "" if calibration is None else f"<br>{VERDICTS[calibration.verdict(pair.distance)]}"
    names = "<br>".join(
        escape(" ".join(part for part in (f"cam {e.camid}", Path(e.path).name, when(e.time)) if part))
        for e in (pair.first, pair.second)
    )
    return (
        f'<li class="tile"><div class="pair">{shown}{profile_bars(profile, n, profile.longest)}</div>'
        f'<p class="caption"><b>{n + 1:,}</b> · d {pair.distance:.3f}{verdict}<br>{names}</p></li>'
    )
