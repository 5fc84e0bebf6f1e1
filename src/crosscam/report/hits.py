"""The hits of a search as one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np

from crosscam.explain.parts import BodyProfile, body_profile
from crosscam.gallery.records import Entry, Hit
from crosscam.models.output import Layout
from crosscam.report.shell import html_page, write_page
from crosscam.report.strip_view import SHOWN_HEIGHT, profile_bars

# Times before this are counted from no calendar's origin.
FIRST_DATE = 100_000_000


def write_hits(
    path: Path,
    queries: Sequence[bytes],
    hits: Sequence[Hit],
    thumbnails: Sequence[bytes | None],
    layout: Layout,
    *,
    subtitle: str,
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        queries: JPEG pictures of what was searched for.
        hits: nearest first.
        thumbnails: JPEG pictures of the hits, None where there is none.
        layout: blocks of the hits' contributions.
        subtitle: what was searched, in a sentence.
    Raises:
        CrosscamError: the file cannot be written.
    """
    write_page(path, render_hits(queries, hits, thumbnails, layout, subtitle))


def render_hits(
    queries: Sequence[bytes], hits: Sequence[Hit], thumbnails: Sequence[bytes | None], layout: Layout, subtitle: str
) -> str:
    """The page as text; arguments as for :func:`write_hits`."""
    profile = body_profile(np.array([hit.contributions for hit in hits]).reshape(len(hits), len(layout)), layout)
    unit = max(float(profile.bands.max(initial=0.0)), float(profile.whole.max(initial=0.0))) or 1.0
    tiles = [_tile(n, hit, thumbnails[n], profile, unit) for n, hit in enumerate(hits)]
    found = f'<ol class="hits">{"".join(tiles)}</ol>' if tiles else '<p class="empty">Nothing was found.</p>'
    asked = "".join(picture_html(data, f"Query {n}") for n, data in enumerate(queries, start=1))
    lead = (
        '<p class="lead">Beside each picture: how much the rows at that height, and the whole picture (grey, below), '
        "add to the squared distance d². A short bar: here the two agree.</p>"
    )
    return html_page(
        "search",
        "Hits of a search",
        subtitle,
        {"hits": ("Nearest first", lead + found)},
        lead=f'<div class="asked">{asked}</div>',
        styles=("hits.css",),
    )


def when(time: float | None) -> str:
    """A time as people write it: a date for seconds of the Unix epoch, else seconds; nothing for None."""
    if time is None:
        return ""
    if time < FIRST_DATE:
        return f"{time:,.1f} s"
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _tile(n: int, hit: Hit, thumbnail: bytes | None, profile: BodyProfile, unit: float) -> str:
    entry = hit.entry
    again = "" if hit.reranked is None else f" · re-ranked {hit.reranked:.3f}"
    alone = "" if hit.pooled == 1 else f"<br>{hit.pooled:,} pictures"
    return (
        f'<li class="tile" title="{escape(entry.path)}"><div class="pair"><div class="frame">'
        f"{picture_html(thumbnail, f'Rank {n + 1}: entry {entry.id}, camera {entry.camid}')}</div>"
        f'{profile_bars(profile, n, unit)}</div><p class="caption"><b>{n + 1:,}</b> · d {hit.distance:.3f}{again}<br>'
        f"{'<br>'.join(escape(line) for line in _lines(entry))}{alone}</p></li>"
    )


def _lines(entry: Entry) -> list[str]:
    lines = [f"entry {entry.id}", f"cam {entry.camid}"]
    lines += [f"id {entry.pid}"] if entry.pid is not None else []
    lines += [when(entry.time)] if entry.time is not None else []
    return lines + ([f"track {entry.track}"] if entry.track is not None else [])


def picture_html(data: bytes | None, alt: str) -> str:
    """A JPEG picture, or a box that says that there is none."""
    if data is None:
        return f'<p class="empty" style="height:{SHOWN_HEIGHT}px">{escape(alt)}: no picture kept</p>'
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" alt="{escape(alt)}">'
