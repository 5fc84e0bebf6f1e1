"""What a search asks for, and what it found, in plain objects that the page, the API and the exports share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosscam.gallery import Entry, Hit, Where
from crosscam.retrieval.calibration import Calibration, Verdict
from crosscam.web.queries import Query


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        cameras: only these; None for all.
        time_from, time_to: only within these seconds; None for no bound.
        weights: body parts or blocks by name; what is not named has 1.
        start: hits to pass over.
        limit: hits to give.
        pool_tracks: a track counts as one hit.
        rerank_first: re-rank this many hits by their neighbours; 0 for none.
    """

    cameras: tuple[int, ...] | None = None
    time_from: float | None = None
    time_to: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    start: int = 0
    limit: int = 24
    pool_tracks: bool = False
    rerank_first: int = 0

    def where(self, not_ids: tuple[int, ...]) -> Where:
        """The gallery's conditions."""
        return Where(
            camids=self.cameras, time_from=self.time_from, time_to=self.time_to, not_ids=not_ids if not_ids else None
        )

    @property
    def changed_weights(self) -> dict[str, float]:
        """The weights that are not 1."""
        return {name: value for name, value in self.weights.items() if value != 1}

    def asked(self) -> dict[str, object]:
        """For the audit log: what is not as by default."""
        default = Options()
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "weights"}
        said = {name: value for name, value in values.items() if value != getattr(default, name)}
        return said | ({"weights": self.changed_weights} if self.changed_weights else {})


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
        options: how.
        hits: in order.
        more: whether there may be further hits.
        confirmed: entries that somebody confirmed; they were searched with as well and are not among the hits.
        rejected: entries that somebody rejected; they are not among the hits.
        rests_on: what the verdicts rest on, or why there are none.
        prior: what the probabilities take for granted; None without any.
        seconds: how long the gallery took.
    """

    query: Query
    options: Options
    hits: tuple[Ranked, ...]
    more: bool
    confirmed: tuple[Entry, ...]
    rejected: tuple[Entry, ...]
    rests_on: str
    prior: float | None
    seconds: float


def judged(hits: list[Hit], options: Options, query: Query, calibration: Calibration | None) -> tuple[Ranked, ...]:
    """Hits with their ranks, verdicts and probabilities."""
    usable = calibration if calibration_holds(options) else None
    return tuple(
        Ranked(
            options.start + n,
            hit,
            usable.verdict(hit.distance, query.camid, hit.entry.camid) if usable else None,
            usable.probability(hit.distance) if usable else None,
        )
        for n, hit in enumerate(hits, 1)
    )


def calibration_holds(options: Options) -> bool:
    """Whether the distances of a search are those that a calibration was made with."""
    return not options.changed_weights and not options.rerank_first


def what_verdicts_rest_on(options: Options, calibration: Calibration | None, reason: str) -> str:
    """One sentence for the reader of a result."""
    if calibration is None:
        return f"No verdicts: {reason}"
    if not calibration_holds(options):
        return "No verdicts: weights for body parts and re-ranking change the distances that were calibrated."
    return calibration.rests_on()
