"""Line charts as inline SVG: axes, ticks, legend and tooltips, colored by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from crosscam.errors import ArgumentError
from crosscam.report.shell import fragment

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 40
# Lines with error bars stand so far apart that no bar hides another.
ERRORS_APART = 4.0
NUM_STYLES = 5
MAX_MARKERS = 40


@dataclass(frozen=True)
class Series:
    """One line: its legend text, its points, and for each the ends of its error bar, or none.

    A value that is not finite breaks the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[tuple[float, float]] = ()


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose finite ``low`` <= ``high``, or ValueError."""
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ArgumentError(f"Ticks need finite low <= high, found {low} and {high}.")
    if low == high:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(target, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = True,
    show_last: bool = True,
) -> Markup:
    """A ``<figure>`` with title, axes, one line per series, and a legend.

    Args:
        series: the lines; those without a finite point are named in the legend as empty.
        title, x_label, y_label: plain text.
        x_range, y_range: fixed axes; by default from the least x, or from zero or the least value, to the greatest.
        whole_x: ticks on whole numbers only, as for epochs and ranks.
        show_last: whether the legend gives the last value of each line.
    Raises:
        ValueError: a series whose x and y differ in length.
    """
    for s in series:
        _check(s)
    points = [(x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    labels = {"title": title, "summary": _summary(title, series), "x_label": x_label, "y_label": y_label}
    if not points:
        return fragment("chart.html", "chart", axes=None, lines=(), **labels)
    x_low, x_high = x_range or (min(x for x, _ in points), max(x for x, _ in points))
    values = [y for _, y in points] + [end for s in series for bar in s.errors for end in bar]
    y_low, y_high = y_range or (min(0.0, *values), max(values))
    apart = ERRORS_APART if any(s.errors for s in series) else 0.0
    axes = _Axes(
        _x_ticks(x_low, x_high, whole_x), nice_ticks(y_low, y_high), x_low, x_high, apart * (len(series) + 1) / 2
    )
    shifts = [apart * (k - (len(series) - 1) / 2) for k in range(len(series))]
    lines = [_line(s, k % NUM_STYLES, replace(axes, shift=shifts[k]), x_label, show_last) for k, s in enumerate(series)]
    return fragment("chart.html", "chart", axes=axes.drawn(), lines=lines, **labels)


def _check(series: Series) -> None:
    if len(series.x) != len(series.y):
        raise ArgumentError(f"Series {series.name} has {len(series.x)} x values and {len(series.y)} y values.")
    if series.errors and len(series.errors) != len(series.x):
        raise ArgumentError(f"Series {series.name} has {len(series.x)} points and {len(series.errors)} error bars.")


@dataclass(frozen=True)
class _Axes:
    """Ticks, and the map from values to places in the drawing.

    ``inset``: room for lines that are moved to the side, by ``shift``.
    """

    x_ticks: list[float]
    y_ticks: list[float]
    x_low: float
    x_high: float
    inset: float = 0.0
    shift: float = 0.0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Drawing coordinates of a point; values beyond the axis end at its edge."""
        across = 0.5 if self.x_high == self.x_low else (x - self.x_low) / (self.x_high - self.x_low)
        low, high = self.y_ticks[0], self.y_ticks[-1]
        up = min(max((y - low) / (high - low), 0.0), 1.0)
        left, right = LEFT + self.inset, WIDTH - RIGHT - self.inset
        return left + across * (right - left) + self.shift, HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> dict[str, object]:
        """Edges of the drawing, and the place and the text of each tick."""
        edges = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "floor": HEIGHT - BOTTOM}
        x_ticks = [(self.place(tick, self.y_ticks[0])[0], _number(tick)) for tick in self.x_ticks]
        y_ticks = [(self.place(self.x_low, tick)[1], _number(tick)) for tick in self.y_ticks]
        return {"width": WIDTH, "height": HEIGHT, **edges, "x_ticks": x_ticks, "y_ticks": y_ticks}


def _x_ticks(low: float, high: float, whole: bool) -> list[float]:
    """Ticks inside the data's range; the first and the last value always have one."""
    if low == high:
        return [low]
    ticks = [t for t in nice_ticks(low, high, 6) if low <= t <= high and not (whole and t != round(t))]
    room = (high - low) * 0.08
    return [low, *(t for t in ticks if low + room < t < high - room), high]


def _line(series: Series, style: int, axes: _Axes, x_label: str, show_last: bool) -> dict[str, object]:
    """The line, its markers with a tooltip each, its error bars, and its entry in the legend."""
    path, pen_down = [], False
    for x, y in zip(series.x, series.y, strict=True):
        if math.isfinite(y):
            u, v = axes.place(x, y)
            path.append(f"{'L' if pen_down else 'M'}{u:.1f} {v:.1f}")
        pen_down = math.isfinite(y)
    finite = [(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
    stride = max(1, math.ceil(len(finite) / MAX_MARKERS))
    marked = finite[::-1][::stride]  # from the end, so that the last value always has its tooltip
    bars = []
    for x, (low, high) in zip(series.x, series.errors, strict=False):
        (u, bottom), (_, top) = axes.place(x, low), axes.place(x, high)
        bars.append(f"M{u - 3:.1f} {bottom:.1f}h6m-3 0V{top:.1f}m-3 0h6")
    return {
        "name": series.name,
        "style": style,
        "path": "".join(path),
        "bars": bars,
        "markers": [(*axes.place(x, y), f"{series.name}, {x_label} {_number(x)}: {_value(y)}") for x, y in marked],
        "last": None if not finite else _value(finite[-1][1]) if show_last else "",
    }


def _summary(title: str, series: Sequence[Series]) -> str:
    """What a reader who cannot see the chart should know: where each line starts and ends."""
    parts = []
    for s in series:
        finite = [(x, y) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
        if finite:
            (x0, y0), (x1, y1) = finite[0], finite[-1]
            parts.append(f"{s.name} from {_value(y0)} at {_number(x0)} to {_value(y1)} at {_number(x1)}")
    return f"{title}: {'; '.join(parts)}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _value(value: float) -> str:
    """A measured value: about three digits that mean something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
