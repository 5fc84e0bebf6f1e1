"""The hits of a search as one self-contained page."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from crosscam.errors import CrosscamError
from crosscam.explain.parts import BodyProfile, body_profile
from crosscam.gallery.records import Entry, Hit
from crosscam.models.output import Layout
from crosscam.report.strip_view import SHOWN_HEIGHT, profile_bars

STYLE = """
.hits { display: flex; flex-wrap: wrap; gap: 18px 12px; list-style: none; margin: 0; padding: 0; }
.hits .tile { width: 104px; }
.hits .frame { overflow: hidden; width: 70px; }
.hits img, .asked img { height: 128px; width: 64px; object-fit: contain; background: var(--line); }
.asked { display: flex; gap: 8px; flex-wrap: wrap; margin-top: 18px; }
.hits .caption { overflow-wrap: anywhere; }
"""
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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(render_hits(queries, hits, thumbnails, layout, subtitle), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise CrosscamError(f"Cannot write the hits to {path}: {error.strerror or error}.") from error


def render_hits(
    queries: Sequence[bytes], hits: Sequence[Hit], thumbnails: Sequence[bytes | None], layout: Layout, subtitle: str
) -> str:
    """The page as text; arguments as for :func:`write_hits`."""
    style = resources.files("crosscam.report").joinpath("style.css").read_text(encoding="utf-8") + STYLE
    profile = body_profile(np.array([hit.contributions for hit in hits]).reshape(len(hits), len(layout)), layout)
    unit = max(float(profile.bands.max(initial=0.0)), float(profile.whole.max(initial=0.0))) or 1.0
    tiles = [_tile(n, hit, thumbnails[n], profile, unit) for n, hit in enumerate(hits)]
    found = f'<ol class="hits">{"".join(tiles)}</ol>' if tiles else '<p class="empty">Nothing was found.</p>'
    asked = "".join(_picture(data, f"Query {n}") for n, data in enumerate(queries, start=1))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>Hits of a search</title><style>{style}</style></head><body>"
        '<header><p class="brand">crosscam · search</p><h1>Hits of a search</h1>'
        f'<p class="subtitle">{escape(subtitle)}</p><div class="asked">{asked}</div></header>'
        f'<main><section aria-labelledby="hits"><h2 id="hits">Nearest first</h2>'
        '<p class="lead">Beside each picture: how much the rows at that height, and the whole picture (grey, below), '
        "add to the squared distance d². A short bar: here the two agree.</p>"
        f"{found}</section></main></body></html>\n"
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
        f"{_picture(thumbnail, f'Rank {n + 1}: entry {entry.id}, camera {entry.camid}')}</div>"
        f'{profile_bars(profile, n, unit)}</div><p class="caption"><b>{n + 1:,}</b> · d {hit.distance:.3f}{again}<br>'
        f"{'<br>'.join(escape(line) for line in _lines(entry))}{alone}</p></li>"
    )


def _lines(entry: Entry) -> list[str]:
    lines = [f"entry {entry.id}", f"cam {entry.camid}"]
    lines += [f"id {entry.pid}"] if entry.pid is not None else []
    lines += [when(entry.time)] if entry.time is not None else []
    return lines + ([f"track {entry.track}"] if entry.track is not None else [])


def _picture(data: bytes | None, alt: str) -> str:
    if data is None:
        return f'<p class="empty" style="height:{SHOWN_HEIGHT}px">{escape(alt)}: no picture kept</p>'
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" alt="{escape(alt)}">'
