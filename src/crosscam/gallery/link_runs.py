"""What changes who is who, kept with the gallery: a run of linking, which makes people of tracks, and decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from crosscam.errors import GalleryError
from crosscam.gallery.calibrated import calibration_of, is_from_elsewhere, shipped_calibration
from crosscam.gallery.clusters import Linked
from crosscam.gallery.interface import Gallery
from crosscam.gallery.judging import Judge, LinkOptions, Transits, calibrated_judge, plain_judge
from crosscam.gallery.linking import Linker
from crosscam.gallery.local import opened_for_writing
from crosscam.gallery.people import Evidence, KeptTrack, Pair, People, renamed, without
from crosscam.gallery.people_document import DOCUMENT, as_document, read_people
from crosscam.gallery.store import LONG_PATIENCE
from crosscam.gallery.track_table import Tracks, tracks_of

# Times that tracks are linked while others can decide on people.
FREE_TRIES = 2


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

    Tracks that an earlier run has seen stay with their people; new ones join them, or become new people. What is
    forgotten meanwhile is in no result. Where people are decided meanwhile, tracks are linked again, at last while
    nobody else can write.

    Args:
        gallery: opened for reading, it is written at the end alone, so that others can write it before; or opened for
            writing.
        options: see there.
        transits: usual times between cameras; None learns them.
        again: link all tracks anew; what users decided holds, and people keep their number where most tracks stay.
    Raises:
        GalleryBusyError: another program writes the gallery for long.
        GalleryError: cannot be written, or damaged.
    """
    options = options or LinkOptions()
    for _ in range(FREE_TRIES):
        run = _link_once(gallery, options, transits, again)
        if run is not None:
            return run
    with opened_for_writing(gallery, patience=LONG_PATIENCE) as writer:
        run = _link_once(writer, options, transits, again)
    assert run is not None, "nobody else writes"
    return run


def _link_once(gallery: Gallery, options: LinkOptions, transits: Transits | None, again: bool) -> LinkRun | None:
    """Link and keep; None, and nothing kept, where others changed meanwhile what it rests on."""
    ids = gallery.ids()
    before = read_people(gallery.document(DOCUMENT))
    try:
        tracks = tracks_of(gallery)
    except GalleryError:
        if set(ids) <= set(gallery.ids()):
            raise
        return None  # forgotten while they were read
    found, run = _linked(before, tracks, judge_of(gallery, tracks, options), options, transits, again)
    with opened_for_writing(gallery, patience=LONG_PATIENCE) as writer:
        return run if _keep(writer, before, found) else None


def _keep(writer: Gallery, before: People, found: People) -> bool:
    """Keep the people that were found, without what was forgotten since; not if somebody decided on them since."""
    kept = writer.document(DOCUMENT)
    named = {entry for people in (before, found) for track in people.tracks.values() for entry in track.entries}
    gone = named.difference(writer.ids())
    if read_people(kept) != (without(before, gone) if gone else before):
        return False
    document = as_document(without(found, gone) if gone else found)
    if document != kept:
        writer.set_document(DOCUMENT, document)
    return True


def _linked(
    people: People, tracks: Tracks, judge: Judge, options: LinkOptions, transits: Transits | None, again: bool
) -> tuple[People, LinkRun]:
    """The people after linking."""
    people = _with_present_tracks(people, tracks)
    persons = np.array([people.tracks[e[0]].person if e[0] in people.tracks else 0 for e in tracks.entries], np.int64)
    before = persons
    if again:
        persons = np.zeros_like(persons)
    place = {entries[0]: number for number, entries in enumerate(tracks.entries)}
    together, apart = _constraints(people, place)
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
    # Tracks that users joined are not compared again; without what was known of them, an undone merge had no reasons.
    said = {pair for pair, decision in people.decided().items() if decision.same}
    old = [e for e in people.evidence if not again or (e.first, e.second) in said]
    new = np.flatnonzero(before == 0)
    joined = sum(kept[tracks.entries[n][0]].person < people.next for n in new)
    run = LinkRun(len(new), next_person - people.next, int(joined), linked.transits, judge.told)
    return replace(found, evidence=_evidence(found, linked, old)), run


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
        "Not calibrated, and there are few tracks: distances are taken to mean what they do at the cameras of "
        f"{shipped.origin.data}, where the network's own calibration was made. Probabilities are rough; 'crosscam "
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
