"""The sheet that a drawn person is built on: body parts as lofts, drawn as materials and as shading."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 64, 128
OVERSAMPLING = 3

SKIN, HAIR, UPPER, UPPER2, LOWER, LOWER2, SHOE, SOLE, BAG, STRAP, HAT, INNER, FEATURE, LIPS = range(1, 15)

Point2 = tuple[float, float]


class Loft:
    """A body part's outline: for each point of its path a left and a right edge point, in pixels."""

    __slots__ = ("left", "right")

    def __init__(self, path: Sequence[Point2], half: Sequence[float]) -> None:
        self.left: list[Point2] = []
        self.right: list[Point2] = []
        last = len(path) - 1
        for i, (x, y) in enumerate(path):
            before, after = path[max(i - 1, 0)], path[min(i + 1, last)]
            dx, dy = after[0] - before[0], after[1] - before[1]
            scale = half[i] / (math.hypot(dx, dy) or 1.0)
            self.left.append((x + dy * scale, y - dx * scale))
            self.right.append((x - dy * scale, y + dx * scale))
        if path[last][1] > path[0][1]:
            self.left, self.right = self.right, self.left

    def at(self, t: float, u: float) -> Point2:
        """The point at ``t`` (0 first, 1 last point of the path) and ``u`` (-1 left, 1 right edge)."""
        place = min(max(t, 0.0), 1.0) * (len(self.left) - 1)
        i = min(int(place), len(self.left) - 2)
        f, r = place - i, (u + 1.0) / 2.0
        a, b, c, d = self.left[i], self.left[i + 1], self.right[i], self.right[i + 1]
        lx, ly = a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f
        rx, ry = c[0] + (d[0] - c[0]) * f, c[1] + (d[1] - c[1]) * f
        return lx + (rx - lx) * r, ly + (ry - ly) * r

    def strip(self, u0: float, u1: float) -> list[Point2]:
        """The outline of the whole length between two ``u``; what most shading needs, so it has to be fast."""
        r0, r1 = (u0 + 1.0) / 2.0, (u1 + 1.0) / 2.0
        edges = [(a, b, c - a, d - b) for (a, b), (c, d) in zip(self.left, self.right, strict=True)]
        near = [(x + dx * r0, y + dy * r0) for x, y, dx, dy in edges]
        far = [(x + dx * r1, y + dy * r1) for x, y, dx, dy in edges]
        return near + far[::-1]

    def patch(self, t0: float, t1: float, u0: float, u1: float) -> list[Point2]:
        """The outline of the part between two ``t`` and two ``u``."""
        if t0 <= 0.0 and t1 >= 1.0:
            return self.strip(u0, u1)
        steps = [t0, *(k / (len(self.left) - 1) for k in range(len(self.left))), t1]
        ts = [t for t in steps if t0 <= t <= t1]
        return [self.at(t, u0) for t in ts] + [self.at(t, u1) for t in reversed(ts)]


class Canvas:
    """The label image and the shading image that all body parts are drawn into."""

    def __init__(self, light: float) -> None:
        self.labels = Image.new("P", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING))
        self.shades = Image.new("L", (WIDTH, HEIGHT), 128)
        self._label = ImageDraw.Draw(self.labels)
        self._shade = ImageDraw.Draw(self.shades)
        self._lit = 0.45 * light

    def polygon(self, points: Sequence[Point2], material: int) -> None:
        """Fill a flat shape, given in image pixels; the shading below stays."""
        self._label.polygon([(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points], fill=material)

    def disc(self, x: float, y: float, rx: float, ry: float, material: int, shade: float = 0.0) -> None:
        """Fill an ellipse; a ``shade`` above 0 also shades it as a ball of that brightness."""
        s = OVERSAMPLING
        self._label.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=material)
        if shade > 0.0:
            self._shade.ellipse((x - rx, y - ry, x + rx, y + ry), fill=int(104 * shade))
            x, y, rx, ry = x + self._lit * rx, y - 0.2 * ry, 0.7 * rx, 0.7 * ry
            self._shade.ellipse((x - rx, y - ry, x + rx, y + ry), fill=int(136 * shade))

    def cap(self, x: float, y: float, rx: float, ry: float, angles: tuple[float, float], material: int) -> None:
        """Fill the part of an ellipse between two angles (degrees, clockwise from the right)."""
        s = OVERSAMPLING
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._label.chord(box, angles[0], angles[1], fill=material)

    def loft(self, loft: Loft, material: int, shade: float = 1.0) -> None:
        """Fill a body part and shade it as a cylinder lit from the side of the light."""
        self.polygon(loft.left + loft.right[::-1], material)
        self._shade.polygon(loft.left + loft.right[::-1], fill=int(92 * shade))
        low, high = max(-0.95, self._lit - 0.62), min(0.95, self._lit + 0.62)
        self._shade.polygon(loft.strip(low, high), fill=int(122 * shade))
        low, high = max(-0.85, self._lit - 0.3), min(0.85, self._lit + 0.3)
        self._shade.polygon(loft.strip(low, high), fill=int(142 * shade))
