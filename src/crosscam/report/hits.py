"""The hits of a search as one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
from markupsafe import Markup

from crosscam.calibration.calibration import Verdict
from crosscam.data.records import JUNK_PID
from crosscam.gallery.entries import Entry, Hit
from crosscam.gallery.fragments import shown_name
from crosscam.models.output import Layout
from crosscam.report.image_tiles import SHOWN_HEIGHT, profile_bars
from crosscam.report.shell import fragment, html_page, origin_html, write_page
from crosscam.retrieval.contributions import body_profile
from crosscam.system.text import FIRST_DATE

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
    """Write the page of :func:`render_hits`; CrosscamError if that fails."""
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
        queries: JPEG images of what was searched for.
        hits: nearest first.
        thumbnails: JPEG images by the id of the entry, None where there is none.
        layout: blocks of the hits' contributions.
        subtitle: what was searched, in a sentence.
        verdicts: one for each hit; none for no verdicts.
        judged: entries that somebody judged, by what was said; they are not among the hits.
        origin: how the page was made, by name.
        pid: identity of the query, for right and wrong; None where it is unknown.
    """
    profile = body_profile(np.array([hit.contributions for hit in hits]).reshape(len(hits), len(layout)), layout)
    said = verdicts or [(None, None)] * len(hits)
    tiles = [
        _tile(hit.entry, f"Rank {n + 1}", thumbnails)
        | {"hit": hit, "rank": f"{n + 1:,}", "bars": profile_bars(profile, n, profile.longest)}
        | {"verdict": verdict, "chance": chance(probability), "right": is_right(pid, hit.entry.pid)}
        for n, (hit, (verdict, probability)) in enumerate(zip(hits, said, strict=True))
    ]
    shown = fragment("hits.html", "tiles", tiles=tiles, height=SHOWN_HEIGHT, ranked=True)
    sections = {"hits": ("Nearest first", shown)}
    for name, entries in judged.items():
        if entries:
            tiles = [_tile(entry, name, thumbnails) for entry in entries]
            shown = fragment("hits.html", "tiles", tiles=tiles, height=SHOWN_HEIGHT, ranked=False)
            sections[name.lower()] = (name, shown)
    if origin:
        sections["origin"] = ("Where this comes from", origin_html(origin))
    asked = fragment("hits.html", "asked", images=[image_uri(data) for data in queries], height=SHOWN_HEIGHT)
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


def _tile(entry: Entry, what: str, thumbnails: Mapping[int, bytes | None]) -> dict[str, object]:
    """What is shown of an entry; a hit adds its rank, its bars and its verdict."""
    image = image_uri(thumbnails.get(entry.id))
    alt = f"{what}: entry {entry.id}, camera {entry.camera_label}"
    shown = {"path": entry.path, "image": image, "alt": alt, "lines": _lines(entry)}
    return shown | {"hit": None, "right": None, "bars": Markup("")}


def _lines(entry: Entry) -> list[str]:
    lines = [f"entry {entry.id}", shown_name(entry.path), f"cam {entry.camera_label}"]
    lines += [f"id {entry.pid}"] if entry.pid is not None else []
    lines += [when(entry.time)] if entry.time is not None else []
    return lines + ([f"track {entry.track}"] if entry.track is not None else [])


def image_uri(data: bytes | None) -> str:
    """A JPEG or WebP image as a data URI; empty for None."""
    if data is None:
        return ""
    kind = "webp" if data[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
