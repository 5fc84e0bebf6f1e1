"""One explained pair as a page: the squared distance drawn on the two pictures, and where each block looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.explain.pair import BlockShare, PairExplanation
from crosscam.explain.typical import TypicalPairs, beyond_chance, beyond_length, block_words
from crosscam.report.overlay import heat_legend, mapped_svg
from crosscam.report.shell import html_page, origin_html, table_html, write_page
from crosscam.report.strip_view import thumbnail
from crosscam.system.text import counted

SHOWN_HEIGHT = 272
STORED_HEIGHT = 384
MIDDLE = 132
BAR_LENGTH = 64
WHOLE_HEIGHT = 26
CAPTION_HEIGHT = 20
TILE_HEIGHT = 168
# The square leaves what agrees clear to see, and clothes stay visible below the rest; the bars are proportional.
TINT = 0.25

MAPS = {
    "strength": (
        "Each map shows which places of the image make the block as strong as it is. "
        "Bright places feed the block, clear ones do not"
    ),
    "agreement": (
        "Each map shows which places of the image make the block agree with the other picture's block. "
        "Bright places speak for the same person, clear ones do not"
    ),
}
METHOD = (
    "It is gradient times activation on the last feature map, summed over channels, negative places left out. The "
    "brightest place of each map is 1, so brightness compares places within a map, not maps with each other. A place "
    "of the map has also seen what lies around it."
)


def write_pair_page(
    path: Path,
    pair: PairExplanation,
    provenance: Mapping[str, str] | None = None,
    typical: TypicalPairs | None = None,
) -> None:
    """Write the page; arguments as for :func:`render_pair_page`.

    Raises:
        CrosscamError: the file cannot be written.
    """
    write_page(path, render_pair_page(pair, provenance or {}, typical))


def render_pair_page(pair: PairExplanation, provenance: Mapping[str, str], typical: TypicalPairs | None = None) -> str:
    """The whole page as HTML text, with style and pictures inside it.

    Args:
        pair: what is explained.
        provenance: how the page was made, by name.
        typical: pairs that tell which parts agree or differ beyond chance; without them, the parts' lengths tell.
    """
    sections = {
        "parts": ("Which part decides", _parts(pair)),
        "maps": ("Where each block looks", _maps(pair)),
        "numbers": ("The sum", _numbers(pair)),
        "origin": ("Where this comes from", origin_html(provenance)),
    }
    names = f"{Path(pair.query).name} and {Path(pair.match).name}"
    words = (
        "The squared distance of the two descriptors is a sum over body parts and scales. A long bar or a strong tint "
        "is where the two look different; where there is none, they agree."
    )
    lead = _headline(pair) + f'<p class="subtitle">{escape(parts_sentence(pair, typical))}</p>'
    return html_page("explanation", names, words, sections, lead=lead, styles=("pair.css",))


def parts_sentence(pair: PairExplanation, typical: TypicalPairs | None = None) -> str:
    """Which parts of a pair agree and which differ beyond chance, and what that was measured against."""
    layout = tuple(part.block for part in pair.blocks)
    values = np.array([part.squared_distance for part in pair.blocks])
    found = beyond_chance(values, layout, typical) if typical else ""
    return found or beyond_length(values, np.array([part.squared_length for part in pair.blocks]), layout)


def _headline(pair: PairExplanation) -> str:
    """Distance, sum and the block that adds most, in large type."""
    most = max(pair.blocks, key=lambda part: part.squared_distance)
    cards = (
        ("distance", "d, from 0 (equal) to 2", f"{pair.distance:.3f}"),
        ("squared distance", f"the sum of {counted(len(pair.blocks), 'block')}", f"{pair.squared_distance:.4f}"),
        ("largest block", block_words(most.block), f"{_percent(most.share)}<small> %</small>"),
    )
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><p class="key"><b>{escape(name)}</b> {escape(hint)}</p><p class="big">{value}</p></div>'
            for name, hint, value in cards
        )
        + "</div>"
    )


def _parts(pair: PairExplanation) -> str:
    """One drawing for each scale."""
    query_uri, query_width = thumbnail(pair.query_image, SHOWN_HEIGHT, STORED_HEIGHT)
    match_uri, match_width = thumbnail(pair.match_image, SHOWN_HEIGHT, STORED_HEIGHT)
    symbols = "".join(
        f'<symbol id="{name}" viewBox="0 0 {width} {SHOWN_HEIGHT}" preserveAspectRatio="none">'
        f'<image href="{uri}" width="{width}" height="{SHOWN_HEIGHT}" preserveAspectRatio="none"/></symbol>'
        for name, uri, width in (("query", query_uri, query_width), ("match", match_uri, match_width))
    )
    store = f'<svg class="store" width="0" height="0" aria-hidden="true">{symbols}</svg>'
    unit = max(part.squared_distance for part in pair.blocks) or 1.0
    drawings = "".join(
        _scale(num_parts, blocks, unit, (query_width, match_width)) for num_parts, blocks in _scales(pair.blocks)
    )
    note = (
        "All bars share one scale, and so do the tints, which deepen by the square. Gray bars are features that saw "
        "the whole image."
    )
    return f'{store}<p class="lead">{note}</p><div class="scales">{drawings}</div>'


def _scales(blocks: Sequence[BlockShare]) -> list[tuple[int, list[BlockShare]]]:
    """The blocks of each number of stripes, finest first."""
    ordered = sorted(blocks, key=lambda part: -part.block.num_parts)
    return [(n, list(group)) for n, group in groupby(ordered, key=lambda part: part.block.num_parts)]


def _scale(num_parts: int, blocks: list[BlockShare], unit: float, widths: tuple[int, int]) -> str:
    """Both pictures with their tinted stripes, and between them a bar for each stripe; whole-image bars below."""
    local = [part for part in blocks if part.block.kind == "local"]
    whole = [part for part in blocks if part.block.kind != "local"]
    right = widths[0] + MIDDLE
    total_width = right + widths[1]
    total_height = SHOWN_HEIGHT + max(CAPTION_HEIGHT, WHOLE_HEIGHT * len(whole) + 4)
    drawn = []
    for name, x, width in (("query", 0, widths[0]), ("match", right, widths[1])):
        drawn.append(_picture(name, x, width))
        drawn.append(f'<text class="mid" x="{x + width / 2:.0f}" y="{SHOWN_HEIGHT + 17}">{name}</text>')
    for part in local:
        top, bottom = (edge * SHOWN_HEIGHT for edge in part.block.rows)
        opacity = TINT * (part.squared_distance / unit) ** 2
        tint = f'y="{top:.1f}" height="{bottom - top:.1f}" fill-opacity="{opacity:.3f}"'
        drawn.append(
            f'<g><rect class="tint" x="0" width="{widths[0]}" {tint}/>'
            f'<rect class="tint" x="{right}" width="{widths[1]}" {tint}/>'
            f"{_bar(part, unit, widths[0], (top + bottom) / 2)}</g>"
        )
        if top > 0:
            drawn.append(f'<path class="edge" d="M0 {top:.1f}H{widths[0]}M{right} {top:.1f}H{total_width}"/>')
    for k, part in enumerate(whole):
        drawn.append(f"<g>{_bar(part, unit, widths[0], SHOWN_HEIGHT + 18 + WHOLE_HEIGHT * k)}</g>")
    shares = ", ".join(f"{block_words(part.block)} {_percent(part.share)} %" for part in blocks)
    share = sum(part.share for part in blocks)
    name = f"{num_parts} stripes" if local and num_parts > 1 else "whole image"
    caption = f"{name} <span>{_percent(share)} % of the squared distance</span>"
    return (
        f'<figure class="scale"><figcaption>{caption}</figcaption>'
        f'<svg viewBox="0 0 {total_width} {total_height}" width="{total_width}" role="img" '
        f'aria-label="Shares of the squared distance: {escape(shares)}">{"".join(drawn)}</svg></figure>'
    )


def _picture(name: str, x: float, width: int, height: float = SHOWN_HEIGHT) -> str:
    return f'<use href="#{name}" x="{x}" y="0" width="{width}" height="{height}"/>'


def _bar(part: BlockShare, unit: float, left: int, middle: float) -> str:
    """A bar between the pictures, with the share behind it and a tooltip."""
    length = max(0.8, BAR_LENGTH * part.squared_distance / unit)
    most = " most" if part.squared_distance == unit else ""
    kind = f"band{most}" if part.block.kind == "local" else "whole"
    label = f"{_percent(part.share)} %"
    title = f"{block_words(part.block)}: {part.squared_distance:.4f}, {label} of the squared distance"
    return (
        f'<rect class="{kind}" x="{left + 8}" y="{middle - 6:.1f}" width="{length:.1f}" height="12" rx="2"/>'
        f'<text class="share" x="{left + 14 + length:.1f}" y="{middle + 4:.1f}">{label}</text>'
        f"<title>{escape(title)}</title>"
    )


def _maps(pair: PairExplanation) -> str:
    """For each block both pictures under their maps."""
    if pair.query_maps is None or pair.match_maps is None:
        return '<p class="empty">This model has no single feature map that all blocks come from, so none is drawn.</p>'
    guide = f'<p class="lead">{MAPS[pair.maps_of]}. {METHOD}</p>{heat_legend()}'
    plain = "".join(
        f'<svg viewBox="0 0 {TILE_HEIGHT // 2} {TILE_HEIGHT}" width="{TILE_HEIGHT // 2}" height="{TILE_HEIGHT}" '
        f'role="img" aria-label="{name} without a map">{_picture(name, 0, TILE_HEIGHT // 2, TILE_HEIGHT)}</svg>'
        for name in ("query", "match")
    )
    tiles = f'<figure class="map"><figcaption>without a map</figcaption><div class="two">{plain}</div></figure>'
    tiles += "".join(
        f'<figure class="map"><figcaption>{escape(block_words(part.block))} '
        f"<span>{_percent(part.share)} %</span></figcaption>"
        f'<div class="two">{_map("query", part, query)}{_map("match", part, match)}</div></figure>'
        for part, query, match in zip(pair.blocks, pair.query_maps, pair.match_maps, strict=True)
    )
    return f'{guide}<div class="maps">{tiles}</div>'


def _map(name: str, part: BlockShare, values: NDArray[np.float32]) -> str:
    """One picture under its map; lines mark the rows that the block stands for."""
    width = TILE_HEIGHT // 2
    picture = _picture(name, 0, width, TILE_HEIGHT)
    marked = part.block.rows if part.block.kind == "local" else None
    label = f"{name} under the map of {block_words(part.block)}"
    return mapped_svg(picture, values, width, TILE_HEIGHT, label, marked=marked)


def _numbers(pair: PairExplanation) -> str:
    """All addends, their sum, and how far it is from the distance that ranks."""
    weighted = any(part.weight != 1 for part in pair.blocks)
    heads = ["block", "name", "rows", "stripes", *(["weight"] if weighted else []), "squared distance", "share"]
    rows = [
        [
            block_words(part.block),
            part.block.name,
            f"{100 * part.block.rows[0]:.0f}–{100 * part.block.rows[1]:.0f} %",
            str(part.block.num_parts),
            *([f"{part.weight:g}"] if weighted else []),
            f"{part.squared_distance:.6f}",
            f"{_percent(part.share)} %",
        ]
        for part in pair.blocks
    ]
    rest = [""] * (len(heads) - 3)
    rows.append(["sum", *rest, f"{pair.squared_distance:.6f}", "100.0 %" if pair.squared_distance else "0.0 %"])
    rows.append(["d², by which galleries are ranked", *rest, f"{pair.distance**2:.6f}", ""])
    note = (
        "The blocks are added in float64, the ranking's distance is float32: they differ by rounding, "
        f"here {pair.deviation:.1e}. The name of a block is what --weight takes."
    )
    return f'{table_html(heads, rows, "Squared distance by block")}<p class="lead after">{note}</p>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
