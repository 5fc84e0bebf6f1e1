"""The hits of a search as one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from crosscam.calibration.calibration import Verdict
from crosscam.data.records import JUNK_PID
from crosscam.gallery.entries import Entry, Hit
from crosscam.models.output import Layout
from crosscam.report.shell import html_page, origin_html, write_page
from crosscam.report.strip_view import SHOWN_HEIGHT, bars_legend, profile_bars
from crosscam.retrieval.contributions import BodyProfile, body_profile

# Seconds above this are dates: seconds from the start of a video stay below ten years.
FIRST_DATE = 3e8

Likelihood = tuple[Verdict | None, float | None]
"""Same, unsure or other, and the probability of the same person; None where nothing tells."""


def write_hits(
    path: Path,
    queries: Sequence[bytes],
    hits: Sequence[Hit],
    thumbnails: Mapping[int, bytes | None],
    layout: Layout,
    *,
    subtitle: str,
    verdicts: Sequence[Likelihood] = (),
    pid: int | None = None,
) -> None:
    """Write the page; arguments as for :func:`render_hits`.

    Raises:
        CrosscamError: the file cannot be written.
    """
    write_page(path, render_hits(queries, hits, thumbnails, layout, subtitle=subtitle, verdicts=verdicts, pid=pid))


def render_hits(
    queries: Sequence[bytes],
    hits: Sequence[Hit],
    thumbnails: Mapping[int, bytes | None],
    layout: Layout,
    *,
    subtitle: str,
    title: str = "Hits of a search",
    verdicts: Sequence[Likelihood] = (),
    judged: Mapping[str, Sequence[Entry]] = MappingProxyType({}),
    origin: Mapping[str, str] = MappingProxyType({}),
    pid: int | None = None,
) -> str:
    """The page as text.

    Args:
        queries: JPEG pictures of what was searched for.
        hits: nearest first.
        thumbnails: JPEG pictures by the id of the entry, None where there is none.
        layout: blocks of the hits' contributions.
        subtitle: what was searched, in a sentence.
        title: plain text.
        verdicts: one for each hit; none for no verdicts.
        judged: entries that somebody judged, by what was said; they are not among the hits.
        origin: how the page was made, by name.
        pid: identity of the query, for right and wrong; None where it is unknown.
    """
    profile = body_profile(np.array([hit.contributions for hit in hits]).reshape(len(hits), len(layout)), layout)
    said = verdicts or [(None, None)] * len(hits)
    tiles = [
        _tile(n, hit, thumbnails, profile, verdict, is_right(pid, hit.entry.pid))
        for n, (hit, verdict) in enumerate(zip(hits, said, strict=True))
    ]
    found = f'<ol class="hits">{"".join(tiles)}</ol>' if tiles else '<p class="empty">Nothing was found.</p>'
    asked = "".join(
        f"<figure>{picture_html(data, f'Query {n}')}<figcaption>query{f' {n}' if len(queries) > 1 else ''}</figcaption>"
        "</figure>"
        for n, data in enumerate(queries, start=1)
    )
    lead = bars_legend() if tiles else ""
    sections = {"hits": ("Nearest first", lead + found)}
    for name, entries in judged.items():
        shown = "".join(_judged_tile(entry, name, thumbnails) for entry in entries)
        sections |= {name.lower(): (name, f'<ol class="hits">{shown}</ol>')} if shown else {}
    if origin:
        sections["origin"] = ("Where this comes from", origin_html(origin))
    asked = f'<div class="asked">{asked}</div>'
    return html_page("search", title, subtitle, sections, lead=asked, styles=("hits.css",))


def when(time: float | None) -> str:
    """A time as people write it: a date for seconds of the Unix epoch, else seconds; nothing for None."""
    if time is None:
        return ""
    if time < FIRST_DATE:
        return f"{time:,.1f} s"
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time:.0f} s"


def chance(value: float | None) -> str:
    """A probability, not rounded to certainty."""
    if value is None:
        return ""
    if value < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if value > 0.999 else f"{100 * value:.1f} %"


def is_right(pid: int | None, other: int | None) -> bool | None:
    """Whether two identities are one; None where one is unknown or junk."""
    return None if pid is None or other is None or JUNK_PID in (pid, other) else pid == other


def _tile(
    n: int,
    hit: Hit,
    thumbnails: Mapping[int, bytes | None],
    profile: BodyProfile,
    said: Likelihood,
    right: bool | None,
) -> str:
    entry, (verdict, probability) = hit.entry, said
    again = "" if hit.reranked is None else f" · re-ranked {hit.reranked:.3f}"
    chip = f'<br><span class="verdict {verdict}">{verdict}</span> {escape(chance(probability))}' if verdict else ""
    kind, mark = {None: ("", ""), True: (" right", "<br><b>✓ right</b>"), False: (" wrong", "<br><b>✗ wrong</b>")}[
        right
    ]
    alone = "" if hit.pooled == 1 else f"<br>{hit.pooled:,} pictures"
    frame = _frame(entry, f"Rank {n + 1}", thumbnails)
    return (
        f'<li class="tile{kind}" title="{escape(entry.path)}"><div class="pair">{frame}'
        f'{profile_bars(profile, n, profile.longest)}</div><p class="caption"><b>{n + 1:,}</b> · d {hit.distance:.3f}'
        f"{again}{mark}{chip}<br>{'<br>'.join(escape(line) for line in _lines(entry))}{alone}</p></li>"
    )


def _judged_tile(entry: Entry, name: str, thumbnails: Mapping[int, bytes | None]) -> str:
    lines = "<br>".join(escape(line) for line in _lines(entry))
    return (
        f'<li class="tile" title="{escape(entry.path)}">{_frame(entry, name, thumbnails)}'
        f'<p class="caption">{lines}</p></li>'
    )


def _frame(entry: Entry, what: str, thumbnails: Mapping[int, bytes | None]) -> str:
    shown = picture_html(thumbnails.get(entry.id), f"{what}: entry {entry.id}, camera {entry.camera_label}")
    return f'<div class="frame">{shown}</div>'


def _lines(entry: Entry) -> list[str]:
    lines = [f"entry {entry.id}", PurePosixPath(entry.path).name, f"cam {entry.camera_label}"]
    lines += [f"id {entry.pid}"] if entry.pid is not None else []
    lines += [when(entry.time)] if entry.time is not None else []
    return lines + ([f"track {entry.track}"] if entry.track is not None else [])


def picture_html(data: bytes | None, alt: str) -> str:
    """A JPEG picture, or a box that says that there is none."""
    if data is None:
        return f'<p class="empty" style="height:{SHOWN_HEIGHT}px">{escape(alt)}: no picture kept</p>'
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" alt="{escape(alt)}">'
