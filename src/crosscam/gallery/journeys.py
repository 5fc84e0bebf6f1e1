"""People on their way from camera to camera: linking a gallery's tracks, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from crosscam.errors import GalleryError
from crosscam.gallery.entries import Entry, Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journey_records import Journeys, Link, Person, Proposal, TrackSeen, other_end
from crosscam.gallery.people import Decision, Evidence, KeptTrack, Pair, People, without
from crosscam.gallery.people_document import DOCUMENT, as_document, read_people
from crosscam.gallery.track_table import span, track_key

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
