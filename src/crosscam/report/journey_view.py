"""A person's journey in words and as a timeline, for every page that shows it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from crosscam.gallery.journey_records import Person, TrackSeen
from crosscam.report.hits import when

# Of the timeline, in pixels.
LABEL, LENGTH, LANE, BAR, LEAST = 110, 560, 26, 14, 4


@dataclass(frozen=True)
class Way:
    """How many went from one camera to the next, and how long that took them."""

    start: str
    end: str
    people: int
    seconds: float


def ways_of(people: Iterable[Person]) -> list[Way]:
    """The ways between cameras, the most used first."""
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for person in people:
        for one, other in pairwise(person.tracks):
            if one.camera != other.camera and one.end is not None and other.start is not None:
                gaps[one.camera, other.camera].append(other.start - one.end)
    found = [Way(*way, len(some), statistics.median(some)) for way, some in gaps.items()]
    return sorted(found, key=lambda way: (-way.people, way.start, way.end))


def gap_before(person: Person, place: int) -> str:
    """The time between a track and the one before it, in words; empty for the first, and without times."""
    if not place:
        return ""
    before, track = person.tracks[place - 1], person.tracks[place]
    if before.end is None or track.start is None:
        return ""
    gap = track.start - before.end
    return f"{duration(gap)} later" if gap >= 0 else f"{duration(-gap)} before that ended"


def duration(seconds: float) -> str:
    """For example ``5.8 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def clock_of(seconds: float | None, dated: bool = False) -> str:
    """The time of day of a date, or a duration; with the date where that is needed."""
    text = when(seconds).removesuffix(" UTC")
    return text if dated else text.partition(" ")[2] or text


def times_of(track: TrackSeen, dated: bool = False) -> str:
    """From when to when a track was seen."""
    if track.start is None:
        return "no time"
    first, last = clock_of(track.start, dated), clock_of(track.end)
    return first if clock_of(track.start) == last else f"{first} to {last}"


def several_days(person: Person) -> bool:
    """Whether times of day alone would mix up days."""
    days = {when(t.start).partition(" ")[0] for t in person.tracks if t.start is not None}
    return len(days) > 1


def timeline(person: Person) -> str:
    """A person's tracks as bars over time, a lane for each camera; with the same in words."""
    timed = [track for track in person.tracks if track.start is not None and track.end is not None]
    if not timed:
        return ""
    first, last = min(t.start or 0.0 for t in timed), max(t.end or 0.0 for t in timed)
    scale = LENGTH / max(last - first, 1e-9)
    lanes = {camera: row for row, camera in enumerate(dict.fromkeys(t.camera for t in timed))}
    height = LANE * len(lanes) + 22
    parts = []
    for camera, row in lanes.items():
        top = LANE * row
        parts.append(f'<text class="end" x="{LABEL - 10}" y="{top + 17}">{escape(_short(camera))}</text>')
        parts.append(f'<path class="grid" d="M{LABEL} {top + LANE / 2}H{LABEL + LENGTH}"/>')
    for track, link in zip(person.tracks, person.links, strict=True):
        if track.start is None or track.end is None:
            continue
        x, y = LABEL + scale * (track.start - first), LANE * lanes[track.camera] + (LANE - BAR) / 2
        width = max(LEAST, scale * (track.end - track.start)) if last > first else LENGTH
        sure = link is None or link.confirmed or link.probability is not None
        mark = "seen" if sure else "seen doubtful"
        parts.append(f'<rect class="{mark}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" rx="3"/>')
    dated = several_days(person)
    parts.append(f'<text x="{LABEL}" y="{height - 4}">{escape(clock_of(first, dated))}</text>')
    parts.append(f'<text class="end" x="{LABEL + LENGTH}" y="{height - 4}">{escape(clock_of(last, dated))}</text>')
    words = "; ".join(f"{track.camera} {times_of(track, dated)}" for track in timed)
    label = escape(f"Timeline of person {person.number}: {words}")
    size = f'width="{LABEL + LENGTH + 10}" height="{height}" viewBox="0 0 {LABEL + LENGTH + 10} {height}"'
    return f'<svg class="timeline" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"
