"""The shapes of journeys in the REST API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel

from crosscam.gallery.journey_records import Journeys, Link, Person, TrackSeen
from crosscam.gallery.people import Decision
from crosscam.web.schemas import Number, Numbers, Strict

Kind = Literal["confirm", "split", "merge", "apart"]


class LinkOut(BaseModel):
    """Why two tracks, named by their first entries, are one person or may be.

    ``probability`` is null where nothing but a decision holds them together.
    """

    first: int
    second: int
    probability: float | None
    confirmed: bool
    reasons: list[str]

    @classmethod
    def of(cls, link: Link) -> LinkOut:
        """Of the gallery's."""
        return cls(
            first=link.first,
            second=link.second,
            probability=link.probability,
            confirmed=link.confirmed,
            reasons=list(link.reasons),
        )


class TrackOut(BaseModel):
    """One track of a person: ``first`` names it in decisions, ``best`` is the entry with the most typical picture.

    ``start`` and ``end`` are seconds; ``link`` leads to an earlier track of the person and is null for the first one.
    """

    first: int
    camid: int
    camera: str
    track: str | None
    start: float | None
    end: float | None
    entries: list[int]
    best: int
    link: LinkOut | None

    @classmethod
    def of(cls, track: TrackSeen, link: Link | None) -> TrackOut:
        """Of the gallery's."""
        return cls(
            first=track.name,
            camid=track.camid,
            camera=track.camera,
            track=track.track,
            start=track.start,
            end=track.end,
            entries=list(track.entries),
            best=track.best,
            link=None if link is None else LinkOut.of(link),
        )


class PersonOut(BaseModel):
    """One person's journey, the tracks in the order of time; ``number`` stays when tracks are added."""

    number: int
    cameras: list[str]
    confirmed: bool
    tracks: list[TrackOut]

    @classmethod
    def of(cls, person: Person) -> PersonOut:
        """Of the gallery's."""
        tracks = [TrackOut.of(*both) for both in zip(person.tracks, person.links, strict=True)]
        return cls(number=person.number, cameras=list(person.cameras), confirmed=person.confirmed, tracks=tracks)


class ProposalOut(BaseModel):
    """Two people who are perhaps one; nothing merges them but a decision."""

    first: int
    second: int
    link: LinkOut


class DecisionOut(BaseModel):
    """What somebody decided: ``tracks`` of person ``source``, and ``others`` of person ``target``."""

    kind: Kind
    tracks: list[int]
    others: list[int]
    source: int
    target: int
    who: str
    when: str

    @classmethod
    def of(cls, decision: Decision) -> DecisionOut:
        """Of the gallery's."""
        return cls(**asdict(decision))


class JourneysOut(BaseModel):
    """A page of people by number, all proposals (the most probable first), and how many tracks are not linked yet."""

    people: list[PersonOut]
    start: int
    more: bool
    total: int
    proposals: list[ProposalOut]
    unlinked: int

    @classmethod
    def of(cls, found: Journeys, start: int, limit: int, several_cameras: bool) -> JourneysOut:
        """A part of the gallery's."""
        chosen = [person for person in found.people if not several_cameras or len(person.cameras) > 1]
        proposals = [ProposalOut(first=p.first, second=p.second, link=LinkOut.of(p.link)) for p in found.proposals]
        return cls(
            people=[PersonOut.of(person) for person in chosen[start : start + limit]],
            start=start,
            more=len(chosen) > start + limit,
            total=len(chosen),
            proposals=proposals,
            unlinked=found.unlinked,
        )


class DecideIn(Strict):
    """A decision: ``confirm`` takes a person, ``merge`` and ``apart`` two, ``split`` tracks, named by ``first``.

    ``undo`` takes the last decision back.
    """

    said: Literal["confirm", "split", "merge", "apart", "undo"]
    person: Number | None = None
    other: Number | None = None
    tracks: Numbers | None = None

    def people(self) -> tuple[int, ...]:
        """The people that are named."""
        if self.person is None:
            return ()
        return (self.person,) if self.other is None else (self.person, self.other)


class DecidedOut(BaseModel):
    """The last decision that holds now, null without one; and the people whom this call concerned, as they are."""

    last: DecisionOut | None
    people: list[PersonOut]

    @classmethod
    def of(cls, before: Journeys, found: Journeys) -> DecidedOut:
        """Of the journeys before and after a decision."""
        undone = len(found.decisions) < len(before.decisions)
        changed = (before if undone else found).decisions[-1:]
        numbers = {number for decision in changed for number in (decision.source, decision.target)}
        people = [PersonOut.of(person) for person in found.people if person.number in numbers]
        last = found.decisions[-1] if found.decisions else None
        return cls(last=None if last is None else DecisionOut.of(last), people=people)
