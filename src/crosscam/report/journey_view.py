"""A person's journey in words and as a timeline, and the ways between cameras, for every page that shows them."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup
from rich.cells import cell_len, set_cell_size

from crosscam.gallery.fragments import clock_span
from crosscam.gallery.journeys import Journeys, Link, Person, Proposal, TrackSeen, in_percent, seconds_between
from crosscam.report.hits import when
from crosscam.report.shell import fragment
from crosscam.system.text import counted, on_one_clock

# Images of one track that are shown, the most typical first.
IMAGES = 4
# Of the timeline, in pixels.
LABEL, LENGTH, LANE, BAR, LEAST = 130, 560, 26, 14, 4
# Of the drawing of cameras: more of them than this tell nothing; its sizes.
MOST_CAMERAS = 12
WIDTH, RING_WIDTH, RING_HEIGHT, MARGIN = 640, 210.0, 120.0, 46.0
# How far arrows bend, and end before a camera; of a head, length and half width; of the most used way, width.
BEND, SHORT, HEAD, HALF_HEAD, WIDEST = 0.16, 13.0, 13.0, 7.5, 6.0

_Point = tuple[float, float]


@dataclass(frozen=True)
class StepView:
    """A track of a person: from when to when, how long after the one before, and what links it to an earlier one."""

    track: TrackSeen
    link: Link | None
    times: str
    gap: str

    @property
    def doubtful(self) -> bool:
        """Whether nothing but a decision that was taken back or overruled holds it to the person."""
        return _is_doubtful(self.link)

    @property
    def chance(self) -> str:
        """How probable the link is; empty where nothing tells."""
        return chance_of(self.link)

    @property
    def shown(self) -> tuple[int, ...]:
        """The entries whose images are shown: the most typical one, then the others in their order."""
        track = self.track
        return (track.best, *(entry for entry in track.entries if entry != track.best))[:IMAGES]


@dataclass(frozen=True)
class PersonView:
    """A person: the facts in words, the tracks, and who else it perhaps is (number and probability)."""

    person: Person
    facts: str
    steps: tuple[StepView, ...]
    perhaps: tuple[tuple[int, str], ...]

    @property
    def timeline(self) -> Markup:
        """The tracks as bars over time."""
        return timeline(self.person)


@dataclass(frozen=True)
class ProposalView:
    """Two people who are perhaps one; of each the number, the track that speaks for it, and its times."""

    first: int
    second: int
    link: Link
    chance: str
    sides: tuple[tuple[int, TrackSeen, str], ...]


def person_view(found: Journeys, person: Person) -> PersonView:
    """A person of the journeys as pages show it."""
    dated = several_days(person)
    start = person.tracks[0].start
    day = "" if start is None or dated else day_of(start)
    facts = f"{counted(len(person.tracks), 'track')} at {', '.join(person.cameras)}" + f", {day}" * bool(day)
    steps = tuple(
        StepView(track, link, times_of(track, dated), gap_before(person, place))
        for place, (track, link) in enumerate(zip(person.tracks, person.links, strict=True))
    )
    perhaps = tuple(
        (p.second if p.first == person.number else p.first, chance_of(p.link))
        for p in found.proposals
        if person.number in (p.first, p.second)
    )
    return PersonView(person, facts, steps, perhaps)


def proposal_view(found: Journeys, proposal: Proposal) -> ProposalView:
    """A proposal as pages show it."""
    names = (proposal.link.first, proposal.link.second)
    people = [(number, found.person(number)) for number in (proposal.first, proposal.second)]
    sides = tuple(
        (number, track, times_of(track, True))
        for number, person in people
        for track in (person.tracks if person else ())
        if track.name in names
    )
    return ProposalView(proposal.first, proposal.second, proposal.link, chance_of(proposal.link), sides)


def chance_of(link: Link | None) -> str:
    """The probability of a link in words; empty where nothing tells."""
    return "" if link is None or link.probability is None else in_percent(link.probability)


@dataclass(frozen=True)
class Way:
    """How many went from one camera to the next, how long that took them, and when the first and the last left."""

    start: str
    end: str
    people: int
    seconds: float
    first: float
    last: float

    @property
    def usual(self) -> str:
        """How long it takes, in words."""
        return duration(self.seconds)

    @property
    def when(self) -> str:
        """When the way was walked, in words; dates are told where they differ."""
        dated = day_of(self.first) != day_of(self.last)
        first, last = (clock_of(t, dated) for t in (self.first, self.last))
        return first if first == last else f"{first} to {last}"


def ways_of(people: Iterable[Person]) -> list[Way]:
    """The ways between cameras, the most used first."""
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    left: dict[tuple[str, str], list[float]] = defaultdict(list)
    for person in people:
        for one, other in pairwise(person.tracks):
            gap = seconds_between(one, other)
            if one.camera != other.camera and gap is not None and one.end is not None:
                gaps[one.camera, other.camera].append(gap)
                left[one.camera, other.camera].append(one.end)
    found = [
        Way(*way, len(some), statistics.median(some), min(left[way]), max(left[way])) for way, some in gaps.items()
    ]
    return sorted(found, key=lambda way: (-way.people, way.start, way.end))


def gap_before(person: Person, place: int) -> str:
    """The time between a track and the one before it, in words; empty for the first, and without times."""
    if not place:
        return ""
    gap = seconds_between(person.tracks[place - 1], person.tracks[place])
    if gap is None:
        return ""
    return f"{duration(gap)} later" if gap >= 0 else f"{duration(-gap)} before that ended"


def duration(seconds: float) -> str:
    """For example ``5.8 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def clock_of(seconds: float | None, dated: bool = False) -> str:
    """The time of day of a date, or a duration; with the date where that is needed."""
    text = when(seconds).removesuffix(" UTC")
    return text if dated else text.removeprefix(day_of(seconds)).strip()


def day_of(seconds: float | None) -> str:
    """The date of a time; empty where it counts from the first frame of a video."""
    text = when(seconds)
    return text.partition(" ")[0] if text.endswith(" UTC") else ""


def times_of(track: TrackSeen, dated: bool = False) -> str:
    """From when to when a track was seen."""
    if track.start is None:
        return "no time"
    overnight = day_of(track.start) != day_of(track.end)
    first, last = clock_of(track.start, dated), clock_of(track.end, overnight)
    return first if clock_of(track.start) == last else f"{first} to {last}"


def several_days(person: Person) -> bool:
    """Whether times of day alone would mix up days."""
    days = {day_of(time) for t in person.tracks for time in (t.start, t.end) if time is not None}
    return len(days) > 1


def timeline(person: Person) -> Markup:
    """Bars over time, a lane for each camera, and in words; of one clock (dates first). Empty without times."""
    pairs = zip(person.tracks, person.links, strict=True)
    timed = [(track, link) for track, link in pairs if track.start is not None and track.end is not None]
    span = clock_span([t for track, _ in timed for t in (track.start or 0.0, track.end or 0.0)])
    if span is None:
        return Markup("")
    first, last = span
    timed = [(track, link) for track, link in timed if on_one_clock(track.start or 0.0, first)]
    scale = LENGTH / max(last - first, 1e-9)
    lanes = {camera: row for row, camera in enumerate(dict.fromkeys(track.camera for track, _ in timed))}
    bars = []
    for track, link in timed:
        start, end = track.start or 0.0, track.end or 0.0
        x, y = LABEL + scale * (start - first), LANE * lanes[track.camera] + (LANE - BAR) / 2
        width = max(LEAST, scale * (end - start)) if last > first else LENGTH
        bars.append({"x": x, "y": y, "width": width, "height": BAR, "doubtful": _is_doubtful(link)})
    dated = several_days(person)
    words = "; ".join(f"{track.camera} {times_of(track, dated)}" for track, _ in timed)
    ends = {"first": clock_of(first, dated), "last": clock_of(last, dated)}
    sizes = {"left": LABEL, "length": LENGTH, "lane": LANE}
    names, label = [_short(camera, 14) for camera in lanes], f"Timeline of person {person.number}: {words}"
    return fragment("journeys.html", "timeline", label=label, lanes=names, bars=bars, **ends, **sizes)


def _is_doubtful(link: Link | None) -> bool:
    return link is not None and not link.confirmed and link.probability is None


def _short(name: str, most: int) -> str:
    return name if cell_len(name) <= most else set_cell_size(name, most - 1).rstrip() + "…"  # 入 is two cells wide


def camera_graph(ways: Sequence[Way]) -> Markup:
    """Cameras on a ring, an arrow for each way, wider the more often it was walked; empty with too many cameras."""
    cameras = sorted({name for way in ways for name in (way.start, way.end)})
    if not ways or len(cameras) > MOST_CAMERAS:
        return Markup("")
    ring = RING_HEIGHT if len(cameras) > 2 else 20.0
    height = 2 * (ring + MARGIN)
    places = _places(cameras, (WIDTH / 2, height / 2), ring)
    most = max(way.people for way in ways)
    # The most used way is drawn last, over the others.
    arrows = [_arrow(way, places, most) for way in reversed(ways)]
    dots = [
        {"x": x, "y": y, "words_y": y + (24 if y > height / 2 + 1 else -15), "name": _short(name, 22)}
        for name, (x, y) in places.items()
    ]
    words = "; ".join(f"{way.start} to {way.end} {counted(way.people, 'time')}" for way in ways)
    label = f"Cameras and ways: {words}"
    return fragment(
        "journeys.html", "camera_graph", label=label, width=WIDTH, height=height, arrows=arrows, cameras=dots
    )


def _places(cameras: Sequence[str], middle: _Point, ring: float) -> dict[str, _Point]:
    """On a ring, beginning at the left where there are two, else at the top."""
    begin = math.pi if len(cameras) == 2 else -math.pi / 2
    angles = [begin + 2 * math.pi * i / len(cameras) for i in range(len(cameras))]
    return {
        name: (middle[0] + RING_WIDTH * math.cos(angle), middle[1] + ring * math.sin(angle))
        for name, angle in zip(cameras, angles, strict=True)
    }


def _arrow(way: Way, places: dict[str, _Point], most: int) -> dict[str, object]:
    """A bent arrow with the number of walks; the way back bends to the other side."""
    (x0, y0), (x1, y1) = places[way.start], places[way.end]
    length = math.hypot(x1 - x0, y1 - y0)
    bend = max(BEND * length, 18.0) / length
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    begin, tip = _towards((x0, y0), control, SHORT), _towards((x1, y1), control, SHORT)
    end = _towards(tip, control, HEAD)
    across = _unit(control, tip)
    side = (-across[1] * HALF_HEAD, across[0] * HALF_HEAD)
    head = f"M{_xy(tip)}L{_xy((end[0] + side[0], end[1] + side[1]))}L{_xy((end[0] - side[0], end[1] - side[1]))}Z"
    width = 1.5 + (WIDEST - 1.5) * way.people / most
    middle = ((begin[0] + 2 * control[0] + end[0]) / 4, (begin[1] + 2 * control[1] + end[1]) / 4 + 4)
    drawn = f"M{_xy(begin)}Q{_xy(control)} {_xy(end)}"
    return {"way": drawn, "head": head, "width": width, "x": middle[0], "y": middle[1], "count": way.people}


def _towards(start: _Point, end: _Point, by: float) -> _Point:
    x, y = _unit(start, end)
    return start[0] + by * x, start[1] + by * y


def _unit(start: _Point, end: _Point) -> _Point:
    x, y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(x, y) or 1.0
    return x / length, y / length


def _xy(point: _Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
