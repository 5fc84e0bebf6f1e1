"""One explained pair as a page: the squared distance drawn on the two images, and where each block looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from markupsafe import Markup

from crosscam.explain.pair import BlockShare, PairExplanation
from crosscam.explain.typical import TypicalPairs, beyond_chance, beyond_length, block_words
from crosscam.report.image_tiles import heat_ramp, heat_uri, thumbnail
from crosscam.report.shell import fragment, html_page, origin_html, write_page
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
        "Each map shows which places of the image make the block agree with the other image's block. "
        "Bright places speak for the same person, clear ones do not"
    ),
}
METHOD = "It is gradient times activation on the last feature map, summed over channels, negative places left out."
SILENCED = (
    "It is what gets lost when a place of the last feature map is set to 0, negative places left out: a network from "
    "elsewhere gives no gradients."
)
READING = (
    "The brightest place of each map is 1, so brightness compares places within a map, not maps with each other. A "
    "place of the map has also seen what lies around it."
)


def write_pair_page(
    path: Path, pair: PairExplanation, provenance: Mapping[str, str] | None = None, typical: TypicalPairs | None = None
) -> None:
    """Write the page of :func:`render_pair_page`; CrosscamError if that fails."""
    write_page(path, render_pair_page(pair, provenance or {}, typical))


def render_pair_page(pair: PairExplanation, provenance: Mapping[str, str], typical: TypicalPairs | None = None) -> str:
    """The whole page as HTML text, with style and images inside it.

    Args:
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
    lead = fragment("pair.html", "headline", figures=_headline(pair), sentence=parts_sentence(pair, typical))
    return html_page("explanation", names, words, sections, lead=lead, styles=("pair.css",))


def parts_sentence(pair: PairExplanation, typical: TypicalPairs | None = None) -> str:
    """Which parts of a pair agree and which differ beyond chance, and what that was measured against."""
    layout = tuple(share.block for share in pair.blocks)
    if len(layout) == 1:
        return "The descriptor is one block of the whole image: no parts can be compared."
    values = np.array([share.squared_distance for share in pair.blocks])
    found = beyond_chance(values, layout, typical) if typical else ""
    return found or beyond_length(values, np.array([share.squared_length for share in pair.blocks]), layout)


def _headline(pair: PairExplanation) -> list[dict[str, object]]:
    most = max(pair.blocks, key=lambda share: share.squared_distance)
    whole = f"the sum of {counted(len(pair.blocks), 'block')}"
    cards = (
        ("distance", "d, from 0 (equal) to 2", f"{pair.distance:.3f}", ""),
        ("squared distance", whole, f"{pair.squared_distance:.4f}", ""),
        ("largest block", block_words(most.block), _percent(most.share), "%"),
    )
    return [{"name": name, "hint": hint, "value": value, "unit": unit, "bars": ()} for name, hint, value, unit in cards]


def _parts(pair: PairExplanation) -> Markup:
    images = (("query", pair.query_image), ("match", pair.match_image))
    sides = [(name, *thumbnail(image, SHOWN_HEIGHT, STORED_HEIGHT)) for name, image in images]
    unit = max(share.squared_distance for share in pair.blocks) or 1.0
    widths = (sides[0][2], sides[1][2])
    scales = [_scale(num_parts, blocks, unit, widths) for num_parts, blocks in _scales(pair.blocks)]
    return fragment("pair.html", "parts", sides=sides, height=SHOWN_HEIGHT, scales=scales)


def _scales(blocks: Sequence[BlockShare]) -> list[tuple[int, list[BlockShare]]]:
    """The blocks of each number of stripes, finest first."""
    ordered = sorted(blocks, key=lambda share: -share.block.num_parts)
    return [(n, list(group)) for n, group in groupby(ordered, key=lambda share: share.block.num_parts)]


def _scale(num_parts: int, blocks: list[BlockShare], unit: float, widths: tuple[int, int]) -> dict[str, object]:
    """Sizes of the drawing of a scale and its bars: those of the stripes, then those of the whole image below."""
    local = [share for share in blocks if share.block.kind == "local"]
    whole = [share for share in blocks if share.block.kind != "local"]
    bars = []
    for share in local:
        top, bottom = (edge * SHOWN_HEIGHT for edge in share.block.rows)
        tint = TINT * (share.squared_distance / unit) ** 2
        bars.append(_bar(share, unit, (top + bottom) / 2) | {"top": top, "bottom": bottom, "tint": tint})
    bars += [_bar(share, unit, SHOWN_HEIGHT + 18 + WHOLE_HEIGHT * k) for k, share in enumerate(whole)]
    right = widths[0] + MIDDLE
    return {
        "name": f"{num_parts} stripes" if local and num_parts > 1 else "whole image",
        "share": _percent(sum(share.share for share in blocks)),
        "words": ", ".join(f"{block_words(share.block)} {_percent(share.share)} %" for share in blocks),
        "widths": widths,
        "right": right,
        "width": right + widths[1],
        "height": SHOWN_HEIGHT + max(CAPTION_HEIGHT, WHOLE_HEIGHT * len(whole) + 4),
        "bars": bars,
    }


def _bar(share: BlockShare, unit: float, middle: float) -> dict[str, object]:
    """A bar between the images, its place from the top, and its words."""
    most = " most" if share.squared_distance == unit else ""
    return {
        "kind": f"band{most}" if share.block.kind == "local" else "whole",
        "length": max(0.8, BAR_LENGTH * share.squared_distance / unit),
        "middle": middle,
        "words": block_words(share.block),
        "value": share.squared_distance,
        "share": _percent(share.share),
        "tint": None,
    }


def _maps(pair: PairExplanation) -> Markup:
    blocks = []
    if pair.query_maps is not None and pair.match_maps is not None:
        for share, query, match in zip(pair.blocks, pair.query_maps, pair.match_maps, strict=True):
            rows = share.block.rows if share.block.kind == "local" else None
            maps = (("query", heat_uri(query)), ("match", heat_uri(match)))
            words = block_words(share.block)
            blocks.append({"words": words, "share": _percent(share.share), "rows": rows, "maps": maps})
    words = f"{MAPS[pair.maps_of]}. {SILENCED if pair.silenced else METHOD} {READING}"
    sizes = {"width": TILE_HEIGHT // 2, "height": TILE_HEIGHT}
    nothing = pair.no_maps or "This model has no single feature map that all blocks come from, so none is drawn."
    return fragment("pair.html", "maps", words=words, ramp=heat_ramp(), blocks=blocks, nothing=nothing, **sizes)


def _numbers(pair: PairExplanation) -> Markup:
    weighted = any(share.weight != 1 for share in pair.blocks)
    heads = ["block", "name", "rows", "stripes", *(["weight"] if weighted else []), "squared distance", "share"]
    rows = [
        [
            block_words(share.block),
            share.block.name,
            f"{100 * share.block.rows[0]:.0f}–{100 * share.block.rows[1]:.0f} %",
            str(share.block.num_parts),
            *([f"{share.weight:g}"] if weighted else []),
            f"{share.squared_distance:.6f}",
            f"{_percent(share.share)} %",
        ]
        for share in pair.blocks
    ]
    rest = [""] * (len(heads) - 3)
    rows.append(["sum", *rest, f"{pair.squared_distance:.6f}", "100.0 %" if pair.squared_distance else "0.0 %"])
    rows.append(["d², by which galleries are ranked", *rest, f"{pair.distance**2:.6f}", ""])
    note = (
        "The blocks are added in float64, the ranking's distance is float32: they differ by rounding, "
        f"here {pair.deviation:.1e}. The name of a block is what --weight takes."
    )
    return fragment("pair.html", "numbers", heads=heads, rows=rows, note=note)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
