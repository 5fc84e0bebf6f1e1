"""Images on a page: rank strips of thumbnails with captions, bars beside them, and activation maps over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.images import decode_image
from crosscam.data.records import DISTRACTOR_PID, Sample
from crosscam.report.shell import NOTHING, fragment
from crosscam.report.strips import Match, RankStrip
from crosscam.retrieval.contributions import BodyProfile, body_profile

SHOWN_HEIGHT = 128
WIDTHS = (40, 64)
STORED_HEIGHT = 176
JPEG_QUALITY = 78
BAR_LENGTH = 26
# Dark violet over red and orange to pale yellow: brightness rises all the way, so it reads without color, too.
_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLORS = np.array([(20, 8, 40), (101, 21, 110), (196, 52, 70), (246, 142, 28), (252, 248, 160)], dtype=np.float64)
# How much of the image the lowest and the highest value cover: clothes stay visible below.
_COVER = (0.1, 0.6)


def strip_html(strip: RankStrip) -> Markup:
    """One strip: heading, the row of images, and the same contributions as a table."""
    shown = [*strip.matches, *([strip.first_correct] if strip.first_correct else [])]
    contributions = np.array([match.contributions for match in shown]).reshape(len(shown), len(strip.layout))
    profile = body_profile(contributions, strip.layout)
    tiles = [
        (match is strip.first_correct, match_tile(match, profile_bars(profile, n, profile.longest)))
        for n, match in enumerate(shown)
    ]
    label = f"Ranking of query identity {strip.query.pid}, camera {strip.query.camera_label}"
    heads, rows = _table(shown, profile)
    facts, query = _facts(strip), query_tile(strip.query)
    return fragment("report.html", "strip", facts=facts, label=label, query=query, tiles=tiles, heads=heads, rows=rows)


def thumbnail(
    image: NDArray[np.uint8], shown_height: int = SHOWN_HEIGHT, stored_height: int = STORED_HEIGHT
) -> tuple[str, int]:
    """A small JPEG as a data URI, and the width in CSS pixels at which to show it.

    Args:
        image: (H, W, 3) RGB. Very wide or very narrow images are squeezed, so that rows keep their height.
        shown_height, stored_height: in CSS pixels; in pixels, at most.
    """
    height, width = image.shape[:2]
    narrowest, widest = (w * shown_height // SHOWN_HEIGHT for w in WIDTHS)
    shown = int(np.clip(round(shown_height * width / height), narrowest, widest))
    stored = min(stored_height, max(height, shown_height // 2))
    size = (max(1, round(stored * shown / shown_height)), stored)
    buffer = io.BytesIO()
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    resized.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", shown


def _facts(strip: RankStrip) -> list[str]:
    """The strip in a few words; the first ones are the most important."""
    right = sum(match.correct for match in strip.matches)
    rank = strip.first_correct_rank
    return [
        f"AP {100 * strip.average_precision:.1f} %",
        f"{right} of the first {len(strip.matches)} right",
        f"first right match at rank {rank:,}" if rank else "no right match",
        f"{strip.num_correct:,} right among {strip.num_ranked:,} ranked",
    ]


def who(sample: Sample) -> str:
    """The identity in words."""
    return "distractor" if sample.pid == DISTRACTOR_PID else f"id {sample.pid}"


def query_tile(query: Sample) -> Markup:
    """The query in its frame, with its caption."""
    shown = _image(query, f"Query: {who(query)}, camera {query.camera_label}")
    return fragment("report.html", "query_tile", query=query, who=who(query), shown=shown, height=SHOWN_HEIGHT)


def match_tile(match: Match, beside: Markup = NOTHING) -> Markup:
    """One match: image in its frame, what stands beside it, and the caption."""
    verdict = "right" if match.correct else "wrong"
    person = who(match.sample)
    shown = _image(match.sample, f"Rank {match.rank}, {verdict}: {person}, camera {match.sample.camera_label}")
    return fragment(
        "report.html", "match_tile", match=match, who=person, shown=shown, height=SHOWN_HEIGHT, beside=beside
    )


def _image(sample: Sample, alt: str) -> dict[str, object]:
    uri, width = thumbnail(decode_image(sample.path))
    return {"uri": uri, "width": width, "alt": alt}


def profile_bars(profile: BodyProfile, n: int, unit: float, shown_height: int = SHOWN_HEIGHT) -> Markup:
    """The body profile of match ``n``: a bar per band at its height, and below it one for the whole image.

    ``unit``: squared distance of a bar of full length; ``shown_height``: of the image beside it, in CSS pixels.
    """
    values, whole = profile.bands[n], float(profile.whole[n])
    total = float(values.sum()) + whole
    tops = profile.edges * shown_height
    most = int(np.argmax(values)) if len(values) else -1
    drawn = [
        {"kind": "band most" if k == most else "band", "top": tops[k], "height": tops[k + 1] - tops[k], "value": value}
        | {"share": f"{_band_name(k, profile)} {_share(value, total)}"}
        for k, value in enumerate(values)
    ]
    if whole:
        drawn.append({"kind": "whole", "value": whole, "share": f"whole image {_share(whole, total)}"})
    rects = [rect | {"length": max(0.8, BAR_LENGTH * float(rect["value"]) / unit)} for rect in drawn]
    label = f"Share of the squared distance, top to bottom: {', '.join(str(rect['share']) for rect in drawn)}."
    return fragment("macros.html", "bars", rects=rects, label=label, length=BAR_LENGTH, height=shown_height)


def _band_name(k: int, profile: BodyProfile) -> str:
    return f"{100 * profile.edges[k]:.0f}–{100 * profile.edges[k + 1]:.0f} % of the height:"


def _share(value: float, total: float) -> str:
    return f"{100 * value / total:.0f} %" if total > 0 else "0 %"


def _table(shown: Sequence[Match], profile: BodyProfile) -> tuple[list[str], list[list[str]]]:
    count = profile.bands.shape[1]
    heads = ["rank", "d", *(f"rows {k + 1}/{count}" for k in range(count)), "whole"]
    rows = []
    for n, match in enumerate(shown):
        values = [float(v) for v in (*profile.bands[n], profile.whole[n])]
        sign = "✓" if match.correct else "✗"
        shares = [_share(v, sum(values)) for v in values]
        rows.append([f"{match.rank:,} {sign}", f"{match.distance:.4f}", *shares])
    return heads, rows


def heat(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(...,) values from 0 to 1 -> (..., 4) RGBA; low values leave what is below, high ones glow."""
    v = np.clip(values.astype(np.float64), 0.0, 1.0)
    colors = [np.interp(v, _STOPS, _COLORS[:, k]) for k in range(3)]
    cover = 255 * (_COVER[0] + (_COVER[1] - _COVER[0]) * v)
    return np.stack([*colors, cover], axis=-1).round().astype(np.uint8)


def enlarge(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """(H', W') map -> (height, width), by bilinear interpolation."""
    image = Image.fromarray(values.astype(np.float32))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def heat_uri(values: NDArray[np.floating], height: int = 96) -> str:
    """(H', W') map in [0, 1] -> a PNG with transparency as a data URI."""
    rows, columns = values.shape
    image = heat(enlarge(values, height, max(1, round(height * columns / rows))))
    return png_uri(Image.fromarray(image))


def with_heat(image: NDArray[np.uint8], values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB image with its (H', W') map over it -> (H, W, 3)."""
    over = heat(enlarge(values, *image.shape[:2])).astype(np.float64)
    cover = over[..., 3:] / 255
    mixed: NDArray[np.uint8] = (image * (1 - cover) + over[..., :3] * cover).round().astype(np.uint8)
    return mixed


def png_uri(image: Image.Image) -> str:
    """An image as a data URI, without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heat_ramp() -> str:
    """The colors from nothing to the strongest place, as a data URI."""
    return png_uri(Image.fromarray(heat(np.linspace(0, 1, 64)[None].repeat(4, axis=0))[..., :3]))


def heat_legend() -> Markup:
    """The colors from nothing to the strongest place, in words and as a strip."""
    return fragment("heat.html", "heat_legend", ramp=heat_ramp())
