"""The page of journeys: who went from camera to camera, and forms that confirm, split and merge."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from crosscam.gallery import Where
from crosscam.gallery.fragments import Fragment
from crosscam.report.journey_report import images_of, render_journeys
from crosscam.report.journey_view import camera_graph, person_view, proposal_view, ways_of
from crosscam.video.footage import length_of
from crosscam.web.api import service_of, who_of
from crosscam.web.journey_api import journey_table
from crosscam.web.journey_book import in_words
from crosscam.web.page_shell import page, see
from crosscam.web.service import MissingError

PEOPLE_ON_A_PAGE = 20
PROPOSALS_SHOWN = 10
Number = Annotated[int, Form(ge=0, le=2**53 - 1)]
PersonNumber = Annotated[int, Path(ge=1, le=2**53 - 1)]
Turn = Annotated[int, Query(ge=1, le=1_000_000)]

router = APIRouter()


@router.get("/journeys")
def show(request: Request, turn: Annotated[Turn, Query(alias="page")] = 1, all: bool = False) -> Response:
    """People with their tracks, in time."""
    found = service_of(request).journeys.read()
    travelled = [person for person in found.people if len(person.cameras) > 1]
    chosen = list(found.people) if all or not travelled else travelled
    ways = ways_of(found.people)
    pages = max(1, -(-len(chosen) // PEOPLE_ON_A_PAGE))
    turn = min(turn, pages)
    return page(
        request,
        "journeys.html",
        found=found,
        travelled=len(travelled),
        people=[person_view(found, p) for p in chosen[(turn - 1) * PEOPLE_ON_A_PAGE : turn * PEOPLE_ON_A_PAGE]],
        proposals=[proposal_view(found, p) for p in found.proposals[:PROPOSALS_SHOWN]],
        ways=ways,
        graph=camera_graph(ways),
        last=in_words(found.decisions[-1]) if found.decisions else "",
        everybody=all or not travelled,
        turn=turn,
        pages=pages,
    )


@router.get("/journeys/{number}")
def show_person(request: Request, number: PersonNumber) -> Response:
    """One person: the tracks in time with their frames, where the videos are still there, and the same forms."""
    service = service_of(request)
    found = service.journeys.read()
    person = found.person(number)
    if person is None:
        raise MissingError(f"There is no person {number} in the journeys; it may have been merged or forgotten.")
    entries = service.gallery.entries(Where(ids=tuple(track.best for track in person.tracks)))
    places = {entry.id: Fragment.read(entry.path) for entry in entries}
    fragments = {entry: place for entry, place in places.items() if place is not None and not place.live}
    shown = request.app.state.settings.videos
    videos = service.videos.of(entries) if shown else {}
    return page(
        request,
        "journey.html",
        view=person_view(found, person),
        proposals=[proposal_view(found, p) for p in found.proposals if number in (p.first, p.second)],
        last=in_words(found.decisions[-1]) if found.decisions else "",
        videos=videos,
        fragments=fragments,
        spans={entry: length_of(place) for entry, place in fragments.items()},
        gone=len(fragments.keys() - videos.keys()) if shown else 0,
    )


@router.post("/journeys/decide")
def decide(
    request: Request,
    said: Annotated[Literal["confirm", "split", "merge", "apart", "undo"], Form()],
    person: Number = 0,
    other: Annotated[int | Literal[""], Form()] = "",
    track: Annotated[list[int] | None, Form()] = None,
    turn: Annotated[Number, Form(alias="page")] = 1,
    all: Annotated[bool, Form()] = False,
    back: Annotated[Literal["unsure", "people", "said", "person"], Form()] = "said",
) -> RedirectResponse:
    """Confirm, split, merge, keep apart, or take the last decision back."""
    people = (person,) if other == "" else (person, other)
    book = service_of(request).journeys
    book.decide(said, people, tuple(track or ()), who_of(request))
    if back == "person":
        # After a merge the person has the lower number; a split that was undone has taken its person away.
        number = min(people) if said == "merge" else person
        return see(f"/journeys/{number}" if book.read().person(number) else "/journeys#said")
    place = f"person-{person}" if back == "people" and said in ("confirm", "split") else back
    return see(f"/journeys?page={turn}{'&all=true' if all else ''}#{place}")


@router.get("/journeys.html")
def report(request: Request) -> Response:
    """All journeys as one page with the images inside."""
    service = service_of(request)
    found = service.journeys.read()
    service.audit.write(who_of(request), "export", kind="journeys", people=len(found.people))
    gallery, name = service.gallery, request.app.state.name
    text = render_journeys(found, images_of(gallery, found), name, gallery.model.name)
    headers = {"content-disposition": 'attachment; filename="crosscam-journeys.html"'}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/journeys.csv")
def table(request: Request) -> Response:
    """All tracks with their people, as a table."""
    return journey_table(request)
