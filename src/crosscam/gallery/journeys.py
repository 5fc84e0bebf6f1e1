"""People on their way from camera to camera: records of tracks and links, read from a gallery and decided."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from crosscam.data.text_files import harmless
from crosscam.gallery.entries import Entry, Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.people import Decision, Evidence, KeptTrack, Pair, People, without
from crosscam.gallery.people_document import DOCUMENT, read_people
from crosscam.gallery.track_table import span, track_key
from crosscam.system.columns import Column, Columns, Tabular
from crosscam.system.text import on_one_clock


@dataclass(frozen=True)
class TrackSeen:
    """One track of a person.

    Attributes:
        name: its first entry, by which decisions name it.
        camid, camera: where; ``camera`` is the name, or the number as a text.
        track: its name within the camera; None for a single image.
        start, end: first and last time in seconds, None where no entry has one.
        entries: all its entries.
        best: the entry whose image is the most typical.
    """

    name: int
    camid: int
    camera: str
    track: str | None
    start: float | None
    end: float | None
    entries: tuple[int, ...]
    best: int


@dataclass(frozen=True)
class Link:
    """Why two tracks are one person, or may be.

    Attributes:
        first, second: names of the tracks.
        probability: of one person; None where nothing but a decision holds them together.
        reasons: one short sentence each.
        decision: what a user said about the two last, None where nobody did.
    """

    first: int
    second: int
    probability: float | None
    reasons: tuple[str, ...]
    decision: Decision | None = None

    @property
    def confirmed(self) -> bool:
        """Whether a user said that the two are one person."""
        return self.decision is not None and self.decision.same


@dataclass(frozen=True)
class Person:
    """One person's journey.

    Attributes:
        number: of the person; it stays when tracks are added to the gallery.
        tracks: in the order of time.
        links: one for each track, None for the first: what links it to an earlier track.
    """

    number: int
    tracks: tuple[TrackSeen, ...]
    links: tuple[Link | None, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras in the order of the first visit."""
        return tuple(dict.fromkeys(track.camera for track in self.tracks))

    @property
    def confirmed(self) -> bool:
        """Whether a user confirmed every link."""
        return len(self.tracks) > 1 and all(link is None or link.confirmed for link in self.links)


@dataclass(frozen=True)
class Proposal:
    """Two people who are perhaps one; nothing merges them but a user.

    Attributes:
        first, second: numbers of the people.
        link: of the two tracks that speak for it.
    """

    first: int
    second: int
    link: Link


@dataclass(frozen=True)
class Journeys(Tabular):
    """People and their tracks; a row of a table is a track.

    Attributes:
        people: by number.
        proposals: the most probable first.
        decisions: what users said, in their order.
        unlinked: tracks of the gallery that no run of ``link`` has seen.
    """

    people: tuple[Person, ...]
    proposals: tuple[Proposal, ...]
    decisions: tuple[Decision, ...]
    unlinked: int

    def person(self, number: int) -> Person | None:
        """A person by number."""
        return next((person for person in self.people if person.number == number), None)

    def to_csv(self) -> str:
        """The rows as CSV, by person and time."""
        columns = self._columns()
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        rows = zip(*(column.values for column in columns.values()), strict=True)
        writer.writerows([harmless("" if value is None else value) for value in row] for row in rows)
        return out.getvalue()

    def _columns(self) -> Columns:
        rows = [(p.number, t, link) for p in self.people for t, link in zip(p.tracks, p.links, strict=True)]
        tracks, links = [track for _, track, _ in rows], [link for *_, link in rows]
        return {
            "person": Column("int", [number for number, *_ in rows]),
            "camera": Column("text", [track.camera for track in tracks]),
            "camid": Column("int", [track.camid for track in tracks]),
            "track": Column("text", [track.track for track in tracks]),
            "start": Column("float", [track.start for track in tracks]),
            "end": Column("float", [track.end for track in tracks]),
            "images": Column("int", [len(track.entries) for track in tracks]),
            "first": Column("int", [track.name for track in tracks]),
            "best": Column("int", [track.best for track in tracks]),
            "linked_to": Column(
                "int", [link and other_end(link, t.name) for t, link in zip(tracks, links, strict=True)]
            ),
            "probability": Column("float", [link and link.probability for link in links]),
            "confirmed": Column("int", [None if link is None else int(link.confirmed) for link in links]),
            "reasons": Column("text", [link and "; ".join(link.reasons) for link in links]),
        }


def other_end(link: Link, name: int) -> int:
    return link.second if link.first == name else link.first


def read_journeys(gallery: Gallery) -> Journeys:
    """The people that earlier runs and decisions made of a gallery's tracks."""
    people = read_people(gallery.document(DOCUMENT))
    ids = [entry for track in people.tracks.values() for entry in track.entries]
    entries = {entry.id: entry for entry in gallery.entries(Where(ids=tuple(ids)))} if ids else {}
    people = without(people, set(ids) - entries.keys())
    seen = {name: _seen(name, track, entries) for name, track in people.tracks.items()}
    decided = people.decided()

    def link(e: Evidence) -> Link:
        return Link(e.first, e.second, e.probability, reasons_of(e, seen), decided.get((e.first, e.second)))

    by_person: dict[int, list[int]] = {}
    for name, track in people.tracks.items():
        by_person.setdefault(track.person, []).append(name)
    evidence: dict[int, list[Evidence]] = {}
    for e in people.evidence:
        if people.tracks[e.first].person == people.tracks[e.second].person:
            evidence.setdefault(people.tracks[e.first].person, []).append(e)
    found = tuple(
        _person(number, [seen[name] for name in mine], [link(e) for e in evidence.get(number, [])], decided)
        for number, mine in sorted(by_person.items())
    )
    return Journeys(found, tuple(_proposals(people, link)), people.decisions, _unlinked(gallery, people))


def _seen(name: int, track: KeptTrack, entries: dict[int, Entry]) -> TrackSeen:
    mine = [entries[number] for number in track.entries]
    start, end = span(mine)
    timed = start == start
    first = mine[0]
    return TrackSeen(
        name,
        first.camid,
        first.camera_label,
        first.track,
        start if timed else None,
        end if timed else None,
        track.entries,
        track.best,
    )


def _person(number: int, tracks: list[TrackSeen], links: list[Link], decided: dict[Pair, Decision]) -> Person:
    """A person whose tracks hang together: by the surest links, and else by what a user said."""
    tracks = sorted(tracks, key=lambda t: (float("inf") if t.start is None else t.start, t.name))
    group = {track.name: track.name for track in tracks}

    def root(name: int) -> int:
        while group[name] != name:
            name = group[name]
        return name

    edges: dict[int, list[Link]] = {track.name: [] for track in tracks}

    def tie(link: Link) -> None:
        one, other = root(link.first), root(link.second)
        if one != other and (link.decision is None or link.decision.same):
            group[max(one, other)] = min(one, other)
            edges[link.first].append(link)
            edges[link.second].append(link)

    for link in sorted(
        links, key=lambda each: (not each.confirmed, -(each.probability or 0.0), each.first, each.second)
    ):
        tie(link)
    for track in tracks[1:]:
        a, b = sorted((tracks[0].name, track.name))
        decision = decided.get((a, b))
        said = decision if decision is not None and decision.same else None
        tie(Link(a, b, None, () if said else ("what linked it belongs to another person now",), said))
    return Person(number, tuple(tracks), _links_by_track(tracks, edges))


def _links_by_track(tracks: list[TrackSeen], edges: dict[int, list[Link]]) -> tuple[Link | None, ...]:
    """For each track the link that leads to it from the first one."""
    found: dict[int, Link | None] = {tracks[0].name: None}
    queue = [tracks[0].name]
    for name in queue:
        for link in edges[name]:
            other = other_end(link, name)
            if other not in found:
                found[other] = link
                queue.append(other)
    return tuple(found[track.name] for track in tracks)


def _proposals(people: People, link: Callable[[Evidence], Link]) -> list[Proposal]:
    found: dict[Pair, Proposal] = {}
    for e in people.evidence:
        first, second = sorted((people.tracks[e.first].person, people.tracks[e.second].person))
        made = link(e)
        if first != second and (first, second) not in found and made.decision is None:
            found[first, second] = Proposal(first, second, made)
    return list(found.values())


def _unlinked(gallery: Gallery, people: People) -> int:
    """Tracks that are in no journey yet; looks at new entries alone."""
    known = {entry for track in people.tracks.values() for entry in track.entries}
    new = [number for number in gallery.ids() if number not in known]
    tracks = {track_key(entry) for entry in gallery.entries(Where(ids=tuple(new)))} if new else set()
    if tracks and known:
        first = tuple(track.entries[0] for track in people.tracks.values())
        tracks -= {track_key(entry) for entry in gallery.entries(Where(ids=first))}
    return len(tracks)


def seconds_between(one: TrackSeen, other: TrackSeen) -> float | None:
    """From the end of a track to the beginning of the next; None where they have no times of one clock."""
    if one.end is None or other.start is None or not on_one_clock(one.end, other.start):
        return None
    return other.start - one.end


def reasons_of(e: Evidence, seen: dict[int, TrackSeen]) -> tuple[str, ...]:
    """What speaks for a link and against it, in words."""
    kind = "calibrated" if e.calibrated else "not calibrated"
    found = [f"distance {e.distance:.3f}, by itself {in_percent(e.alone)} ({kind})"]
    if e.gap is not None:
        first, second = sorted((seen[e.first], seen[e.second]), key=lambda t: (t.start or 0.0, t.name))
        way = (
            f"{e.gap:.1f} s from {first.camera} to {second.camera}"
            if e.gap >= 0
            else (f"at {first.camera} and {second.camera} for {-e.gap:.1f} s at the same time")
        )
        usual = "" if e.usual is None else f", usually {e.usual[0]:.1f} s (spread {e.usual[1]:.1f} s)"
        found.append(way + usual)
    if e.rival >= 0.01:
        found.append(f"another candidate has {in_percent(e.rival)}")
    return tuple(found)


def in_percent(probability: float) -> str:
    """A probability in whole per cent, never as a certainty."""
    if probability < 0.01 or probability > 0.99:
        return "< 1 %" if probability < 0.5 else "> 99 %"
    return f"{100 * probability:.0f} %"
