"""How good a ranking is: average precision, CMC and mINP under the protocols of person re-identification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crosscam.data.records import RankingProtocol
from crosscam.errors import ArgumentError
from crosscam.metrics.blockwise import places_by_blocks
from crosscam.metrics.counting import (
    Floats,
    Labels,
    Matches,
    Places,
    check_labels,
    count_closer,
    find_matches,
    first_match_rank,
    inverse_negative_penalty,
    join_places,
    match_curve,
    mean_per_query,
    step_precision,
    trapezoid_precision,
)
from crosscam.metrics.single_shot import expected_single_shot
from crosscam.retrieval.distances import Descriptors, distance_blocks
from crosscam.system.columns import Column, Columns, Tabular

AveragePrecision = Literal["step", "trapezoid"]

# Rows brought into the layout that the counting wants, where the caller's matrix has another.
ROWS_AT_A_TIME = 512


@dataclass(frozen=True, eq=False)
class RankingResult(Tabular):
    """Scores of a ranking. All are fractions from 0 to 1. A row of a table is a query; a skipped one has no values.

    Attributes:
        mAP: mean of ``average_precision`` over the counted queries.
        cmc: (R,) float64; entry r - 1 is the share of queries with a match among the first r images.
        mINP: mean over queries of (number of matches) / (rank of the last match); Ye et al., TPAMI 2021.
        average_precision: (Q,) float64; NaN for a query that has no match in the gallery.
        first_match: (Q,) int64, rank of the first match, counted from 1; 0 for a query that has none.
        num_queries: queries counted.
        num_skipped: queries left out because the gallery has no match for them.
        ap: the variant of average precision.
        protocol: the variant of the CMC, see :func:`evaluate_ranking`.
    """

    mAP: float
    cmc: NDArray[np.float64]
    mINP: float
    average_precision: NDArray[np.float64]
    first_match: NDArray[np.int64]
    num_queries: int
    num_skipped: int
    ap: AveragePrecision
    protocol: RankingProtocol

    def __repr__(self) -> str:
        """The scores in per cent, and what they rest on; the single queries are left out."""
        ranks = "".join(f", rank-{r} {100 * self.cmc_at(r):.1f} %" for r in (1, 5, 10) if r <= len(self.cmc))
        skipped = f", {self.num_skipped:,} skipped" if self.num_skipped else ""
        scores = f"mAP {100 * self.mAP:.1f} %{ranks}, mINP {100 * self.mINP:.1f} %"
        return f"RankingResult({scores}, {self.num_queries:,} queries{skipped}, {self.protocol}, {self.ap})"

    def _columns(self) -> Columns:
        return {
            "query": Column("int", range(len(self.average_precision))),
            "average_precision": Column("float", self.average_precision),
            "first_match": Column("int", [rank or None for rank in self.first_match.tolist()]),
        }

    @property
    def rank1(self) -> float:
        """CMC at rank 1."""
        return self.cmc_at(1)

    @property
    def rank5(self) -> float:
        """CMC at rank 5."""
        return self.cmc_at(5)

    @property
    def rank10(self) -> float:
        """CMC at rank 10."""
        return self.cmc_at(10)

    def cmc_at(self, rank: int) -> float:
        """CMC at a rank, counted from 1; ValueError if the curve does not reach it."""
        if not 1 <= rank <= len(self.cmc):
            raise ArgumentError(f"Rank {rank} is not in the CMC, which has ranks 1 to {len(self.cmc)}; raise max_rank.")
        return float(self.cmc[rank - 1])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but what is of single queries."""
        ranks = {f"rank{r}": self.cmc_at(r) for r in (1, 5, 10) if r <= len(self.cmc)}
        return {
            "mAP": self.mAP,
            **ranks,
            "mINP": self.mINP,
            "cmc": [float(value) for value in self.cmc],
            "num_queries": self.num_queries,
            "num_skipped": self.num_skipped,
            "ap": self.ap,
            "protocol": self.protocol,
        }


def evaluate_ranking(
    distances: Tensor | NDArray[Any],
    query_pids: ArrayLike | Tensor,
    gallery_pids: ArrayLike | Tensor,
    query_camids: ArrayLike | Tensor,
    gallery_camids: ArrayLike | Tensor,
    *,
    ap: AveragePrecision = "step",
    protocol: RankingProtocol = "market1501",
    max_rank: int = 50,
) -> RankingResult:
    """Score the rankings that a distance matrix gives. Exact; no row is sorted.

    A query's ranking is the gallery without junk (pid -1) and without images of the query's pid *and* camid.
    Distractors (pid 0) stay and match no query. Equal distances rank by gallery index; ``ap="step"`` counts a group of
    equal distances as one step instead, as scikit-learn does. Queries without a match are skipped and counted.

    The protocols differ in the CMC alone; mAP and mINP are the same under all of them:

    - "market1501": a query counts from the rank of its first match on.
    - "allshots": each of a query's matches counts, by the number of non-matches before it, with equal shares.
    - "cuhk03": single gallery shot. From each identity one image is drawn, of cameras other than the query's; a query
      counts from the rank of its match on. The exact expectation over all draws is given, so nothing is random.

    Args:
        distances: (Q, G), smaller is closer; array or tensor on any device. Infinite is allowed, NaN is not.
        query_pids: (Q,) integers.
        gallery_pids: (G,) integers.
        query_camids: (Q,) integers.
        gallery_camids: (G,) integers.
        ap: "step" averages the precision at each match; "trapezoid" averages it with the precision just before the
            match, as the Market-1501 toolkit does.
        protocol: see above.
        max_rank: length R of the CMC.
    Raises:
        ValueError: lengths that differ, labels that are not integers, NaN, an empty gallery, or no query with a match.
    """
    distances = distances if isinstance(distances, Tensor) else np.asarray(distances)
    shape = tuple(distances.shape)
    if len(shape) != 2:
        raise ArgumentError(f"Distances have shape {shape}. Expected (queries, gallery images).")
    if "complex" in str(distances.dtype):
        raise ArgumentError(f"Distances are {distances.dtype}. Expected real numbers.")
    labels = check_labels(shape, query_pids, gallery_pids, query_camids, gallery_camids)
    return _evaluate(_row_blocks(distances), labels, ap, protocol, max_rank)


def evaluate_descriptors(
    query_descriptors: Descriptors,
    gallery_descriptors: Descriptors,
    query_pids: ArrayLike | Tensor,
    gallery_pids: ArrayLike | Tensor,
    query_camids: ArrayLike | Tensor,
    gallery_camids: ArrayLike | Tensor,
    *,
    ap: AveragePrecision = "step",
    protocol: RankingProtocol = "market1501",
    max_rank: int = 50,
) -> RankingResult:
    """Score the rankings by Euclidean distance, holding neither the distances nor, if it is a file, the gallery.

    Equal to :func:`evaluate_ranking` of :func:`crosscam.retrieval.pairwise_distances`; other arguments are as there.
    The gallery is read once, in blocks, where the images of the queries' identities are few beside it (up to some
    hundred million pairs; else a few times). Under ``protocol="cuhk03"`` it is held as a whole.

    Args:
        query_descriptors: (Q, D) array or tensor, on any device, where the distances are computed.
        gallery_descriptors: (G, D) array or tensor; ``numpy.load(file, mmap_mode="r")`` does for a file, and float16
            takes half the place.
    Raises:
        ValueError: as there, and for descriptors that do not fit each other or are not finite.
    """
    shape = (len(query_descriptors), len(gallery_descriptors))
    labels = check_labels(shape, query_pids, gallery_pids, query_camids, gallery_camids)
    if protocol == "cuhk03":  # its expectation needs whole rows
        return _evaluate(distance_blocks(query_descriptors, gallery_descriptors), labels, ap, protocol, max_rank)
    matches = _checked_matches(labels, ap, protocol, max_rank)
    places = places_by_blocks(query_descriptors, gallery_descriptors, matches)
    return _score(places, matches, None, ap, protocol, max_rank)


def _evaluate(
    blocks: Iterable[tuple[int, Floats | Tensor]],
    labels: Labels,
    ap: AveragePrecision,
    protocol: RankingProtocol,
    max_rank: int,
) -> RankingResult:
    matches = _checked_matches(labels, ap, protocol, max_rank)
    parts = []
    single_shot = np.zeros(max_rank)
    for first, block in blocks:
        rows = block.cpu().numpy() if isinstance(block, Tensor) else block
        parts.append(count_closer(rows, matches, first))
        if protocol == "cuhk03":
            single_shot += expected_single_shot(rows, labels, matches, first, max_rank)
    return _score(join_places(parts), matches, single_shot, ap, protocol, max_rank)


def _checked_matches(labels: Labels, ap: AveragePrecision, protocol: RankingProtocol, max_rank: int) -> Matches:
    """The matches of all queries; ValueError for an unknown variant, or where every query would be skipped."""
    for name, value, allowed in (("ap", ap, AveragePrecision), ("protocol", protocol, RankingProtocol)):
        if value not in get_args(allowed):
            raise ArgumentError(f"{name} is {value!r}. Expected one of {', '.join(get_args(allowed))}.")
    if max_rank < 1:
        raise ArgumentError(f"max_rank is {max_rank}. Expected at least 1.")
    matches = find_matches(labels)
    if not len(matches.columns):
        same_camera = np.count_nonzero(np.diff(matches.same_offsets))
        raise ArgumentError(
            f"Every query was skipped: none of the {len(matches.per_query)} queries has a gallery image of its pid "
            f"from another camera ({same_camera} have one from their own camera). Check pids and camids of query and "
            "gallery."
        )
    return matches


def _score(
    places: Places,
    matches: Matches,
    single_shot: NDArray[np.float64] | None,
    ap: AveragePrecision,
    protocol: RankingProtocol,
    max_rank: int,
) -> RankingResult:
    """The scores of counted places; ``single_shot`` (R,) is the CMC's sum over the queries where it was counted."""
    average_precision = mean_per_query(step_precision(places) if ap == "step" else trapezoid_precision(places), matches)
    num_queries = int(np.count_nonzero(matches.per_query))
    if protocol == "cuhk03" and single_shot is not None:
        cmc = single_shot / num_queries
    else:
        cmc = match_curve(places, matches, max_rank, first_only=protocol == "market1501")
    return RankingResult(
        mAP=float(np.nanmean(average_precision)),
        cmc=cmc,
        mINP=float(inverse_negative_penalty(places, matches).mean()),
        average_precision=average_precision,
        first_match=first_match_rank(places, matches),
        num_queries=num_queries,
        num_skipped=len(average_precision) - num_queries,
        ap=ap,
        protocol=protocol,
    )


def _row_blocks(distances: Tensor | NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """The matrix as C-ordered float32 or float64 rows: at once where it is that already, else in copied blocks."""
    if isinstance(distances, Tensor):
        distances = distances.detach()
        if distances.device.type == "cpu" and distances.dtype.itemsize >= 4:
            distances = distances.numpy()
    whole = isinstance(distances, np.ndarray) and distances.flags.c_contiguous
    if whole and distances.dtype in (np.float32, np.float64):
        yield 0, distances
        return
    for first in range(0, len(distances), ROWS_AT_A_TIME):
        block = distances[first : first + ROWS_AT_A_TIME]
        if isinstance(block, Tensor):
            block = (block.float() if block.dtype.itemsize < 4 else block).cpu().numpy()
        # float16 fits float32 exactly; of the rest only float64 holds every value.
        dtype = np.float32 if block.dtype in (np.float16, np.float32) else np.float64
        yield first, np.ascontiguousarray(block, dtype=dtype)
