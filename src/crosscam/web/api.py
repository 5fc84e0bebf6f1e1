"""The REST API: one route for each verb of the gallery."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Response, UploadFile

from crosscam.errors import WebError
from crosscam.gallery import NewEntry, SearchOptions, Where
from crosscam.gallery.calibrated import verdicts_of
from crosscam.system.text import did_you_mean
from crosscam.web import schemas as s
from crosscam.web.forms import api_options
from crosscam.web.service import MissingError, Service

MEANINGS = {
    400: "Not a request that can be read.",
    401: "No token, or a wrong one.",
    403: "Comes from a page of another site.",
    404: "Not in the gallery.",
    408: "Took too long.",
    409: "The gallery is being written by another program, or is of another model.",
    413: "Too large.",
    415: "A charset that is not known here; send UTF-8.",
    422: "Read, but not possible: a value out of range, an image that is none.",
    429: "Too many requests.",
}
ERRORS: dict[int | str, dict[str, Any]] = {n: {"model": s.Error, "description": text} for n, text in MEANINGS.items()}
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "The image."}
}
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
EntryId = Annotated[int, Path(ge=1, le=2**53 - 1, examples=[1])]
Uploads = Annotated[list[UploadFile], File(description="One or several images of one person.")]


async def refuse_unknown(request: Request) -> None:
    """Refuse what the schema of the call does not name, which would do nothing; JSON bodies are refused by their own.

    Raises:
        WebError: an unknown query parameter or form field, or one that is empty or given twice.
    """
    schema = request.app.openapi()
    call = schema["paths"][request.scope["route"].path][request.method.lower()]
    known = sorted(p["name"] for p in call.get("parameters", ()) if p["in"] == "query")
    _refuse("query parameter", request.query_params.multi_items(), known)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        _refuse("form field", (await request.form()).multi_items(), _form_fields(schema, call))


def _form_fields(schema: dict[str, Any], call: dict[str, Any]) -> list[str]:
    content = call.get("requestBody", {}).get("content", {})
    found: set[str] = set()
    for kind in FORMS:
        body = content.get(kind, {}).get("schema", {})
        for reference in (body, *body.get("allOf", ())):
            name = str(reference.get("$ref", "")).rpartition("/")[2]
            found |= set(schema["components"]["schemas"].get(name, reference).get("properties", {}))
    return sorted(found)


def _refuse(kind: str, given: list[tuple[str, Any]], known: list[str]) -> None:
    seen: set[str] = set()
    for name, value in given:
        if name not in known:
            these = f"Known: {', '.join(known)}." if known else f"This call has no {kind}s."
            raise WebError(f"Unknown {kind} {name!r:.60}. {did_you_mean(name, known)}{these}")
        if value == "":
            raise WebError(f"The {kind} {name!r} is empty. Give a value, or leave it out.")
        if name in seen and isinstance(value, str):  # there may be several files
            raise WebError(f"The {kind} {name!r} is given twice. Give it once.")
        seen.add(name)


router = APIRouter(prefix="/api/v1", responses=ERRORS, dependencies=[Depends(refuse_unknown)])


def service_of(request: Request) -> Service:
    """The application's."""
    service: Service = request.app.state.service
    return service


def who_of(request: Request) -> str:
    """Who asks, as the guard found out."""
    who: str = request.state.who
    return who


@router.get("/info")
def info(request: Request) -> s.InfoOut:
    """The gallery's state."""
    service = service_of(request)
    calibrated = verdicts_of(service.gallery, SearchOptions())[0] is not None
    name: str = request.app.state.name
    return s.InfoOut.of(service.info(), name, calibrated, service.extractor is not None)


@router.get("/calibration")
def calibration(request: Request) -> dict[str, Any]:
    """The calibration kept with the gallery, as calibration.json; see docs/calibration.md."""
    found, reason = service_of(request).calibration()
    if found is None:
        raise MissingError(f"No calibration: {reason}")
    value: dict[str, Any] = json.loads(found.to_json())
    return value


@router.post("/search")
def search(
    request: Request,
    options: Annotated[SearchOptions, Depends(api_options)],
    picture: Uploads = [],  # noqa: B006 - FastAPI copies it
    query: Annotated[s.QueryKey | None, Form(description="An earlier query, or e12 for entry 12, instead.")] = None,
    start: Annotated[int, Form(ge=0, le=10_000)] = 0,
) -> s.SearchOut:
    """Who looks like the person on these images? What was confirmed for a query is searched with as well."""
    service = service_of(request)
    if bool(picture) == (query is not None):
        raise WebError("Send either images (field 'picture') or the key of an earlier query (field 'query').")
    asked = service.query(query) if query is not None else service.upload(_read(picture))
    return s.SearchOut.of(service.search(asked, options, who_of(request), start))


@router.post("/entries", status_code=201)
def add(
    request: Request,
    picture: Uploads,
    camid: Annotated[s.Camera, Form(description="Camera of all the images.")],
    pid: Annotated[s.Pid | None, Form(description="Identity, if known.")] = None,
    time: Annotated[
        s.Seconds | None, Form(description="Seconds, of the Unix epoch where entries expire by time.")
    ] = None,
    track: Annotated[s.Text | None, Form(description="Name of the tracklet.")] = None,
) -> s.AddedOut:
    """Add images of one person at one camera; when this answers, they are on disk."""
    names = [_name(upload.filename, n) for n, upload in enumerate(picture, 1)]
    entries = [NewEntry(path=name, camid=camid, pid=pid, time=time, track=track) for name in names]
    return s.AddedOut(ids=service_of(request).add(_read(picture), entries, who_of(request)))


@router.get("/entries")
def entries(
    request: Request,
    camid: Annotated[s.Camera | None, Query()] = None,
    track: Annotated[s.Text | None, Query()] = None,
    pid: Annotated[s.Pid | None, Query()] = None,
    start: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> s.EntriesOut:
    """Browse entries, for example those of a track."""
    where = Where(
        camids=None if camid is None else (camid,),
        tracks=None if track is None else (track,),
        pids=None if pid is None else (pid,),
    )
    found = service_of(request).gallery.entries(where, start=start, limit=limit + 1)
    return s.EntriesOut(entries=[s.EntryOut.of(e) for e in found[:limit]], start=start, more=len(found) > limit)


@router.get("/entries/{number}")
def entry(request: Request, number: EntryId) -> s.EntryOut:
    """One entry."""
    return s.EntryOut.of(service_of(request).entry(number))


@router.get("/entries/{number}/thumbnail", responses=JPEG, response_class=Response)
def thumbnail(request: Request, number: EntryId) -> Response:
    """The small image of an entry."""
    return image_response(service_of(request).thumbnail(number))


@router.patch("/entries/{number}")
def update(request: Request, number: EntryId, changes: s.ChangesIn) -> s.EntryOut:
    """Give an entry other data."""
    values = {("path" if name == "name" else name): getattr(changes, name) for name in changes.model_fields_set}
    for field in ("path", "camid"):
        if field in values and values[field] is None:
            raise WebError(f"An entry needs a {'name' if field == 'path' else field}; it cannot be cleared.")
    return s.EntryOut.of(service_of(request).update(number, values, who_of(request)))


@router.delete("/entries/{number}")
def forget_one(request: Request, number: EntryId) -> s.CountOut:
    """Forget one entry for good."""
    service = service_of(request)
    service.entry(number)
    return s.CountOut(entries=service.forget(Where(ids=(number,)), who_of(request)))


@router.post("/forget")
def forget(request: Request, which: s.ForgetIn) -> s.CountOut:
    """Forget entries for good: no byte of their descriptors and images stays in the gallery."""
    return s.CountOut(entries=service_of(request).forget(which.where(), who_of(request)))


@router.post("/expire")
def expire(request: Request, age: s.ExpireIn) -> s.CountOut:
    """Forget what is older than an age."""
    return s.CountOut(entries=service_of(request).expire(age.keep, age.by, who_of(request)))


@router.post("/explain")
def explain(request: Request, pair: s.ExplainIn) -> s.ExplainOut:
    """A distance as the exact sum over the blocks of the descriptor."""
    service = service_of(request)
    query = service.query(pair.query)
    hit = service.explain(query, pair.entry, pair.parts, who_of(request))
    total = float(hit.contributions.sum())
    parts = [
        s.PartOut(
            name=b.name,
            kind=b.kind,
            rows=(b.rows[0], b.rows[1]),
            squared_distance=float(c),
            share=float(c) / total if total > 0 else 0.0,
        )
        for b, c in zip(service.gallery.layout, hit.contributions, strict=True)
    ]
    entry_out = s.EntryOut.of(hit.entry)
    return s.ExplainOut(query=query.key, entry=entry_out, distance=hit.distance, squared_distance=total, parts=parts)


@router.post("/feedback")
def feedback(request: Request, said: s.FeedbackIn) -> s.FeedbackOut:
    """Confirm or reject a match; later searches with this query use it."""
    service = service_of(request)
    query = service.query(said.query)
    return _judgments(service.judge(query, said.entry, said.same, who_of(request)))


@router.get("/feedback")
def feedback_of(request: Request, query: Annotated[s.QueryKey, Query()]) -> s.FeedbackOut:
    """What was said of a query's matches."""
    return _judgments(service_of(request).judgments(query))


@router.get("/audit")
def audit(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[Literal["lines"], list[Any]]:
    """The last lines of the audit log, newest first."""
    return {"lines": service_of(request).audit.last(limit)}


def image_response(data: bytes) -> Response:
    """A stored image; only the kinds that a gallery holds are named as images."""
    kind = "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
    return Response(data, media_type=kind, headers={"cache-control": "private, max-age=60"})


def _judgments(found: Any) -> s.FeedbackOut:
    return s.FeedbackOut(judgements=[s.JudgmentOut(**vars(j)) for j in found])


def _read(uploads: list[UploadFile]) -> list[bytes]:
    return [upload.file.read() for upload in uploads]


def _name(filename: str | None, number: int) -> str:
    """A file's name without folders and control characters."""
    name = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:200] or f"upload {number}"
