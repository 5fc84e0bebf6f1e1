"""What a search asks for, and what it found, in plain objects that the page, the API and the exports share."""

from __future__ import annotations

from dataclasses import dataclass, fields

from crosscam.gallery import Entry, Hit, SearchOptions
from crosscam.retrieval.calibration import Calibration, Verdict
from crosscam.web.queries import Query

PAGE_SIZE = 24


def asked_for(options: SearchOptions, start: int) -> dict[str, object]:
    """For the audit log and reports: what is not as on the page by default."""
    default = SearchOptions(k=PAGE_SIZE)
    where = options.where
    found: dict[str, object] = {"cameras": where.camids, "time_from": where.time_from, "time_to": where.time_to}
    found = {name: value for name, value in found.items() if value is not None}
    if start:
        found["start"] = start
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in ("where", "weights") and value != getattr(default, field.name):
            found["limit" if field.name == "k" else field.name] = value
    changed = {name: value for name, value in (options.weights or {}).items() if value != 1}
    return found | ({"weights": changed} if changed else {})


@dataclass(frozen=True, eq=False)
class Ranked:
    """One hit with what it means.

    Attributes:
        rank: from 1 on.
        hit: of the gallery.
        verdict: same, unsure or other; None without a calibration that holds for this search.
        probability: likewise.
    """

    rank: int
    hit: Hit
    verdict: Verdict | None
    probability: float | None


@dataclass(frozen=True, eq=False)
class Found:
    """The answer to a search.

    Attributes:
        query: what was searched with.
        asked: how, where not as by default.
        hits: in order.
        more: whether there may be further hits.
        confirmed: entries that somebody confirmed; they were searched with as well and are not among the hits.
        rejected: entries that somebody rejected; they are not among the hits.
        rests_on: what the verdicts rest on, or why there are none.
        prior: what the probabilities take for granted; None without any.
        seconds: how long the gallery took.
    """

    query: Query
    asked: dict[str, object]
    hits: tuple[Ranked, ...]
    more: bool
    confirmed: tuple[Entry, ...]
    rejected: tuple[Entry, ...]
    rests_on: str
    prior: float | None
    seconds: float


def judged(hits: list[Hit], start: int, query: Query, calibration: Calibration | None) -> tuple[Ranked, ...]:
    """Hits with their ranks, verdicts and probabilities; without a calibration that holds, ranks alone."""
    return tuple(
        Ranked(
            start + n,
            hit,
            calibration.verdict(hit.distance, query.camid, hit.entry.camid) if calibration else None,
            calibration.probability(hit.distance) if calibration else None,
        )
        for n, hit in enumerate(hits, 1)
    )
