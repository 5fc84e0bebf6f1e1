"""The places of all matches in their rankings, and the scores that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.retrieval.counting import Floats, Matches
from crosscam.retrieval.labels import Ints


@dataclass(frozen=True, eq=False)
class Places:
    """All matches, ordered by query and, within it, by place in the ranking.

    Attributes:
        query_of: (M,) the query of each match.
        per_query: (Q,) number of matches of each query.
        nth: (M,) 1 for a query's first match, 2 for its second, ...
        before: (M,) non-matches ranked before the match.
        step_matches: (M,) matches up to and with the last of its ties.
        step_images: (M,) images up to and with the last of its ties.
    """

    query_of: Ints
    per_query: Ints
    nth: Ints
    before: Ints
    step_matches: Ints
    step_images: Ints

    @classmethod
    def ordered(cls, matches: Matches, values: Floats, before: Ints, not_after: Ints) -> Places:
        """From each match's distance and its two counts, (M,), as :func:`count_closer` gives them."""
        query_of = matches.query_of
        order = np.lexsort((values, query_of))  # stable: ties keep their ascending gallery index
        values = values[order]
        nth = np.arange(1, len(order) + 1) - matches.offsets[query_of]
        # Compared, not subtracted: two infinite distances are a tie.
        ends_tie = np.append((values[1:] != values[:-1]) | (query_of[1:] != query_of[:-1]), True)
        tie = np.cumsum(ends_tie) - ends_tie
        step_matches = nth[ends_tie][tie]
        return cls(query_of, matches.per_query, nth, before[order], step_matches, not_after[order] + step_matches)

    def step_precision(self) -> NDArray[np.float64]:
        """(M,) precision at each match, or at the last of its ties."""
        return self.step_matches / self.step_images

    def trapezoid_precision(self) -> NDArray[np.float64]:
        """(M,) mean of the precision at each match and that one image earlier, which is 1 before the first image."""
        earlier = self.before + self.nth - 1
        precision_earlier = np.where(earlier > 0, (self.nth - 1) / np.maximum(earlier, 1), 1.0)
        return (precision_earlier + self.nth / (earlier + 1)) / 2

    def mean_per_query(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(Q,) mean over each query's matches; 0 where there is none."""
        sums = np.bincount(self.query_of, weights=values, minlength=len(self.per_query))
        return sums / np.maximum(self.per_query, 1)

    def cmc(self, max_rank: int, *, first_only: bool) -> NDArray[np.float64]:
        """(R,) share of the queries, or of their matches, with fewer than r non-matches before."""
        share = (self.nth == 1) if first_only else 1 / self.per_query[self.query_of]
        gained = np.bincount(np.minimum(self.before, max_rank), weights=share, minlength=max_rank + 1)
        return np.cumsum(gained[:max_rank]) / np.count_nonzero(self.per_query)

    def inverse_negative_penalty(self) -> NDArray[np.float64]:
        """(number of counted queries,) matches / rank of the last match."""
        last = self.nth == self.per_query[self.query_of]
        penalty: NDArray[np.float64] = self.nth[last] / (self.before[last] + self.nth[last])
        return penalty
