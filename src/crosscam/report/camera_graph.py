"""Ways between cameras as a drawing: cameras on a ring, an arrow for each way, wider the more often it was walked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from crosscam.report.journey_view import Way

# More cameras than this make a drawing that tells nothing.
MOST_CAMERAS = 12
WIDTH, RING_WIDTH, RING_HEIGHT, MARGIN = 640, 210.0, 120.0, 46.0
# How far arrows bend, and end before a camera; of a head, length and half width; of the most used way, width.
BEND, SHORT, HEAD, HALF_HEAD, WIDEST = 0.16, 13.0, 13.0, 7.5, 6.0

_Point = tuple[float, float]


def camera_graph(ways: Sequence[Way]) -> str:
    """An SVG; empty without ways, and with too many cameras."""
    cameras = sorted({name for way in ways for name in (way.start, way.end)})
    if not ways or len(cameras) > MOST_CAMERAS:
        return ""
    ring = RING_HEIGHT if len(cameras) > 2 else 20.0
    height = 2 * (ring + MARGIN)
    places = _places(cameras, (WIDTH / 2, height / 2), ring)
    most = max(way.people for way in ways)
    # The most used way is drawn last, over the others.
    parts = [_arrow(way, places, most) for way in reversed(ways)]
    parts += [_camera(name, place, height / 2) for name, place in places.items()]
    words = "; ".join(f"{way.start} to {way.end} {way.people:,} times" for way in ways)
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    label = escape(f"Cameras and ways: {words}")
    return f'<svg class="camera-graph" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>'


def _places(cameras: Sequence[str], middle: _Point, ring: float) -> dict[str, _Point]:
    """On a ring, beginning at the left where there are two, else at the top."""
    begin = math.pi if len(cameras) == 2 else -math.pi / 2
    angles = [begin + 2 * math.pi * i / len(cameras) for i in range(len(cameras))]
    return {
        name: (middle[0] + RING_WIDTH * math.cos(angle), middle[1] + ring * math.sin(angle))
        for name, angle in zip(cameras, angles, strict=True)
    }


def _arrow(way: Way, places: dict[str, _Point], most: int) -> str:
    """A bent arrow with the number of walks; the way back bends to the other side."""
    (x0, y0), (x1, y1) = places[way.start], places[way.end]
    length = math.hypot(x1 - x0, y1 - y0)
    bend = max(BEND * length, 18.0) / length
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    begin, tip = _towards((x0, y0), control, SHORT), _towards((x1, y1), control, SHORT)
    end = _towards(tip, control, HEAD)
    across = _unit(control, tip)
    side = (-across[1] * HALF_HEAD, across[0] * HALF_HEAD)
    head = f"M{_xy(tip)}L{_xy((end[0] + side[0], end[1] + side[1]))}L{_xy((end[0] - side[0], end[1] - side[1]))}Z"
    width = 1.5 + (WIDEST - 1.5) * way.people / most
    middle = ((begin[0] + 2 * control[0] + end[0]) / 4, (begin[1] + 2 * control[1] + end[1]) / 4 + 4)
    return (
        f'<path class="way" d="M{_xy(begin)}Q{_xy(control)} {_xy(end)}" stroke-width="{width:.1f}"/>'
        f'<path class="head" d="{head}"/>'
        f'<text class="count" x="{middle[0]:.1f}" y="{middle[1]:.1f}">{way.people:,}</text>'
    )


def _camera(name: str, place: _Point, middle: float) -> str:
    below = place[1] > middle + 1
    y = place[1] + (24 if below else -15)
    short = name if len(name) <= 22 else name[:21] + "…"
    dot = f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="7"/>'
    return f'{dot}<text class="name" x="{place[0]:.1f}" y="{y:.1f}">{escape(short)}</text>'


def _towards(start: _Point, end: _Point, by: float) -> _Point:
    x, y = _unit(start, end)
    return start[0] + by * x, start[1] + by * y


def _unit(start: _Point, end: _Point) -> _Point:
    x, y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(x, y) or 1.0
    return x / length, y / length


def _xy(point: _Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
