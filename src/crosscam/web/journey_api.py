"""Journeys in the REST API, as schemas, read and decided; frames and clips of watched videos."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from crosscam.errors import WebError
from crosscam.gallery import Entry
from crosscam.gallery.journeys import Journeys, Link, Person, TrackSeen
from crosscam.gallery.people import Decision
from crosscam.web.api import ERRORS, JPEG, EntryId, refuse_unknown, service_of, who_of
from crosscam.web.schemas import Number, Numbers, Out, Strict
from crosscam.web.service import MissingError

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
# More digits than any length has; Python refuses to read very long numbers.
MOST_DIGITS = 18

CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A row for each track."}
}
MP4: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}, "description": "The clip."},
    206: {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}, "description": "A part of it."},
    416: {"description": "The header Range asks for bytes behind its end."},
}
# What was forgotten is not shown again from a browser's memory.
KEPT = {"cache-control": "private, max-age=60"}


class LinkOut(Out):
    """Why two tracks, named by their first entries, are one person or may be.

    ``probability`` is null where nothing but a decision holds them together.
    """

    first: int
    second: int
    probability: float | None
    confirmed: bool
    reasons: list[str]


class TrackOut(Out):
    """One track of a person: ``first`` names it in decisions, ``best`` is the entry with the most typical image.

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
        return cls.taken(track, first=track.name, link=None if link is None else LinkOut.taken(link))


class PersonOut(Out):
    """One person's journey, the tracks in the order of time; ``number`` stays when tracks are added."""

    number: int
    cameras: list[str]
    confirmed: bool
    tracks: list[TrackOut]

    @classmethod
    def of(cls, person: Person) -> PersonOut:
        """Of the gallery's."""
        tracks = [TrackOut.of(*both) for both in zip(person.tracks, person.links, strict=True)]
        return cls.taken(person, tracks=tracks)


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
        proposals = [ProposalOut(first=p.first, second=p.second, link=LinkOut.taken(p.link)) for p in found.proposals]
        return cls(
            people=[PersonOut.of(person) for person in chosen[start : start + limit]],
            start=start,
            more=len(chosen) > start + limit,
            total=len(chosen),
            proposals=proposals,
            unlinked=found.unlinked,
        )


# What a decision is about, by field; more would be a wish that is not met.
ABOUT = {"confirm": ("person",), "split": ("tracks",), "merge": ("person", "other"), "apart": ("person", "other")}


class DecideIn(Strict):
    """A decision: ``confirm`` takes a person, ``merge`` and ``apart`` two, ``split`` tracks, named by ``first``.

    ``undo`` takes the last decision back.
    """

    said: Literal["confirm", "split", "merge", "apart", "undo"]
    person: Number | None = None
    other: Number | None = None
    tracks: Numbers | None = None

    def check(self) -> None:
        """Refuse what the decision is not about.

        Raises:
            WebError: a field that would do nothing.
        """
        about = ABOUT.get(self.said, ())
        for name in ("person", "other", "tracks"):
            if getattr(self, name) is not None and name not in about:
                takes = " and ".join(repr(each) for each in about) or "no other field"
                raise WebError(f"{self.said!r} takes {takes}, so {name!r} would do nothing. Leave it out.")

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


router = APIRouter(prefix="/api/v1", responses=ERRORS, dependencies=[Depends(refuse_unknown)])


@router.get("/journeys")
def journeys(
    request: Request,
    start: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    several_cameras: Annotated[bool, Query(description="Only people who were seen at several cameras.")] = False,
) -> JourneysOut:
    """Who went from camera to camera, as 'crosscam link' and decisions made it."""
    return JourneysOut.of(service_of(request).journeys.read(), start, limit, several_cameras)


@router.get("/journeys.csv", responses=CSV, response_class=Response)
def table(request: Request) -> Response:
    """All tracks with their people, as a table."""
    return journey_table(request)


@router.get("/journeys/{person}")
def journey(request: Request, person: Annotated[int, Path(ge=1, le=2**53 - 1, examples=[1])]) -> PersonOut:
    """One person's journey."""
    found = service_of(request).journeys.read().person(person)
    if found is None:
        raise MissingError(f"There is no person {person} in the journeys; it may have been merged or forgotten.")
    return PersonOut.of(found)


@router.post("/journeys/decide")
def decide(request: Request, decision: DecideIn) -> DecidedOut:
    """Confirm, split, merge or keep apart, or take the last decision back; it overrules what was computed."""
    decision.check()
    book = service_of(request).journeys
    before = book.read()
    book.decide(decision.said, decision.people(), tuple(decision.tracks or ()), who_of(request))
    return DecidedOut.of(before, book.read())


def journey_table(request: Request) -> Response:
    """All tracks with their people as CSV; the audit log tells who took it along."""
    service = service_of(request)
    found = service.journeys.read()
    service.audit.write(who_of(request), "export", kind="journeys", people=len(found.people))
    headers = {"content-disposition": 'attachment; filename="crosscam-journeys.csv"'}
    return Response(found.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/entries/{number}/frame", responses=JPEG, response_class=Response)
def frame(request: Request, number: EntryId) -> Response:
    """The whole frame that an entry was cut from, with its box, while the video is still there."""
    found = _cut(request, number, service_of(request).videos.frame)
    return Response(found, media_type="image/jpeg", headers=KEPT)


@router.get("/entries/{number}/clip", responses=MP4, response_class=Response)
def clip(request: Request, number: EntryId) -> Response:
    """The track of an entry as a short MP4 without sound (a second more at both ends), while the video is there."""
    found = _cut(request, number, service_of(request).videos.clip)
    return ranged(request, found, "video/mp4", KEPT)


def _cut(request: Request, number: int, cut: Callable[[Entry, str], bytes | None]) -> bytes:
    entry = service_of(request).entry(number)
    if not request.app.state.settings.videos:
        raise MissingError("This server was started with --hide-videos: it shows no frames and clips.")
    found = cut(entry, who_of(request))
    if found is None:
        raise MissingError(
            f"The video of entry {number} is not where it was watched, or entry {number} is not from a video file. "
            "If it has moved, the same 'crosscam watch' at its new place tells the gallery."
        )
    return found


Kind = Literal["confirm", "split", "merge", "apart"]


def ranged(request: Request, content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The whole content (200), the part that was asked for (206), or that there is no such part (416).

    A request for several parts, or one that cannot be read, gets the whole; so does one for a part of a content that
    has changed since (``If-Range``).
    """
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    told = {**headers, "accept-ranges": "bytes", "etag": tag}
    part = _part(request.headers.get("range", ""), len(content))
    if part is None or request.headers.get("if-range", tag) != tag:
        return Response(content, media_type=media_type, headers=told)
    first, last = part
    if first > last:
        told["content-range"] = f"bytes */{len(content)}"
        return Response(status_code=416, headers=told)
    told["content-range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, media_type=media_type, headers=told)


def _part(asked: str, length: int) -> tuple[int, int] | None:
    """First and last byte; the first is larger where there is no such part. None for the whole."""
    found = _RANGE.fullmatch(asked)
    if found is None or not any(found.groups()) or max(map(len, found.groups())) > MOST_DIGITS:
        return None
    start, end = found.groups()
    if not start:  # so many of the end
        return (max(0, length - int(end)), length - 1) if int(end) and length else (1, 0)
    if end and int(end) < int(start):
        return None
    last = min(int(end or length), length - 1)
    return (int(start), last) if int(start) < length else (1, 0)
