"""Rank strips as HTML: thumbnails, frames, captions and the body profile beside each match."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.images import decode_image
from crosscam.data.records import DISTRACTOR_PID, Sample
from crosscam.report.shell import table_html
from crosscam.report.strips import Match, RankStrip
from crosscam.retrieval.contributions import BodyProfile, body_profile

SHOWN_HEIGHT = 128
WIDTHS = (40, 64)
STORED_HEIGHT = 176
JPEG_QUALITY = 78
BAR_LENGTH = 26


def strip_html(strip: RankStrip) -> str:
    """One strip: heading, the row of images, and the same contributions as a table."""
    shown = [*strip.matches, *([strip.first_correct] if strip.first_correct else [])]
    contributions = np.array([match.contributions for match in shown]).reshape(len(shown), len(strip.layout))
    profile = body_profile(contributions, strip.layout)
    tiles = [query_tile(strip.query)]
    for n, match in enumerate(shown):
        if match is strip.first_correct:
            tiles.append('<li class="gap" aria-hidden="true">⋯</li>')
        tiles.append(match_tile(match, profile_bars(profile, n, profile.longest)))
    label = escape(f"Ranking of query identity {strip.query.pid}, camera {strip.query.camid}")
    return (
        f'<article class="strip"><p class="facts">{_facts(strip)}</p>'
        f'<ol class="row whole-row" aria-label="{label}">{"".join(tiles)}</ol>{_table(shown, profile)}</article>'
    )


def reading_guide() -> str:
    """A drawn example of one match, and what each of its marks means."""
    lengths = (9, 14, 28, 22, 12, 7)
    bars = "".join(
        f'<rect class="band{" most" if n == max(lengths) else ""}" x="82" y="{5 + 20 * k}" width="{n}" height="18"/>'
        for k, n in enumerate(lengths)
    )
    lines = "".join(f'<path class="cut" d="M12 {4 + 20 * k}H112"/>' for k in range(7))
    person = '<circle cx="44" cy="17" r="9"/><path d="M31 30q13-7 26 0l4 36h-7v54h-8l-2-44-2 44h-8V66h-7z"/>'
    drawing = (
        '<svg class="example" viewBox="0 0 122 146" aria-hidden="true">'
        '<rect class="frame" x="12" y="3" width="64" height="122" rx="3"/>'
        f'<g class="person">{person}</g>{lines}{bars}'
        '<rect class="whole" x="82" y="130" width="17" height="9"/>'
        '<text class="tick end" x="76" y="139">whole</text></svg>'
    )
    items = (
        ("✓ green frame", "the same person, seen by another camera"),
        ("✗ red frame", "somebody else"),
        (
            "bars beside the image",
            "how much the rows at that height add to the squared distance between query and match. "
            "A long bar: here the two look different. A short bar: here they agree. The longest stands out",
        ),
        ("gray bar below", "the same for the features that saw the whole image"),
        (
            "d",
            "the distance that ranked the match; smaller is closer. Without re-ranking the bars add up to d squared; "
            "all bars of one strip share one scale",
        ),
        ("⋯", "the first right match, when it comes after the images shown"),
    )
    terms = "".join(f"<div><dt>{escape(t)}</dt><dd>{escape(d)}.</dd></div>" for t, d in items)
    return f'<div class="guide">{drawing}<dl>{terms}</dl></div>'


def thumbnail(
    image: NDArray[np.uint8], shown_height: int = SHOWN_HEIGHT, stored_height: int = STORED_HEIGHT
) -> tuple[str, int]:
    """A small JPEG as a data URI, and the width in CSS pixels at which to show it.

    Args:
        image: (H, W, 3) RGB. Very wide or very narrow images are squeezed, so that rows keep their height.
        shown_height: CSS pixels at which it will be shown.
        stored_height: pixels that are kept at most.
    """
    height, width = image.shape[:2]
    narrowest, widest = (w * shown_height // SHOWN_HEIGHT for w in WIDTHS)
    shown = int(np.clip(round(shown_height * width / height), narrowest, widest))
    stored = min(stored_height, max(height, shown_height // 2))
    size = (max(1, round(stored * shown / shown_height)), stored)
    buffer = io.BytesIO()
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", shown


def _facts(strip: RankStrip) -> str:
    """The strip in one sentence."""
    right = sum(match.correct for match in strip.matches)
    rank = strip.first_correct_rank
    return (
        f"<b>AP {100 * strip.average_precision:.1f} %</b> · {right} of the first {len(strip.matches)} right · "
        + (f"first right match at rank {rank:,}" if rank else "no right match")
        + f" · {strip.num_correct:,} right among {strip.num_ranked:,} ranked"
    )


def _image(sample: Sample, alt: str) -> str:
    uri, width = thumbnail(decode_image(sample.path))
    return f'<img src="{uri}" width="{width}" height="{SHOWN_HEIGHT}" alt="{escape(alt)}">'


def who(sample: Sample) -> str:
    """The identity in words."""
    return "distractor" if sample.pid == DISTRACTOR_PID else f"id {sample.pid}"


def query_tile(query: Sample) -> str:
    """The query in its frame, with its caption."""
    alt = f"Query: {who(query)}, camera {query.camid}"
    title = escape(query.path.name)
    return (
        f'<li class="tile query"><div class="frame" title="{title}">{_image(query, alt)}</div>'
        f'<p class="caption"><b>query</b><br>{who(query)}<br>cam {query.camid}</p></li>'
    )


def match_tile(match: Match, beside: str = "") -> str:
    """One match: image in its frame, what stands beside it (HTML), and the caption."""
    verdict = "right" if match.correct else "wrong"
    sign = "✓" if match.correct else "✗"
    alt = f"Rank {match.rank}, {verdict}: {who(match.sample)}, camera {match.sample.camid}"
    title = escape(match.sample.path.name)
    return (
        f'<li class="tile {verdict}"><div class="pair"><div class="frame" title="{title}">{_image(match.sample, alt)}'
        f'<span class="sign" aria-hidden="true">{sign}</span></div>{beside}</div>'
        f'<p class="caption"><b>{match.rank:,}</b> · d {match.distance:.3f}<br>{who(match.sample)}'
        f"<br>cam {match.sample.camid}</p></li>"
    )


def bars_legend() -> str:
    """What the bars beside a picture are, where no reading guide is on the page."""
    items = (
        ("band", "rows of the image at that height"),
        ("most", "the rows with most"),
        ("whole", "the whole image"),
    )
    swatches = "".join(
        '<li><svg class="swatch" width="26" height="10" aria-hidden="true">'
        f'<rect class="{kind}" width="26" height="10"/></svg>{words}</li>'
        for kind, words in items
    )
    return (
        f'<ul class="legend" aria-label="Colors of the bars">{swatches}</ul><p class="lead">A bar is a share of the '
        "squared distance d² of the two images. Long: here they look different. Short: here they agree. All bars of "
        "this page have one scale.</p>"
    )


def profile_bars(profile: BodyProfile, n: int, unit: float, shown_height: int = SHOWN_HEIGHT) -> str:
    """The body profile of one match: a bar per band at its height, and below it one for the whole image."""
    values, whole = profile.bands[n], float(profile.whole[n])
    total = float(values.sum()) + whole
    tops = profile.edges * shown_height
    most = int(np.argmax(values)) if len(values) else -1
    shares = [f"{_band_name(k, profile)} {_share(v, total)}" for k, v in enumerate(values)]
    if whole:
        shares.append(f"whole image {_share(whole, total)}")
    bars = []
    for k, value in enumerate(values):
        top, height = tops[k], tops[k + 1] - tops[k]
        length = max(0.8, BAR_LENGTH * float(value) / unit)
        kind = "band most" if k == most else "band"
        bars.append(
            f'<g><rect class="hit" x="0" y="{top:.1f}" width="{BAR_LENGTH}" height="{height:.1f}"/>'
            f'<rect class="{kind}" x="0" y="{top + 0.75:.1f}" width="{length:.1f}" height="{height - 1.5:.1f}"/>'
            f"<title>{shares[k]} of the squared distance</title></g>"
        )
    if whole:
        length = max(0.8, BAR_LENGTH * whole / unit)
        bars.append(
            f'<g><rect class="whole" x="0" y="{shown_height + 5}" width="{length:.1f}" height="8"/>'
            f"<title>{shares[-1]} of the squared distance</title></g>"
        )
    label = f"Share of the squared distance, top to bottom: {', '.join(shares)}."
    return (
        f'<svg class="bars" width="{BAR_LENGTH}" height="{shown_height + 14}" role="img" aria-label="{label}">'
        f"{''.join(bars)}</svg>"
    )


def _band_name(k: int, profile: BodyProfile) -> str:
    return f"{100 * profile.edges[k]:.0f}–{100 * profile.edges[k + 1]:.0f} % of the height:"


def _share(value: float, total: float) -> str:
    return f"{100 * value / total:.0f} %" if total > 0 else "0 %"


def _table(shown: Sequence[Match], profile: BodyProfile) -> str:
    """The bars as numbers, folded away."""
    count = profile.bands.shape[1]
    heads = ["rank", "d", *(f"rows {k + 1}/{count}" for k in range(count)), "whole"]
    rows = []
    for n, match in enumerate(shown):
        values = [float(v) for v in (*profile.bands[n], profile.whole[n])]
        sign = "✓" if match.correct else "✗"
        shares = [_share(v, sum(values)) for v in values]
        rows.append([f"{match.rank:,} {sign}", f"{match.distance:.4f}", *shares])
    table = table_html(heads, rows, "Shares of the squared distance")
    return f"<details><summary>Shares of the squared distance as numbers</summary>{table}</details>"
