"""The pages: HTML from templates, forms that work without a script."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from starlette.datastructures import QueryParams
from starlette.responses import Response

from crosscam.errors import WebError
from crosscam.gallery import Entry, SearchOptions, Where
from crosscam.gallery.calibrated import is_from_elsewhere, verdicts_of
from crosscam.gallery.conditions import without_time
from crosscam.retrieval.contributions import body_profile
from crosscam.system.text import counted
from crosscam.web import views
from crosscam.web.api import EntryId, image_response, service_of, who_of
from crosscam.web.asking import has_several_cameras
from crosscam.web.forms import SearchForm, number, read_form
from crosscam.web.page_shell import page, see, sure
from crosscam.web.schemas import Camera, Pid, QueryKey, Seconds, Text
from crosscam.web.search import PAGE_SIZE, Found
from crosscam.web.service import MissingError
from crosscam.web.views import pair_maps

RECENT = 11

router = APIRouter()


@router.get("/")
def home(request: Request) -> Response:
    """Begin a search."""
    service = service_of(request)
    info = service.info()
    recent = service.gallery.entries(start=max(0, info.entries - RECENT), limit=RECENT)
    return page(request, "home.html", info=info, uploads=service.extractor is not None, recent=recent[::-1])


@router.post("/upload")
def upload(request: Request, picture: Annotated[list[UploadFile], File()]) -> Response:
    """Describe images, and search with them."""
    images = [data for data in (p.file.read() for p in picture) if data]
    if not images:
        raise WebError("No image was chosen. Choose one, or drop it onto the page.")
    query = service_of(request).upload(images)
    return see(f"/search?q={query.key}")


@router.get("/search")
def search(request: Request) -> Response:
    """Ranked matches."""
    form, found = _found(request)
    service = service_of(request)
    unit = views.longest_bar([r.hit.contributions for r in found.hits], service.gallery.layout)
    return page(
        request,
        "search.html",
        form=form,
        found=found,
        info=service.info(),
        several=has_several_cameras(service.info()),
        unit=unit,
        layout=service.gallery.layout,
        parts=any(b.kind == "local" for b in service.gallery.layout),
    )


def _found(request: Request, limit: int | None = None) -> tuple[SearchForm, Found]:
    service = service_of(request)
    form = read_form(request.query_params)
    query = service.query(form.query)
    known = service.known(query)
    # With one camera in the gallery, leaving it out would leave nothing.
    camid = known.camid if has_several_cameras(service.info()) else None
    options, start = form.options(service.info(), camid), form.start
    if limit is not None:
        options, start = replace(options, k=limit), 0
    return form, service.search(query, options, who_of(request), start, known)


@router.post("/feedback")
def feedback(
    request: Request,
    back: Annotated[str, Form(max_length=8000)],
    entry: Annotated[int, Form(ge=1, le=2**53 - 1)],
    said: Annotated[Literal["same", "other", "clear"], Form()],
) -> Response:
    """Confirm or reject a match."""
    form = read_form(QueryParams(back))
    service = service_of(request)
    same = {"same": True, "other": False, "clear": None}[said]
    service.judge(service.query(form.query), entry, same, who_of(request))
    return see(f"/search?{form.query_string(page=None)}#results")


@router.get("/explain")
def explain(request: Request, entry: Annotated[int, Query(ge=1, le=2**53 - 1)]) -> Response:
    """Why one match is near or far."""
    service = service_of(request)
    form = read_form(request.query_params)
    query = service.query(form.query)
    weights = form.options(service.info()).weights
    hit = service.explain(query, entry, weights, who_of(request))
    layout = service.gallery.layout
    profile = body_profile(hit.contributions[None], layout)
    usable, reason = verdicts_of(service.gallery, SearchOptions(weights=weights))
    thumbnail = service.gallery.thumbnails([entry])[0]
    pair = service.pair(query) if not weights else None
    return page(
        request,
        "explain.html",
        form=form,
        query=query,
        hit=hit,
        layout=layout,
        total=float(hit.contributions.sum()),
        bands=[(profile.edges[k], profile.edges[k + 1], float(v)) for k, v in enumerate(profile.bands[0])],
        whole=float(profile.whole[0]),
        verdict=usable.verdict(hit.distance, query.camid, hit.entry.camid) if usable else None,
        probability=usable.probability(hit.distance) if usable else None,
        limits_of=usable.thresholds(query.camid, hit.entry.camid) if usable else None,
        likeness=pair.verdict if pair and entry in (pair.first.id, pair.second.id) else "",
        reason=reason,
        beyond_chance=service.beyond_chance(hit, weights),
        has_thumbnail=thumbnail is not None,
        maps=pair_maps(service, query, thumbnail, weights),
    )


@router.get("/entries")
def entries(
    request: Request,
    camid: Annotated[Camera | None, Query()] = None,
    track: Annotated[Text | None, Query()] = None,
) -> Response:
    """Entries of a track, of a camera, or all."""
    service = service_of(request)
    turn = int(number(request.query_params, "page", 1.0, 1, 1_000_000))
    where = Where(camids=None if camid is None else (camid,), tracks=None if track is None else (track,))
    found = service.gallery.entries(where, start=(turn - 1) * 2 * PAGE_SIZE, limit=2 * PAGE_SIZE + 1)
    chosen = {"camid": camid, "track": track}
    address = urlencode({name: value for name, value in chosen.items() if value is not None})
    return page(
        request,
        "entries.html",
        entries=found[: 2 * PAGE_SIZE],
        more=len(found) > 2 * PAGE_SIZE,
        turn=turn,
        camera=None if camid is None else service.info().camera_label(camid),
        track=track,
        address=address,
    )


@router.get("/entries/{number}")
def entry_page(request: Request, number: EntryId) -> Response:
    """One entry, with the forms that change it."""
    return _entry_page(request, service_of(request).entry(number), saved=False)


@router.post("/entries/{number}/update")
def update(
    request: Request,
    number: EntryId,
    camid: Annotated[Camera, Form()],
    pid: Annotated[Pid | Literal[""], Form()] = "",
    track: Annotated[Text | Literal[""], Form()] = "",
    time: Annotated[Seconds | Literal[""], Form()] = "",
) -> Response:
    """Give an entry other data; an empty field clears."""
    changes = {"camid": camid} | {
        name: None if value == "" else value for name, value in (("pid", pid), ("track", track), ("time", time))
    }
    entry = service_of(request).update(number, changes, who_of(request))
    return _entry_page(request, entry, saved=True)


def _entry_page(request: Request, entry: Entry, *, saved: bool) -> Response:
    videos = service_of(request).videos.of([entry]) if request.app.state.settings.videos else {}
    return page(request, "entry.html", entry=entry, saved=saved, video=videos.get(entry.id))


@router.post("/entries/{number}/forget", dependencies=[Depends(sure)])
def forget(request: Request, number: EntryId) -> Response:
    """Forget one entry for good."""
    service = service_of(request)
    service.entry(number)
    service.forget(Where(ids=(number,)), who_of(request))
    return page(request, "done.html", title="Forgotten", message=f"Entry {number} is gone, on disk too.")


@router.get("/gallery")
def gallery(request: Request) -> Response:
    """The state of the gallery."""
    service = service_of(request)
    info = service.info()
    judgments = service.judgments()
    return page(request, "gallery.html", info=info, confirmed=sum(j.same for j in judgments), judged=len(judgments))


@router.post("/gallery/expire", dependencies=[Depends(sure)])
def expire(
    request: Request,
    days: Annotated[int, Form(ge=1, le=36500)],
    by: Annotated[Literal["added", "time"], Form()],
) -> Response:
    """Forget what is old."""
    count = service_of(request).expire(f"{days}d", by, who_of(request))
    note = without_time(service_of(request).gallery) if by == "time" else ""
    gone = counted(count, "entry")
    message = f"Gone: {gone} older than {counted(days, 'day')}.{note}"
    return page(request, "done.html", title="Expired", message=message)


@router.get("/calibration")
def calibration(request: Request) -> Response:
    """What distances mean, and a way to tell."""
    service = service_of(request)
    found, reason = service.calibration()
    elsewhere = is_from_elsewhere(service.gallery, found)
    return page(
        request, "calibration.html", found=found, reason=reason, elsewhere=elsewhere, asked=service.asking.state()
    )


@router.post("/calibration/answer")
def answer(
    request: Request,
    said: Annotated[Literal["same", "other", "unsure", "back"], Form()],
    first: Annotated[int, Form(ge=1, le=2**53 - 1)] = 1,
    second: Annotated[int, Form(ge=1, le=2**53 - 1)] = 1,
) -> Response:
    """Say of two entries whether they show one person, or take the last answer back."""
    asking, who = service_of(request).asking, who_of(request)
    if said == "back":
        asking.take_back(who)
    else:
        asking.answer(first, second, {"same": True, "other": False, "unsure": None}[said], who)
    return see("/calibration#asking")


@router.get("/audit")
def audit(request: Request) -> Response:
    """Who asked for what."""
    lines = service_of(request).audit.last(200)
    shown = [
        {
            "when": str(line.get("when", "")).partition(".")[0].replace("T", " "),
            "who": str(line.get("who", "")),
            "what": str(line.get("what", "")),
            "details": ", ".join(f"{k} {v}" for k, v in line.items() if k not in ("when", "who", "what")),
        }
        for line in lines
    ]
    return page(request, "audit.html", lines=shown)


@router.get("/query/{key}/{place}.jpg")
def query_image(request: Request, key: QueryKey, place: int) -> Response:
    """An image of a query, small."""
    query = service_of(request).query(key)
    if query.entry is not None:
        return image_response(service_of(request).thumbnail(query.entry))
    if not 0 <= place < len(query.previews):
        raise MissingError("This query has no such image.")
    return image_response(query.previews[place])


@router.get("/export.csv")
def export_csv(request: Request) -> Response:
    """The result as a table."""
    form, found = _found(request, views.DOWNLOAD_ROWS)
    service_of(request).audit.write(who_of(request), "export", query=form.query, kind="csv", hits=len(found.hits))
    return _file(views.as_csv(found), "text/csv; charset=utf-8", f"crosscam-{form.query}.csv")


@router.get("/export.html")
def export_html(request: Request) -> Response:
    """The result as one page with everything inside."""
    form, found = _found(request, views.DOWNLOAD_ROWS)
    service = service_of(request)
    service.audit.write(who_of(request), "export", query=form.query, kind="html", hits=len(found.hits))
    text = views.as_html(found, service, request.app.state.name)
    return _file(text, "text/html; charset=utf-8", f"crosscam-{form.query}.html")


def _file(text: str, kind: str, name: str) -> Response:
    return Response(text, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
