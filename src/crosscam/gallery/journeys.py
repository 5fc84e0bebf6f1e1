"""People on their way from camera to camera: linking a gallery's tracks, and what came of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from crosscam.data.text_files import harmless
from crosscam.errors import GalleryError
from crosscam.gallery.calibrated import calibration_of, is_from_elsewhere, shipped_calibration
from crosscam.gallery.entries import Entry, Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.linking import Judge, Linked, Linker, LinkOptions, calibrated_judge, plain_judge
from crosscam.gallery.people import (
    DOCUMENT,
    Decision,
    Evidence,
    KeptTrack,
    Pair,
    People,
    as_document,
    read_people,
    renamed,
    without,
)
from crosscam.gallery.track_table import Tracks, span, track_key, tracks_of
from crosscam.gallery.transits import Transits
from crosscam.system.columns import Column, Columns, Tabular


@dataclass(frozen=True)
class TrackSeen:
    """One track of a person.

    Attributes:
        name: its first entry, by which decisions name it.
        camid, camera: where; ``camera`` is the name, or the number as a text.
        track: its name within the camera; None for a single picture.
        start, end: first and last time in seconds, None where no entry has one.
        entries: all its entries.
        best: the entry whose picture is the most typical.
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
                "int", [link and _other_end(link, t.name) for t, link in zip(tracks, links, strict=True)]
            ),
            "probability": Column("float", [link and link.probability for link in links]),
            "confirmed": Column("int", [None if link is None else int(link.confirmed) for link in links]),
            "reasons": Column("text", [link and "; ".join(link.reasons) for link in links]),
        }


def _other_end(link: Link, name: int) -> int:
    return link.second if link.first == name else link.first


@dataclass(frozen=True)
class LinkRun:
    """What a run of :func:`link_gallery` did.

    Attributes:
        new_tracks: that no run had seen before.
        new_people: numbers given.
        joined: new tracks that were linked to people of an earlier run.
        transits: that were used.
        told: what the distances rest on, one sentence.
    """

    new_tracks: int
    new_people: int
    joined: int
    transits: Transits
    told: str


def link_gallery(
    gallery: Gallery,
    options: LinkOptions | None = None,
    *,
    transits: Transits | None = None,
    again: bool = False,
) -> LinkRun:
    """Link the tracks of a gallery to people, and keep the result with it.

    Tracks that an earlier run has seen stay with their people; new ones join them, or become new people.

    Args:
        gallery: opened for writing.
        options: see there.
        transits: usual times between cameras; None learns them.
        again: link all tracks anew; what users decided holds, and people keep their number where most tracks stay.
    Raises:
        GalleryError: not opened for writing, or damaged.
    """
    options = options or LinkOptions()
    tracks = tracks_of(gallery)
    people = _with_present_tracks(read_people(gallery.document(DOCUMENT)), tracks)
    persons = np.array([people.tracks[e[0]].person if e[0] in people.tracks else 0 for e in tracks.entries], np.int64)
    before = persons
    if again:
        persons = np.zeros_like(persons)
    place = {entries[0]: number for number, entries in enumerate(tracks.entries)}
    together, apart = _constraints(people, place)
    judge = judge_of(gallery, tracks, options)
    compared = [(place[e.first], place[e.second]) for e in people.evidence]
    linker = Linker(tracks, judge, options, persons=persons, together=together, apart=apart, compared=compared)
    linked = linker.link(transits)
    numbers, next_person = _numbers(linked, before, people.next)
    kept = {
        tracks.entries[member][0]: KeptTrack(numbers[k], int(tracks.best[member]), tracks.entries[member])
        for k, (members, _) in enumerate(linked.clusters)
        for member in members
    }
    found = replace(people, next=next_person, tracks=kept)
    found = replace(found, evidence=_evidence(found, linked, [] if again else people.evidence))
    document = as_document(found)
    if document != gallery.document(DOCUMENT):
        gallery.set_document(DOCUMENT, document)
    new = np.flatnonzero(before == 0)
    joined = sum(kept[tracks.entries[n][0]].person < people.next for n in new)
    return LinkRun(len(new), next_person - people.next, int(joined), linked.transits, judge.told)


def judge_of(gallery: Gallery, tracks: Tracks, options: LinkOptions) -> Judge:
    """By the gallery's calibration, if it has one of its own cameras and no distance is given.

    Else by the distances of the tracks themselves; by the calibration that the network came with where they are few.
    """
    calibration, _ = calibration_of(gallery)
    if calibration is not None and options.distance is None and not is_from_elsewhere(gallery, calibration):
        return calibrated_judge(calibration)
    plain = plain_judge(tracks, options)
    shipped = shipped_calibration(gallery.model.fingerprint) if plain.guessed else None
    if shipped is None:
        return plain
    told = (
        f"Not calibrated: for there are few tracks, distances mean here what they do at the cameras of "
        f"{shipped.origin.data}, of which the network's own calibration is. Probabilities are rough; 'crosscam "
        "calibrate', or answers on the Calibration page, make them better."
    )
    return replace(calibrated_judge(shipped), told=told, elsewhere=True)


def _with_present_tracks(people: People, tracks: Tracks) -> People:
    """The people with the tracks as they are now: with new entries, or other first entries since some were forgotten.

    A track that was cut in two stays one person's on both sides, one that was joined goes to the person of its first
    known entry.
    """
    owner = {entry: name for name, track in people.tracks.items() for entry in track.entries}
    kept: dict[int, KeptTrack] = {}
    names: dict[int, int] = {}
    for entries in tracks.entries:
        known = [owner[entry] for entry in entries if entry in owner]
        if known:
            old = people.tracks[known[0]]
            best = old.best if old.best in entries else entries[0]
            kept[entries[0]] = KeptTrack(old.person, best, entries)
            for name in known:
                names.setdefault(name, entries[0])
    if kept == people.tracks:
        return people
    lost = {entry for name, track in people.tracks.items() if name not in names for entry in track.entries}
    return renamed(without(people, lost), kept, names)


def _constraints(people: People, place: dict[int, int]) -> tuple[list[Pair], list[Pair]]:
    """What users decided, as pairs of tracks: one person, the last decision first, and two people."""
    together: list[Pair] = []
    apart: list[Pair] = []
    for (a, b), decision in people.decided().items():
        (together if decision.same else apart).append((place[a], place[b]))
    return together[::-1], apart


def _numbers(linked: Linked, before: Any, next_person: int) -> tuple[list[int], int]:
    """A number for each cluster: its own, or that of most of its tracks before, or a new one."""
    numbers = [person or 0 for _, person in linked.clusters]
    claims = []
    for k, (members, person) in enumerate(linked.clusters):
        had = [int(before[member]) for member in members if before[member]]
        claims += [] if person else [(-had.count(number), number, k) for number in set(had)]
    taken = set(numbers)
    for _, number, k in sorted(claims):
        if not numbers[k] and number not in taken:
            numbers[k] = number
            taken.add(number)
    for k, number in enumerate(numbers):
        if not number:
            numbers[k], next_person = next_person, next_person + 1
    return numbers, next_person


def _evidence(people: People, linked: Linked, old: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """The evidence to keep: of links as it was when they were made, of proposals as it is now."""
    kept: dict[Pair, Evidence] = {}
    for e in (*old, *linked.links, *linked.proposals):
        one_person = people.tracks[e.first].person == people.tracks[e.second].person
        if one_person:
            kept.setdefault((e.first, e.second), e)
    for e in linked.proposals:
        kept[e.first, e.second] = e
    return tuple(sorted(kept.values(), key=lambda e: (-e.probability, e.first, e.second)))


# What was kept, with the gallery's own data


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
            other = _other_end(link, name)
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
    tracks = {track_key(entry) for entry in gallery.get(new)} if new else set()
    if tracks:
        tracks -= {track_key(entry) for entry in gallery.get([t.entries[0] for t in people.tracks.values()])}
    return len(tracks)


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


# What users decide


def decide(gallery: Gallery, change: Callable[[People, str, str], People], who: str) -> None:
    """Change who is who, and keep it with the gallery.

    Args:
        gallery: opened for writing.
        change: takes the people, who decides and when, and gives the people after it, such as
            ``lambda people, who, when: people.merge(3, 5, who, when)``.
        who: decides.
    Raises:
        ValueError: tracks or people that are not there.
        GalleryError: no run of ``link`` has made people yet.
    """
    people = read_people(gallery.document(DOCUMENT))
    if not people.tracks:
        raise GalleryError("This gallery has no journeys yet. Make them with 'crosscam link GALLERY'.")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    gallery.set_document(DOCUMENT, as_document(change(people, who, when)))
