"""Several models on the same queries, side by side: as the paper's Figures 4, 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from crosscam.data.images import decode_image
from crosscam.data.records import Sample
from crosscam.report.overlay import mapped_svg
from crosscam.report.strip_view import SHOWN_HEIGHT, match_tile, query_tile, thumbnail, who
from crosscam.report.strips import RankStrip

REASONS = {
    "differing": "the models differ most",
    "random": "drawn at random",
    "hardest": "hardest",
    "easiest": "easiest",
}


@dataclass(frozen=True, eq=False)
class QueryMap:
    """An activation map over the query.

    Attributes:
        values: (H', W') in [0, 1].
        rows: top and bottom edge of the part it belongs to, as fractions of the height.
        num_stripes: the scale.
    """

    values: NDArray[np.floating]
    rows: tuple[float, float]
    num_stripes: int


@dataclass(frozen=True)
class ModelRow:
    """What one model finds for a query, and where it looks if that is known."""

    name: str
    strip: RankStrip
    query_map: QueryMap | None = None


@dataclass(frozen=True)
class ComparedQuery:
    """One query and a row for each model."""

    query: Sample
    rows: tuple[ModelRow, ...]


def comparison_html(entry: ComparedQuery) -> str:
    """The query at the left, and for each model its name, its map and its first matches."""
    strip = entry.rows[0].strip
    precisions = [row.strip.average_precision for row in entry.rows]
    spread = f"AP from {100 * min(precisions):.1f} to {100 * max(precisions):.1f} %"
    facts = f"<b>{escape(who(entry.query))}, camera {entry.query.camid}</b> · {REASONS[strip.kind]} · {spread}"
    rows = "".join(map(_row_html, entry.rows))
    return (
        f'<article class="strip compare"><p class="facts">{facts}</p><div class="side">'
        f'<ul class="row">{query_tile(entry.query)}</ul><div class="models">{rows}</div></div></article>'
    )


def row_facts(row: ModelRow) -> tuple[str, str]:
    """Average precision and the first right rank, in words."""
    rank = row.strip.first_correct_rank
    first = f"first right: rank {rank:,}" if rank else "no right match"
    return f"AP {100 * row.strip.average_precision:.1f} %", first


def _row_html(row: ModelRow) -> str:
    tiles = "".join(match_tile(match) for match in row.strip.matches)
    label = escape(f"First matches of {row.name}")
    mapped = _map_html(row.strip.query, row.query_map, row.name) if row.query_map else ""
    words = "".join(f"<span>{escape(fact)}</span>" for fact in row_facts(row))
    return (
        f'<div class="model"><p class="model-name"><b>{escape(row.name)}</b>{words}</p>{mapped}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><ol class="row">{tiles}</ol></div></div>'
    )


def _map_html(query: Sample, query_map: QueryMap, name: str) -> str:
    uri, width = thumbnail(decode_image(query.path))
    picture = f'<image href="{uri}" width="{width}" height="{SHOWN_HEIGHT}" preserveAspectRatio="none"/>'
    drawn = mapped_svg(
        picture,
        query_map.values,
        width,
        SHOWN_HEIGHT,
        f"The query under the map of {name}",
        marked=query_map.rows,
        num_stripes=query_map.num_stripes,
    )
    return f'<div class="query-map">{drawn}</div>'
