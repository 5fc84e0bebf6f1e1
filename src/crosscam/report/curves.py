"""Line charts as inline SVG: axes, ticks, legend and tooltips, colored by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from crosscam.errors import ArgumentError

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 40
NUM_STYLES = 5
MAX_MARKERS = 40


@dataclass(frozen=True)
class Series:
    """One line: its legend text and its points. A value that is not finite breaks the line.

    Attributes:
        errors: for each point the ends of its error bar; empty for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[tuple[float, float]] = ()


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose ``low`` and ``high``.

    Raises:
        ValueError: ``low`` is above ``high`` or one of them is not finite.
    """
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
) -> str:
    """A figure with title, axes, one line per series, and a legend.

    Args:
        series: the lines; those without a finite point are named in the legend as empty.
        title: plain text, as are the two labels.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        x_range: fixed axis; by default from the least to the greatest x.
        y_range: fixed axis; by default from zero (or the least value, if negative) to the greatest value.
        whole_x: ticks on whole numbers only, as for epochs and ranks.
        show_last: whether the legend gives the last value of each line.
    Returns:
        HTML of a ``<figure>``.
    Raises:
        ValueError: a series whose x and y differ in length.
    """
    for s in series:
        if len(s.x) != len(s.y):
            raise ArgumentError(f"Series {s.name} has {len(s.x)} x values and {len(s.y)} y values.")
        if s.errors and len(s.errors) != len(s.x):
            raise ArgumentError(f"Series {s.name} has {len(s.x)} points and {len(s.errors)} error bars.")
    points = [(x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    head = f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
    if not points:
        return f'{head}<p class="empty">Nothing was recorded.</p></figure>'
    x_low, x_high = x_range or (min(x for x, _ in points), max(x for x, _ in points))
    values = [y for _, y in points] + [end for s in series for bar in s.errors for end in bar]
    y_low, y_high = y_range or (min(0.0, *values), max(values))
    axes = _Axes(_x_ticks(x_low, x_high, whole_x), nice_ticks(y_low, y_high), x_low, x_high)
    svg = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_summary(title, series))}">',
        axes.draw(x_label, y_label),
        *(_draw_series(s, k % NUM_STYLES, axes, x_label) for k, s in enumerate(series)),
        "</svg>",
    ]
    return f"{head}{''.join(svg)}{_legend(series, show_last)}</figure>"


@dataclass(frozen=True)
class _Axes:
    """Ticks, and the map from values to places in the drawing."""

    x_ticks: list[float]
    y_ticks: list[float]
    x_low: float
    x_high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Drawing coordinates of a point; values beyond the axis end at its edge."""
        across = 0.5 if self.x_high == self.x_low else (x - self.x_low) / (self.x_high - self.x_low)
        low, high = self.y_ticks[0], self.y_ticks[-1]
        up = min(max((y - low) / (high - low), 0.0), 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def draw(self, x_label: str, y_label: str) -> str:
        """Grid lines, tick labels and axis names."""
        parts = []
        for tick in self.y_ticks:
            _, v = self.place(self.x_low, tick)
            parts.append(f'<path class="grid" d="M{LEFT} {v:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{v + 4:.1f}">{_number(tick)}</text>')
        floor = HEIGHT - BOTTOM
        for tick in self.x_ticks:
            u, _ = self.place(tick, self.y_ticks[0])
            parts.append(f'<path class="axis" d="M{u:.1f} {floor}v4"/>')
            parts.append(f'<text class="tick mid" x="{u:.1f}" y="{floor + 17}">{_number(tick)}</text>')
        middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
        parts.append(f'<path class="axis" d="M{LEFT} {floor}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="name mid" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}">{escape(x_label)}</text>'
        )
        turn = f"translate(11 {middle:.0f}) rotate(-90)"
        parts.append(f'<text class="name mid" transform="{turn}">{escape(y_label)}</text>')
        return "".join(parts)


def _x_ticks(low: float, high: float, whole: bool) -> list[float]:
    """Ticks inside the data's range; the first and the last value always have one."""
    if low == high:
        return [low]
    ticks = [t for t in nice_ticks(low, high, 6) if low <= t <= high and not (whole and t != round(t))]
    room = (high - low) * 0.08
    return [low, *(t for t in ticks if low + room < t < high - room), high]


def _draw_series(series: Series, style: int, axes: _Axes, x_label: str) -> str:
    """The line, its markers, and a tooltip on each marker."""
    d, pen_down = [], False
    for x, y in zip(series.x, series.y, strict=True):
        if not math.isfinite(y):
            pen_down = False
            continue
        u, v = axes.place(x, y)
        d.append(f"{'L' if pen_down else 'M'}{u:.1f} {v:.1f}")
        pen_down = True
    finite = [(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
    stride = max(1, math.ceil(len(finite) / MAX_MARKERS))
    marked = finite[::-1][::stride]  # from the end, so that the last value always has its tooltip
    markers = []
    for x, y in marked:
        u, v = axes.place(x, y)
        text = escape(f"{series.name}, {x_label} {_number(x)}: {_value(y)}")
        markers.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="2.6"><title>{text}</title></circle>')
    bars = []
    for x, (low, high) in zip(series.x, series.errors, strict=False):
        (u, bottom), (_, top) = axes.place(x, low), axes.place(x, high)
        bars.append(f'<path class="bar" d="M{u - 3:.1f} {bottom:.1f}h6m-3 0V{top:.1f}m-3 0h6"/>')
    return f'<g class="line s{style}"><path d="{"".join(d)}"/>{"".join(bars)}{"".join(markers)}</g>'


def _legend(series: Sequence[Series], show_last: bool) -> str:
    """One entry per line, drawn with the line's own color and dashes."""
    items = []
    for k, s in enumerate(series):
        finite = [y for y in s.y if math.isfinite(y)]
        text = " <i>not recorded</i>"
        if finite:
            text = f" <b>{_value(finite[-1])}</b>" if show_last else ""
        swatch = (
            f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><g class="line s{k % NUM_STYLES}">'
            '<path d="M1 5H25"/><circle cx="13" cy="5" r="2.6"/></g></svg>'
        )
        items.append(f"<li>{swatch}{escape(s.name)}{text}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


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
    """A tick: as few digits as it needs."""
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _value(value: float) -> str:
    """A measured value: about three digits that mean something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
