"""Frames and clips of watched videos in the REST API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from crosscam.gallery import Entry
from crosscam.web.api import ERRORS, JPEG, EntryId, service_of, who_of
from crosscam.web.service import MissingError

MP4: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}, "description": "The clip."}
}
# What was forgotten is not shown again from a browser's memory.
KEPT = {"cache-control": "private, max-age=60"}

router = APIRouter(prefix="/api/v1", responses=ERRORS)


@router.get("/entries/{number}/frame", responses=JPEG, response_class=Response)
def frame(request: Request, number: EntryId) -> Response:
    """The whole frame that an entry was cut from, with its box, while the video is still there."""
    found = _cut(request, number, service_of(request).videos.frame)
    return Response(found, media_type="image/jpeg", headers=KEPT)


@router.get("/entries/{number}/clip", responses=MP4, response_class=Response)
def clip(request: Request, number: EntryId) -> Response:
    """The track of an entry as a short MP4 without sound (a second more at both ends), while the video is there."""
    found = _cut(request, number, service_of(request).videos.clip)
    return Response(found, media_type="video/mp4", headers=KEPT)


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
