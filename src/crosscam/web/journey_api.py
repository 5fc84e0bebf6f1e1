"""Journeys in the REST API: read, and decide."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from crosscam.web import journey_schemas as s
from crosscam.web.api import ERRORS, service_of, who_of
from crosscam.web.service import MissingError

CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A row for each track."}
}

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
