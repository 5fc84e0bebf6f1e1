"""Journeys in the REST API, read and decided; frames and clips of watched videos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from crosscam.gallery import Entry
from crosscam.web import journey_schemas as s
from crosscam.web.api import ERRORS, JPEG, EntryId, service_of, who_of
from crosscam.web.byte_ranges import ranged
from crosscam.web.service import MissingError

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

router = APIRouter(prefix="/api/v1", responses=ERRORS)


@router.get("/journeys")
def journeys(
    request: Request,
    start: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    several_cameras: Annotated[bool, Query(description="Only people who were seen at several cameras.")] = False,
) -> s.JourneysOut:
    """Who went from camera to camera, as 'crosscam link' and decisions made it."""
    return s.JourneysOut.of(service_of(request).journeys.read(), start, limit, several_cameras)


@router.get("/journeys.csv", responses=CSV, response_class=Response)
def table(request: Request) -> Response:
    """All tracks with their people, as a table."""
    return journey_table(request)


@router.get("/journeys/{person}")
def journey(request: Request, person: Annotated[int, Path(ge=1, le=2**53 - 1, examples=[1])]) -> s.PersonOut:
    """One person's journey."""
    found = service_of(request).journeys.read().person(person)
    if found is None:
        raise MissingError(f"There is no person {person} in the journeys; it may have been merged or forgotten.")
    return s.PersonOut.of(found)


@router.post("/journeys/decide")
def decide(request: Request, decision: s.DecideIn) -> s.DecidedOut:
    """Confirm, split, merge or keep apart, or take the last decision back; it overrules what was computed."""
    book = service_of(request).journeys
    before = book.read()
    book.decide(decision.said, decision.people(), tuple(decision.tracks or ()), who_of(request))
    return s.DecidedOut.of(before, book.read())


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
