"""What the page shows of people's journeys, and what users decide there."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from crosscam.errors import WebError
from crosscam.gallery import Gallery, Journeys, read_journeys
from crosscam.gallery.journey_records import Person, TrackSeen
from crosscam.gallery.journeys import decide
from crosscam.gallery.people import Decision, People
from crosscam.report.hits import when
from crosscam.web.audit import AuditLog

Said = Literal["confirm", "split", "merge", "apart", "undo"]
# Of the timeline, in pixels.
LABEL, LENGTH, LANE, BAR, LEAST = 110, 560, 26, 14, 4


@dataclass(frozen=True)
class Way:
    """How many went from one camera to the next, and how long that took them."""

    start: str
    end: str
    people: int
    seconds: float


class JourneyBook:
    """The journeys of a gallery.

    Args:
        gallery: opened for reading.
        writing: opens it for writing for a moment.
        audit: where decisions are noted.
    """

    def __init__(
        self, gallery: Gallery, writing: Callable[[], AbstractContextManager[Gallery]], audit: AuditLog
    ) -> None:
        self._gallery, self._writing, self._audit = gallery, writing, audit

    def read(self) -> Journeys:
        """People and proposals as they are now."""
        return read_journeys(self._gallery)

    def decide(self, said: Said, people: tuple[int, ...], tracks: tuple[int, ...], who: str) -> None:
        """Keep what a user decided.

        Args:
            said: what.
            people: one person to confirm, two to merge or keep apart.
            tracks: to split off, by their first entries.
            who: decides.
        Raises:
            WebError: too few people or tracks.
            ValueError: people or tracks that are not there.
        """
        needed = {"confirm": 1, "merge": 2, "apart": 2}.get(said, 0)
        if len(people) < needed:
            raise WebError("Say which other person it is, by number.")
        if said == "split" and not tracks:
            raise WebError("No track is ticked. Tick the tracks that are another person.")
        self._audit.write(who, "journeys", said=said, people=list(people[:needed]), tracks=list(tracks))

        def change(kept: People, who: str, moment: str) -> People:
            if said == "split":
                return kept.split(tracks, who, moment)
            if said == "undo":
                return kept.undo()
            if said == "confirm":
                return kept.confirm(people[0], who, moment)
            return (kept.merge if said == "merge" else kept.apart)(people[0], people[1], who, moment)

        with self._writing() as gallery:
            decide(gallery, change, who)


def in_words(decision: Decision) -> str:
    """What was decided, as one clause."""
    tracks = "1 track" if len(decision.tracks) == 1 else f"{len(decision.tracks)} tracks"
    said = {
        "confirm": f"person {decision.source} was confirmed",
        "split": f"{tracks} of person {decision.source} became person {decision.target}",
        "merge": f"person {decision.source} became part of person {decision.target}",
        "apart": f"people {decision.source} and {decision.target} were kept apart",
    }
    moment = decision.when[:16].replace("T", " ")
    return f"{said[decision.kind]}, by {decision.who}, {moment} UTC"


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


def timeline(person: Person) -> Markup:
    """A person's tracks as bars over time, a lane for each camera; with the same in words."""
    timed = [track for track in person.tracks if track.start is not None and track.end is not None]
    if not timed:
        return Markup("")
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
    return Markup(f'<svg class="timeline" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>')


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"
