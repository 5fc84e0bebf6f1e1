"""Where the relation of one part looks, over all queries: means with intervals, as a table and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from crosscam.explain.activation import PartFocus
from crosscam.metrics.intervals import Interval, mean_interval, paired_difference
from crosscam.report.shell import fragment


@dataclass(frozen=True)
class FocusRow:
    """One line of the table: a model, or the difference of both; see :class:`crosscam.explain.activation.PartFocus`.

    Attributes:
        stripes: the share of the relation's activation in each stripe.
        rest: the share in each stripe, of what lies outside the part; None at the part itself.
        outside, outside_whole: the share outside the part, and the same for the whole block q.
        num_images: what it rests on.
    """

    name: str
    stripes: tuple[Interval, ...]
    rest: tuple[Interval | None, ...]
    outside: Interval
    outside_whole: Interval
    unlikeness: Interval
    num_images: int


def focus_rows(
    names: Sequence[str], focus: Sequence[PartFocus], pids: NDArray[np.int64], seed: int = 0
) -> list[FocusRow]:
    """A line for each of two models, and one for the first less the second on the same N images.

    Images on which the relation of either model adds nothing at all, so that there is no share, are left out of all.
    The bootstrap draws whole persons by their (N,) ``pids``.
    """
    counted = ~np.logical_or.reduce([np.isnan(f.outside) for f in focus])
    people, part = pids[counted], focus[0].part

    def rows(f: PartFocus) -> dict[str, NDArray[np.float64]]:
        stripes = f.stripes[counted]
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = stripes / f.outside[counted][:, None]
        return {f"stripe{j}": stripes[:, j] for j in range(stripes.shape[1])} | {
            **{f"rest{j}": rest[:, j] for j in range(stripes.shape[1]) if j != part},
            "outside": f.outside[counted],
            "outside_whole": f.outside_whole[counted],
            "unlikeness": f.unlikeness[counted],
        }

    measured = [rows(f) for f in focus]
    num_parts = focus[0].stripes.shape[1]
    lines = [
        _row(name, {k: mean_interval(v[None], people, seed=seed) for k, v in values.items()}, num_parts, len(people))
        for name, values in zip(names, measured, strict=True)
    ]
    first, second = measured
    less = {k: paired_difference(first[k][None], second[k][None], people, seed=seed) for k in first}
    return [*lines, _row("difference", less, num_parts, len(people))]


def _row(name: str, found: dict[str, Interval], num_parts: int, num_images: int) -> FocusRow:
    stripes = tuple(found[f"stripe{j}"] for j in range(num_parts))
    rest = tuple(found.get(f"rest{j}") for j in range(num_parts))
    return FocusRow(name, stripes, rest, found["outside"], found["outside_whole"], found["unlikeness"], num_images)


def focus_html(rows: Sequence[FocusRow], part: int, num_parts: int) -> Markup:
    """Two tables and what they mean; ``part`` counts from 1."""
    outside = [
        [row.name, _percent(row.outside), _percent(row.outside_whole), _plain(row.unlikeness), f"{row.num_images:,}"]
        for row in rows
    ]
    heads = ["", f"outside part {part}", f"outside part {part}, of all of q", "unlikeness", "images"]
    stripes = [[row.name, *map(_percent, row.stripes)] for row in rows]
    rest = [[row.name, *("–" if x is None else _percent(x) for x in row.rest)] for row in rows]
    stripe_heads = ["", *(f"stripe {j + 1}" for j in range(num_parts))]
    first = {"outside_heads": heads, "outside": outside}
    return fragment("focus.html", "focus", part=part, **first, stripe_heads=stripe_heads, stripes=stripes, rest=rest)


def focus_data(rows: Sequence[FocusRow]) -> list[dict[str, Any]]:
    """JSON-ready; shares are fractions, each as [mean, low, high]."""
    return [
        {
            "name": row.name,
            "outside": _list(row.outside),
            "outside_whole": _list(row.outside_whole),
            "unlikeness": _list(row.unlikeness),
            "stripes": [_list(x) for x in row.stripes],
            "rest": [None if x is None else _list(x) for x in row.rest],
            "images": row.num_images,
        }
        for row in rows
    ]


def _list(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def _percent(interval: Interval) -> str:
    value, low, high = (100 * x for x in _list(interval))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]".replace("-", "−")


def _plain(interval: Interval) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]".replace("-", "−")
