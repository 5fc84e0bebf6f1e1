"""Rank strips: what a query finds first, right or wrong, and which body part decided (as in the paper's Fig. 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import JUNK_PID, ReidDataset, Sample, camids_of, pids_of
from crosscam.errors import ArgumentError
from crosscam.models.output import Layout
from crosscam.retrieval.contributions import part_contributions

Kind = Literal["hardest", "easiest", "differing", "random"]


@dataclass(frozen=True)
class Match:
    """One gallery image in a query's ranking.

    Attributes:
        rank: its place, counted from 1 among the images that ranking keeps.
        distance: what it was ranked by.
        contributions: (L,) squared Euclidean distance of the descriptors, block by block of the layout.
    """

    sample: Sample
    rank: int
    distance: float
    correct: bool
    contributions: NDArray[np.float64]


@dataclass(frozen=True)
class RankStrip:
    """One query and the first images of its ranking.

    Attributes:
        kind: why the query was chosen.
        average_precision: a fraction.
        matches: nearest first.
        first_correct: the first right match where it comes after the last of ``matches``, else None.
        num_correct, num_ranked: right images, and all images, that ranking keeps for this query.
        layout: the blocks that the contributions stand for.
    """

    kind: Kind
    query: Sample
    average_precision: float
    matches: tuple[Match, ...]
    first_correct: Match | None
    num_correct: int
    num_ranked: int
    layout: Layout

    @property
    def first_correct_rank(self) -> int | None:
        """Rank of the first right match, in the strip or beyond; None if the gallery has none."""
        shown = next((match.rank for match in self.matches if match.correct), None)
        return shown if shown is not None else self.first_correct.rank if self.first_correct else None


def rank_strips(
    dataset: ReidDataset,
    distances: NDArray[np.floating],
    average_precision: NDArray[np.floating],
    query_descriptors: NDArray[np.floating],
    gallery_descriptors: NDArray[np.floating],
    layout: Layout,
    *,
    num_hardest: int = 8,
    num_easiest: int = 4,
    top: int = 10,
) -> list[RankStrip]:
    """Strips of the hardest queries, then of the easiest, by average precision; fewer where fewer queries were scored.

    Each identity is shown once as long as there are others, and a query never twice. Gallery images are dropped as in
    :func:`crosscam.evaluate_ranking`: junk (pid -1), and images of the query's identity *and* camera. Equal distances
    rank by gallery index.

    Args:
        dataset: its query and gallery give the Q rows and G columns.
        distances: (Q, G), smaller is closer.
        average_precision: (Q,); NaN marks a query that was not scored, which is never shown.
        query_descriptors, gallery_descriptors: (Q, D) and (G, D).
        layout: blocks of the descriptor.
        num_hardest, num_easiest: most strips of either kind.
        top: images in a strip.
    Raises:
        ValueError: arrays that do not fit the dataset, or a negative count.
    """
    num_query, num_gallery = len(dataset.query), len(dataset.gallery)
    _check_shape("distances", distances, (num_query, num_gallery))
    _check_shape("average_precision", average_precision, (num_query,))
    _check_rows("query_descriptors", query_descriptors, num_query)
    _check_rows("gallery_descriptors", gallery_descriptors, num_gallery)
    if top < 1 or num_hardest < 0 or num_easiest < 0:
        raise ArgumentError(
            f"Expected top >= 1, num_hardest >= 0 and num_easiest >= 0, found {top}, {num_hardest}, {num_easiest}."
        )
    scored = np.flatnonzero(~np.isnan(average_precision))
    rising = scored[np.argsort(average_precision[scored], kind="stable")]
    falling = scored[np.argsort(-average_precision[scored], kind="stable")]
    pids, asked = pids_of(dataset.query), query_descriptors
    hardest = distinct_first(rising, pids, num_hardest, ())
    easiest = distinct_first(falling, pids, num_easiest, hardest)
    chosen: list[tuple[Kind, int]] = [*(("hardest", q) for q in hardest), *(("easiest", q) for q in easiest)]
    return [
        query_strip(dataset, q, kind, distances[q], average_precision[q], asked[q], gallery_descriptors, layout, top)
        for kind, q in chosen
    ]


def query_strip(
    dataset: ReidDataset,
    q: int,
    kind: Kind,
    distances: NDArray[np.floating],
    average_precision: float,
    query_descriptor: NDArray[np.floating],
    gallery_descriptors: NDArray[np.floating],
    layout: Layout,
    top: int,
) -> RankStrip:
    """The strip of query number ``q``, as :func:`rank_strips` makes it, from its (G,) distances and (D,) descriptor."""
    query, pids = dataset.query[q], pids_of(dataset.gallery)
    seen_again = (pids == query.pid) & (camids_of(dataset.gallery) == query.camid)
    kept = np.flatnonzero(~seen_again & (pids != JUNK_PID))
    order = kept[np.argsort(distances[kept], kind="stable")]
    correct = pids[order] == query.pid
    right = np.flatnonzero(correct)
    shown = list(range(min(top, len(order))))
    beyond = bool(len(right)) and int(right[0]) >= top
    if beyond:
        shown.append(int(right[0]))
    contributions = part_contributions(query_descriptor, gallery_descriptors[order[shown]], layout)
    matches = [
        Match(dataset.gallery[i], place + 1, float(distances[i]), bool(correct[place]), contributions[n])
        for n, (place, i) in enumerate(zip(shown, order[shown], strict=True))
    ]
    last = matches.pop() if beyond else None
    return RankStrip(kind, query, float(average_precision), tuple(matches), last, len(right), len(order), layout)


def distinct_first(order: Iterable[int], pids: NDArray[np.int64], count: int, taken: Iterable[int] = ()) -> list[int]:
    """The first ``count`` queries of ``order`` not yet taken, each identity once before any comes again."""
    used = set(taken)
    candidates = [int(q) for q in order if int(q) not in used]
    seen: set[int] = set()
    once: list[int] = []
    again: list[int] = []
    for q in candidates:
        (again if int(pids[q]) in seen else once).append(q)
        seen.add(int(pids[q]))
    picked = set([*once, *again][:count])
    return [q for q in candidates if q in picked]


def _check_shape(name: str, array: NDArray[np.floating], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ArgumentError(f"{name} must have shape {shape} for this dataset, found {array.shape}.")


def _check_rows(name: str, array: NDArray[np.floating], rows: int) -> None:
    if array.ndim != 2 or len(array) != rows:
        raise ArgumentError(f"{name} must be ({rows}, D) for this dataset, found shape {array.shape}.")
