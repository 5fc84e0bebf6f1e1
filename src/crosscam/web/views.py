"""Small things that pages show: bars, curves, dates, sizes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from crosscam.explain.parts import body_profile
from crosscam.models.output import Layout
from crosscam.report.curves import Series, line_chart
from crosscam.report.strip_view import profile_bars
from crosscam.retrieval.calibration import Calibration

# Seconds above this are dates: whoever counts from the start of a video stays below ten years.
EPOCH_FROM = 3e8
VERDICTS = {"same": "same", "unsure": "unsure", "other": "other"}


def bars(contributions: NDArray[np.float64], layout: Layout, unit: float) -> Markup:
    """The body profile of a match as an SVG: a bar for each band at its height, one for the whole picture below.

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
    profile = body_profile(np.stack(rows), layout)
    return max(float(profile.bands.max(initial=0.0)), float(profile.whole.max(initial=0.0))) or 1.0


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
    distances = np.linspace(0, max(1.0, calibration.steps[-1][0]), 81)
    values = [100 * calibration.probability(float(d)) for d in distances]
    chart = line_chart(
        [Series(f"at a prior of {100 * calibration.prior:.3g} %", [float(d) for d in distances], values)],
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
    if seconds is None:
        return "–"
    if seconds >= EPOCH_FROM:
        try:
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
        except (ValueError, OverflowError, OSError):
            return f"{seconds:.0f} s"
    return f"{seconds:,.1f} s"


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


def chance(value: float | None) -> str:
    """A probability, not rounded to certainty."""
    if value is None:
        return ""
    if value < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if value > 0.999 else f"{100 * value:.1f} %"


def data_uri(picture: bytes, kind: str = "image/jpeg") -> str:
    """A picture inside a page."""
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
