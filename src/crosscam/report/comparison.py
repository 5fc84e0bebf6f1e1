"""Several models on the same queries, side by side: as the paper's Figures 4, 5 and 6; as HTML and as one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crosscam.data.images import decode_image
from crosscam.data.records import Sample
from crosscam.errors import ArgumentError
from crosscam.report.image_tiles import SHOWN_HEIGHT, heat_uri, match_tile, query_tile, thumbnail, who, with_heat
from crosscam.report.shell import fragment
from crosscam.report.strips import RankStrip

REASONS = {
    "differing": "the models differ most",
    "random": "drawn at random",
    "hardest": "hardest",
    "easiest": "easiest",
}


@dataclass(frozen=True, eq=False)
class QueryMap:
    """An activation map over the query, (H', W') in [0, 1], of a part from ``rows[0]`` to ``rows[1]`` of the height."""

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


def comparison_html(entry: ComparedQuery) -> Markup:
    """The query at the left, and for each model its name, its map and its first matches."""
    precisions = [row.strip.average_precision for row in entry.rows]
    spread = f"AP from {100 * min(precisions):.1f} to {100 * max(precisions):.1f} %"
    heading = f"{who(entry.query)}, camera {entry.query.camera_label}"
    facts = [REASONS[entry.rows[0].strip.kind], spread]
    models = [_shown(row) for row in entry.rows]
    shown = {"query": query_tile(entry.query), "models": models, "height": SHOWN_HEIGHT}
    return fragment("comparison.html", "compared", heading=heading, facts=facts, **shown)


def row_facts(row: ModelRow) -> tuple[str, str]:
    """Average precision and the first right rank, in words."""
    rank = row.strip.first_correct_rank
    first = f"first right: rank {rank:,}" if rank else "no right match"
    return f"AP {100 * row.strip.average_precision:.1f} %", first


def _shown(row: ModelRow) -> dict[str, object]:
    tiles = [match_tile(match) for match in row.strip.matches]
    shown: dict[str, object] = {"name": row.name, "facts": row_facts(row), "tiles": tiles, "map": row.query_map}
    if row.query_map is None:
        return shown
    image, width = thumbnail(decode_image(row.strip.query.path))
    return shown | {"image": image, "width": width, "heat": heat_uri(row.query_map.values)}


TILE = (64, 128)
FRAME = 3
GAP = 8
CAPTION = 15
MARGIN = 18
HEADING = 22
# Size of the letters of the note below all, and from line to line.
NOTE, LINE = 12, 16
RIGHT, WRONG, INK, SOFT = (26, 127, 55), (198, 40, 40), (29, 33, 38), (89, 97, 107)
MARK = (62, 200, 255)
CELL = (TILE[0] + 2 * FRAME + GAP, TILE[1] + 2 * FRAME + CAPTION + 6)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_image(title: str, note: str, entries: Sequence[ComparedQuery]) -> Image.Image:
    """All queries with the rows of their models, two queries side by side, as an RGB image on white.

    ``title`` and ``note`` stand above and below; without a query it is a ValueError.
    """
    if not entries:
        raise ArgumentError("There is no query to draw.")
    columns = min(2, len(entries))
    names = _name_width(entries)
    width, height = _entry_size(entries, names)
    lines = -(-len(entries) // columns)
    wide = MARGIN + columns * (width + MARGIN)
    notes = _wrapped(note, wide - 2 * MARGIN)
    size = (wide, 48 + lines * (height + MARGIN) + 24 + LINE * (len(notes) - 1))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 14), title, fill=INK, font=_font(18))
    for k, entry in enumerate(entries):
        corner = (MARGIN + (k % columns) * (width + MARGIN), 48 + (k // columns) * (height + MARGIN))
        _draw_entry(sheet, draw, entry, corner, names)
    for k, text in enumerate(reversed(notes)):
        draw.text((MARGIN, size[1] - 24 - LINE * k), text, fill=SOFT, font=_font(NOTE))
    return sheet


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most so many pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(NOTE).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _name_width(entries: Sequence[ComparedQuery]) -> int:
    """Room for the longest name, and for what stands below it."""
    texts = {(row.name, 13) for entry in entries for row in entry.rows}
    texts |= {(fact, 11) for entry in entries for row in entry.rows for fact in row_facts(row)}
    return GAP + max(round(_font(size).getlength(text)) for text, size in texts)


def _entry_size(entries: Sequence[ComparedQuery], names: int) -> tuple[int, int]:
    matches = max(len(row.strip.matches) for entry in entries for row in entry.rows)
    has_map = any(row.query_map for entry in entries for row in entry.rows)
    rows = max(len(entry.rows) for entry in entries)
    return CELL[0] + names + (matches + has_map) * CELL[0], HEADING + max(1, rows) * CELL[1]


def _draw_entry(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, entry: ComparedQuery, corner: tuple[int, int], names: int
) -> None:
    left, top = corner
    heading = f"{who(entry.query)}, camera {entry.query.camera_label}: {REASONS[entry.rows[0].strip.kind]}"
    draw.text((left, top), heading, fill=SOFT, font=_font(12))
    top += HEADING
    _tile(sheet, draw, _pixels(entry.query), (left, top), INK, "query")
    for k, row in enumerate(entry.rows):
        _draw_row(sheet, draw, row, (left + CELL[0], top + k * CELL[1]), names)


def _draw_row(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: ModelRow, corner: tuple[int, int], names: int
) -> None:
    left, top = corner
    draw.text((left, top + 40), row.name, fill=INK, font=_font(13))
    for k, fact in enumerate(row_facts(row)):
        draw.text((left, top + 58 + 15 * k), fact, fill=SOFT, font=_font(11))
    left += names
    if row.query_map:
        values = row.query_map.values
        image = Image.fromarray(with_heat(np.asarray(_pixels(row.strip.query)), values))
        _stripes(image, row.query_map.num_stripes, row.query_map.rows)
        _tile(sheet, draw, image, (left, top), "white", "")
        left += CELL[0]
    for match in row.strip.matches:
        color, sign = (RIGHT, "right") if match.correct else (WRONG, "wrong")
        _tile(sheet, draw, _pixels(match.sample), (left, top), color, f"{match.rank}: {sign}")
        left += CELL[0]


def _stripes(image: Image.Image, num_stripes: int, rows: tuple[float, float]) -> None:
    """Thin lines between the stripes, and a box around the part, in place."""
    draw = ImageDraw.Draw(image)
    for k in range(1, num_stripes):
        y = round(image.height * k / num_stripes)
        draw.line((0, y, image.width, y), fill=(120, 120, 120))
    top, bottom = (round(image.height * edge) for edge in rows)
    draw.rectangle((0, top, image.width - 1, bottom - 1), outline=MARK, width=2)


def _tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    corner: tuple[int, int],
    color: tuple[int, int, int] | str,
    caption: str,
) -> None:
    left, top = corner
    draw.rectangle((left, top, left + TILE[0] + 2 * FRAME - 1, top + TILE[1] + 2 * FRAME - 1), fill=color)
    sheet.paste(image, (left + FRAME, top + FRAME))
    draw.text((left, top + TILE[1] + 2 * FRAME + 2), caption, fill=color, font=_font(11))


def _pixels(sample: Sample) -> Image.Image:
    return Image.fromarray(decode_image(sample.path)).resize(TILE, Image.Resampling.BICUBIC)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
