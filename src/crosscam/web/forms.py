"""From the query string of a page to a search, and back: every result has an address of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from crosscam.errors import WebError
from crosscam.gallery import PARTS, GalleryInfo
from crosscam.web.search import Options

PAGE_SIZE = 24
SLIDERS = (*PARTS, "whole")
LARGEST_WEIGHT = 3.0
TIME_STEPS = 1000


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
        pool_tracks, rerank: ticked or not.
        page: from 1 on.
    """

    query: str
    cameras: tuple[int, ...] = ()
    first: int = 0
    last: int = TIME_STEPS
    weights: tuple[tuple[str, float], ...] = tuple((name, 1.0) for name in SLIDERS)
    pool_tracks: bool = False
    rerank: bool = False
    page: int = 1

    def options(self, info: GalleryInfo) -> Options:
        """What the gallery is asked."""
        low, high = info.times or (0.0, 0.0)
        span = high - low
        return Options(
            cameras=self.cameras or None,
            time_from=low + span * self.first / TIME_STEPS if info.times and self.first > 0 else None,
            time_to=low + span * self.last / TIME_STEPS if info.times and self.last < TIME_STEPS else None,
            weights=dict(self.weights),
            start=(self.page - 1) * PAGE_SIZE,
            limit=PAGE_SIZE,
            pool_tracks=self.pool_tracks,
            rerank_first=100 if self.rerank else 0,
        )

    def query_string(self, **changes: object) -> str:
        """The address of this search, or of one that differs; what is as by default is left out."""
        values: list[tuple[str, object]] = [("q", self.query), *(("cam", camera) for camera in self.cameras)]
        if self.first > 0:
            values.append(("first", self.first))
        if self.last < TIME_STEPS:
            values.append(("last", self.last))
        values += [(name, f"{value:g}") for name, value in self.weights if value != 1]
        values += [(name, 1) for name in ("pool_tracks", "rerank") if getattr(self, name)]
        if self.page > 1:
            values.append(("page", self.page))
        kept = [(name, value) for name, value in values if name not in changes]
        return urlencode([*kept, *((name, value) for name, value in changes.items() if value is not None)])


def read_form(params: Params) -> SearchForm:
    """The search that a query string asks for.

    Raises:
        WebError: a value that is no number, or out of range.
    """
    query = params.get("q") or ""
    if len(query) > 32 or not query.isalnum():
        raise WebError("This is not the address of a search. Begin with a picture.")
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
        pool_tracks=params.get("pool_tracks") == "1",
        rerank=params.get("rerank") == "1",
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
        raise WebError(f"The value of {name} is no number from {low:g} to {high:g}.")
    return value
