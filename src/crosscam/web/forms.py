"""From the form of a page or of the API to a search, and back: every result of the page has an address of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import Form

from crosscam.errors import WebError
from crosscam.gallery import PARTS, GalleryInfo, SearchOptions, Where, parse_weights
from crosscam.web.schemas import Seconds
from crosscam.web.search import PAGE_SIZE

SLIDERS = (*PARTS, "whole")
LARGEST_WEIGHT = 3.0
TIME_STEPS = 1000
BOXES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "pool_tracks": ("a track counts as one", {"pool_tracks": True}),
        "rerank": ("re-rank the first 100 by their neighbors", {"rerank_first": 100}),
    }
)
"""What can be ticked on the page, by its name in the address: the words beside the box, and what a tick changes."""

CameraList = Annotated[
    str | None, Form(pattern=r"^[0-9]{1,9}(,[0-9]{1,9}){0,999}$", description="Only these cameras, as 1,4.")
]
Parts = Annotated[
    str | None,
    Form(max_length=1000, description="Weights of body parts (head torso legs feet whole) or blocks: torso=2,feet=0."),
]


def api_options(
    cameras: CameraList = None,
    time_from: Annotated[Seconds | None, Form()] = None,
    time_to: Annotated[Seconds | None, Form()] = None,
    parts: Parts = None,
    limit: Annotated[int, Form(ge=1, le=200)] = 20,
    pool_tracks: Annotated[bool, Form(description="Images of a track count as one.")] = False,
    rerank_first: Annotated[int, Form(ge=0, le=500, description="Re-rank this many by their neighbors.")] = 0,
) -> SearchOptions:
    """The options of a search by the API."""
    camids = tuple(int(camera) for camera in cameras.split(",")) if cameras else None
    where = Where(camids=camids, time_from=time_from, time_to=time_to)
    try:
        weights = parse_weights(parts) if parts else None
    except ValueError as error:
        raise WebError(str(error)) from error
    return SearchOptions(limit, where, weights, pool_tracks=pool_tracks, rerank_first=rerank_first)


class Params(Protocol):
    """What a query string offers."""

    def get(self, name: str) -> str | None:
        """The last value, if any."""

    def getlist(self, name: str) -> Sequence[str]:
        """All values."""


@dataclass(frozen=True)
class SearchForm:
    """The state of the search page.

    Attributes:
        query: key of the query.
        cameras: those that are ticked; empty for all.
        first, last: place of the time sliders, in thousandths of the gallery's span.
        weights: of the part sliders.
        ticked: names of the boxes that are.
        elsewhere: only cameras other than the query's; None as by default.
        page: from 1 on.
    """

    query: str
    cameras: tuple[int, ...] = ()
    first: int = 0
    last: int = TIME_STEPS
    weights: tuple[tuple[str, float], ...] = tuple((name, 1.0) for name in SLIDERS)
    ticked: tuple[str, ...] = ()
    elsewhere: bool | None = None
    page: int = 1

    @property
    def start(self) -> int:
        """Hits on the pages before."""
        return (self.page - 1) * PAGE_SIZE

    def only_elsewhere(self, camid: int | None) -> bool:
        """Whether the query's camera is left out: by default where it is known, never where cameras are ticked."""
        return camid is not None and not self.cameras and self.elsewhere is not False

    def options(self, info: GalleryInfo, camid: int | None = None) -> SearchOptions:
        """What the gallery is asked.

        Args:
            info: the gallery's state.
            camid: the query's camera, where it is known.
        """
        low, high = info.times or (0.0, 0.0)
        span = high - low
        where = Where(
            camids=self.cameras or None,
            not_camids=(camid,) if camid is not None and self.only_elsewhere(camid) else None,
            time_from=low + span * self.first / TIME_STEPS if self.first > 0 else None,
            time_to=low + span * self.last / TIME_STEPS if self.last < TIME_STEPS else None,
        )
        weights = {name: value for name, value in self.weights if value != 1}
        ticked = {name: value for box in self.ticked for name, value in BOXES[box][1].items()}
        return SearchOptions(PAGE_SIZE, where, weights or None, **ticked)

    def query_string(self, **changes: object) -> str:
        """The address of this search, or of one that differs; what is as by default is left out."""
        values: list[tuple[str, object]] = [("q", self.query), *(("cam", camera) for camera in self.cameras)]
        if self.first > 0:
            values.append(("first", self.first))
        if self.last < TIME_STEPS:
            values.append(("last", self.last))
        values += [(name, f"{value:g}") for name, value in self.weights if value != 1]
        values += [(name, 1) for name in self.ticked]
        if self.elsewhere is not None:
            values.append(("scope", "other" if self.elsewhere else "all"))
        if self.page > 1:
            values.append(("page", self.page))
        kept = [(name, value) for name, value in values if name not in changes]
        return urlencode([*kept, *((name, value) for name, value in changes.items() if value is not None)])


def read_form(params: Params) -> SearchForm:
    """The search that a query string asks for.

    Raises:
        WebError: a value that is not a number, or out of range.
    """
    query = params.get("q") or ""
    if len(query) > 32 or not query.isalnum():
        raise WebError("This is not the address of a search. Begin with an image.")
    weights = tuple((name, number(params, name, 1.0, 0.0, LARGEST_WEIGHT)) for name in SLIDERS)
    cameras = params.getlist("cam")
    if len(cameras) > 1000:
        raise WebError("More than 1,000 cameras were ticked.")
    first, last = (int(number(params, n, d, 0, TIME_STEPS)) for n, d in (("first", 0.0), ("last", float(TIME_STEPS))))
    return SearchForm(
        query=query,
        cameras=tuple(int(number({"cam": c}, "cam", 0.0, 0, 2**31 - 1)) for c in cameras),
        first=min(first, last),
        last=max(first, last),
        weights=weights,
        ticked=tuple(name for name in BOXES if params.get(name) == "1"),
        elsewhere={"other": True, "all": False}.get(params.get("scope") or ""),
        page=int(number(params, "page", 1.0, 1, 10_000)),
    )


def number(params: Params | Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """A number within bounds.

    Raises:
        WebError: it is none.
    """
    text = params.get(name)
    if text is None or text == "":
        return default
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise WebError(f"The value of {name} is not a number from {low:g} to {high:g}.")
    return value
