"""What a search asks for, and what it found, in plain objects that the page, the API and the exports share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from crosscam.gallery import Entry, Hit, SearchOptions
from crosscam.report.hits import is_right
from crosscam.report.pairs import SimilarPair
from crosscam.retrieval.calibration import Calibration, Verdict
from crosscam.web.queries import Query

PAGE_SIZE = 24


def asked_for(options: SearchOptions, start: int) -> dict[str, object]:
    """For the audit log and reports: what is not as on the page by default."""
    default = SearchOptions(k=PAGE_SIZE)
    where = options.where
    found: dict[str, object] = {"cameras": where.camids, "not_cameras": where.not_camids}
    found |= {"time_from": where.time_from, "time_to": where.time_to}
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
        likeness: what the page of pairs says of the query and this hit; empty where it says nothing.
        right: whether it shows the query's person; None where either identity is unknown.
    """

    rank: int
    hit: Hit
    verdict: Verdict | None
    probability: float | None
    likeness: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Known:
    """What the gallery knows about a query.

    Attributes:
        own: entries that show the query's own image.
        camid: its camera; None where the gallery does not tell.
        pid: its identity, above 0; None likewise.
    """

    own: tuple[Entry, ...] = ()
    camid: int | None = None
    pid: int | None = None

    @classmethod
    def of(cls, own: Sequence[Entry]) -> Known:
        """By the entries of the query's own image, where they agree."""
        camids, pids = {entry.camid for entry in own}, {entry.pid for entry in own}
        pid = pids.pop() if len(pids) == 1 else None
        return cls(tuple(own), camids.pop() if len(camids) == 1 else None, pid if pid is not None and pid > 0 else None)


@dataclass(frozen=True, eq=False)
class Found:
    """The answer to a search.

    Attributes:
        query: what was searched with.
        known: what the gallery knows about it.
        asked: how, where not as by default.
        hits: in order.
        more: whether there may be further hits.
        confirmed: entries that somebody confirmed; they were searched with as well and are not among the hits.
        rejected: entries that somebody rejected; they are not among the hits.
        rests_on: what the verdicts rest on, or why there are none.
        prior: what the probabilities take for granted; None without any.
        percentages: the same in a sentence; empty without any.
        seconds: how long the gallery took.
    """

    query: Query
    known: Known
    asked: dict[str, object]
    hits: tuple[Ranked, ...]
    more: bool
    confirmed: tuple[Entry, ...]
    rejected: tuple[Entry, ...]
    rests_on: str
    prior: float | None
    percentages: str
    seconds: float


def judged(
    hits: list[Hit], start: int, query: Query, known: Known, calibration: Calibration | None, pair: SimilarPair | None
) -> tuple[Ranked, ...]:
    """Hits with their ranks and what is known about them.

    Args:
        hits: nearest first.
        start: hits before them.
        query: what was searched with.
        known: about the query.
        calibration: one that holds for this search, for verdicts and probabilities.
        pair: the pair of the page of pairs that the query is in.
    """
    likeness = {pair.first.id: pair.verdict, pair.second.id: pair.verdict} if pair else {}
    return tuple(
        Ranked(
            start + n,
            hit,
            calibration.verdict(hit.distance, query.camid, hit.entry.camid) if calibration else None,
            calibration.probability(hit.distance) if calibration else None,
            likeness.get(hit.entry.id, ""),
            is_right(known.pid, hit.entry.pid),
        )
        for n, hit in enumerate(hits, 1)
    )
