"""Small things that pages show: bars, curves, dates, sizes; and a result as a file: a table, or one page."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from crosscam.calibration.calibration import Calibration
from crosscam.data.images import decode_image
from crosscam.data.text_files import harmless
from crosscam.errors import EngineError
from crosscam.explain.pair import explain_pair
from crosscam.gallery import Entry, block_weights
from crosscam.models.output import Layout
from crosscam.report.curves import Series, line_chart
from crosscam.report.hits import render_hits, when
from crosscam.report.image_tiles import profile_bars, with_heat
from crosscam.retrieval.contributions import body_profile
from crosscam.system.text import FIRST_DATE
from crosscam.web.search import Found, Query, name_of
from crosscam.web.service import Service

EPOCH_FROM = FIRST_DATE


def bars(contributions: NDArray[np.float64], layout: Layout, unit: float) -> Markup:
    """The body profile of a match as an SVG: a bar for each band at its height, one for the whole image below.

    Args:
        contributions: (L,) squared distance of each block.
        layout: L blocks.
        unit: squared distance of a bar of full length.
    """
    return Markup(profile_bars(body_profile(contributions[None], layout), 0, unit))


def longest_bar(rows: list[NDArray[np.float64]], layout: Layout) -> float:
    """The largest band or whole of several matches, so that their bars share one scale."""
    if not rows:
        return 1.0
    return body_profile(np.stack(rows), layout).longest


def det_chart(calibration: Calibration) -> Markup:
    """The trade-off of both error rates: missed pairs over the logarithm of what is let through."""
    points = [p for p in calibration.det if p.fmr > 0]
    if len(points) < 2:
        return Markup("")
    series = Series("pairs across cameras", [float(np.log10(p.fmr)) for p in points], [100 * p.fnmr for p in points])
    chart = line_chart(
        [series],
        title="What is missed, over what is let through",
        x_label="log10 of the false-match rate",
        y_label="missed, per cent",
        x_range=(float(np.floor(np.log10(points[0].fmr))), 0.0),
        y_range=(0.0, 100.0),
        whole_x=False,
        show_last=False,
    )
    return Markup(chart)


def probability_chart(calibration: Calibration) -> Markup:
    """The probability of the same person over the distance."""
    # A round end, which stands below the axis.
    distances = np.linspace(0, max(1.0, np.ceil(10 * calibration.steps[-1][0]) / 10), 81)
    values = [100 * calibration.probability(float(d)) for d in distances]
    name = "of the answers" if calibration.answered else f"at a prior of {100 * calibration.prior:.3g} %"
    chart = line_chart(
        [Series(name, [float(d) for d in distances], values)],
        title="How probable the same person is",
        x_label="distance",
        y_label="per cent",
        y_range=(0.0, 100.0),
        whole_x=False,
        show_last=False,
    )
    return Markup(chart)


def moment(seconds: float | None) -> str:
    """A time for people: a date where it counts from 1970, else a duration."""
    return "–" if seconds is None else when(seconds).removesuffix(" UTC")


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in per cent."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def data_uri(image: bytes, kind: str = "image/jpeg") -> str:
    """An image inside a page."""
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def pair_maps(
    service: Service, query: Query, thumbnail: bytes | None, weights: Mapping[str, float] | None
) -> tuple[bytes, bytes, bytes, bytes] | None:
    """The first image of a query and the small image of a match, with what makes their descriptors agree in color.

    The maps of all blocks are added, each times its weight and as strong as it is; the strongest place is brightest.

    Returns:
        PNGs: the query alone, the query and the match under the map, the match alone; None where there is no network,
        no image, or no feature map to look into.
    """
    own = service.gallery.thumbnails([query.entry])[0] if query.entry is not None else query.previews[0]
    if service.extractor is None or thumbnail is None or own is None:
        return None
    images = [decode_image(own), decode_image(thumbnail)]
    try:
        with service.describing_lock:
            found = explain_pair(service.extractor, *images, maps_of="agreement")
    except EngineError:  # an exported file has no feature map to look into
        return None
    if found.query_maps is None or found.match_maps is None:
        return None
    factors = block_weights(weights, service.gallery.layout)
    first, second = (
        _png(with_heat(image, _together(maps, factors)))
        for image, maps in zip(images, (found.query_maps, found.match_maps), strict=True)
    )
    return _png(images[0]), first, second, _png(images[1])


def _together(maps: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L, H', W') -> (H', W') in [0, 1]."""
    total: NDArray[np.float64] = np.tensordot(factors, maps.astype(np.float64), axes=1)
    return total / (float(total.max()) or 1.0)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


DOWNLOAD_ROWS = 200
COLUMNS = (
    "rank",
    "id",
    "name",
    "camid",
    "time",
    "track",
    "pid",
    "distance",
    "verdict",
    "probability",
    "feedback",
)


def as_csv(found: Found) -> str:
    """Confirmed entries first (without a rank), then the hits, then rejected entries."""
    rows = [_row(e, feedback="same") for e in found.confirmed]
    for r in found.hits:
        chance = "" if r.probability is None else f"{r.probability:.6g}"
        rows.append(_row(r.hit.entry, r.rank, f"{r.hit.distance:.6f}", r.verdict or "", chance))
    rows += [_row(e, feedback="other") for e in found.rejected]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([harmless(value) for value in row] for row in rows)
    return out.getvalue()


def _row(
    entry: Entry,
    rank: int | None = None,
    distance: str = "",
    verdict: str = "",
    probability: str = "",
    feedback: str = "",
) -> tuple[object, ...]:
    known = (entry.id, name_of(entry), entry.camid, entry.time, entry.track, entry.pid)
    return rank, *known, distance, verdict, probability, feedback


def as_html(found: Found, service: Service, name: str) -> str:
    """One page that needs nothing but a browser; of an entry's path it has the last part alone."""
    gallery, query = service.gallery, found.query
    shown = [*(r.hit.entry.id for r in found.hits), *(e.id for e in (*found.confirmed, *found.rejected))]
    images = dict(zip(shown, gallery.thumbnails(shown), strict=True))
    own = query.previews if query.entry is None else [p for p in gallery.thumbnails([query.entry]) if p]
    added = f"; confirmed images ({len(found.confirmed)}) are part of the query" if found.confirmed else ""
    asked = "; ".join(f"{key}: {value}" for key, value in found.asked.items())
    return render_hits(
        own,
        [replace(r.hit, entry=_named(r.hit.entry)) for r in found.hits],
        images,
        gallery.layout,
        title=f"Matches in {name}",
        subtitle=f"{len(found.hits)} nearest entries{added}. A match is a hint, not an identification.",
        verdicts=[(r.verdict, r.probability) for r in found.hits],
        judged={"Confirmed": [*map(_named, found.confirmed)], "Rejected": [*map(_named, found.rejected)]},
        pid=found.known.pid,
        origin={
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "gallery": name,
            "model": f"{gallery.model.name}, {gallery.model.fingerprint}",
            "filters": asked or "none",
            "verdicts": found.rests_on,
        },
    )


def _named(entry: Entry) -> Entry:
    """Without the folders of its path."""
    return replace(entry, path=name_of(entry))
