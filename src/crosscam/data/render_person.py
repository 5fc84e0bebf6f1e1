"""Draw one walking person: a jointed body in three dimensions, seen from any side, as colour and coverage.

The body is a set of lofts: a path of body points with a half-width at each. Each loft is drawn twice: its material
into a label image at three times the size, and its shading (bright towards the light, dark at the edge) into a
small grey image. A palette turns labels into colours; shrinking gives smooth edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crosscam.data.render_identities import COLOURS, Garment, Identity, Rgb, scaled

WIDTH, HEIGHT = 64, 128
OVERSAMPLING = 3

SKIN, HAIR, UPPER, UPPER2, LOWER, LOWER2, SHOE, SOLE, BAG, STRAP, HAT, INNER, FEATURE, LIPS, BELT = range(1, 16)

Point3 = tuple[float, float, float]
Point2 = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a person walks and from where it is seen.

    Attributes:
        yaw: radians; 0 faces the viewer, pi/2 walks to the right of the image, pi shows the back.
        phase: radians of the walking cycle.
        stride: radians of the largest swing of the legs; 0 stands.
        arms: radians of the largest swing of the arms.
        elbows: radians that the elbows bend.
        lean: radians that the trunk leans forward.
        raised: -1 or 1 for an arm held up as with a telephone, 0 for none.
    """

    yaw: float
    phase: float
    stride: float
    arms: float
    elbows: float
    lean: float
    raised: int


@dataclass(frozen=True, slots=True)
class View:
    """Where the person stands in the image.

    Attributes:
        centre: pixels from the left edge to the body's axis.
        ground: pixels from the top edge to the sole of the feet.
        size: pixels of an average person's height.
        pitch: radians that the camera looks down.
        light: -1 lit from the left to 1 lit from the right.
    """

    centre: float
    ground: float
    size: float
    pitch: float
    light: float


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

    def patch(self, t0: float, t1: float, u0: float, u1: float) -> list[Point2]:
        """The outline of the part between two ``t`` and two ``u``."""
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
        self._shade.polygon(loft.patch(0.0, 1.0, low, high), fill=int(122 * shade))
        low, high = max(-0.85, self._lit - 0.3), min(0.85, self._lit + 0.3)
        self._shade.polygon(loft.patch(0.0, 1.0, low, high), fill=int(142 * shade))


def draw_person(
    identity: Identity, pose: Pose, view: View, creases: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a person alone.

    Args:
        identity: who.
        pose: how the person walks and which side it shows.
        view: where the person stands in the image.
        creases: (128, 64, 1) factors around 1 that break up the even clothes.
    Returns:
        (128, 64, 3) colour in [0, 255] times coverage, and (128, 64, 1) coverage in [0, 1].
    """
    canvas = Canvas(view.light)
    _Figure(identity, pose, view, canvas).draw()
    palette = [0] * (3 * 16)
    for material, rgb in _materials(identity).items():
        palette[3 * material : 3 * material + 3] = rgb
    canvas.labels.putpalette(palette)
    coverage = canvas.labels.point([0] + [255] * 255, "L").reduce(OVERSAMPLING)
    colour = np.asarray(canvas.labels.convert("RGB").reduce(OVERSAMPLING), dtype=np.float32)
    shade = np.asarray(canvas.shades.filter(ImageFilter.BoxBlur(1)), dtype=np.float32)[:, :, None]
    colour = colour * (shade * creases / 128.0)
    return colour, np.asarray(coverage, dtype=np.float32)[:, :, None] / 255.0


def _materials(identity: Identity) -> dict[int, Rgb]:
    upper, lower = identity.upper, identity.lower
    skin = identity.skin
    return {
        SKIN: skin,
        HAIR: identity.hair,
        UPPER: COLOURS[upper.colour],
        UPPER2: COLOURS[upper.second or upper.colour],
        LOWER: COLOURS[lower.colour],
        LOWER2: COLOURS[lower.second or lower.colour],
        SHOE: COLOURS[identity.shoes],
        SOLE: (206, 204, 198) if identity.shoes != "white" else (120, 120, 120),
        BAG: COLOURS[identity.bag_colour],
        STRAP: scaled(COLOURS[identity.bag_colour], 0.6),
        HAT: COLOURS[identity.hat_colour],
        INNER: COLOURS[upper.inner or upper.colour],
        FEATURE: scaled(skin, 0.42),
        LIPS: (int(skin[0] * 0.78), int(skin[1] * 0.6), int(skin[2] * 0.58)),
        BELT: (44, 34, 28),
    }


class _Figure:
    """Places one person's joints and draws the parts from the farthest to the nearest.

    Body axes: x to the person's left, y up, z forward; one unit is the height of an average person.
    """

    def __init__(self, identity: Identity, pose: Pose, view: View, canvas: Canvas) -> None:
        self.who, self.pose, self.view, self.canvas = identity, pose, view, canvas
        self.cos, self.sin = math.cos(pose.yaw), math.sin(pose.yaw)
        self.pitch_cos, self.pitch_sin = math.cos(view.pitch), math.sin(view.pitch)
        self.unit = view.size * identity.height
        self.build = identity.build
        self.lift = 0.0
        self.legs = [self._leg(side) for side in (-1, 1)]
        self.lift = 0.035 - min(min(knee[1], ankle[1]) for _, knee, ankle in self.legs)
        self.legs = [self._leg(side) for side in (-1, 1)]
        self.arms = [self._arm(side) for side in (-1, 1)]

    # Geometry -------------------------------------------------------------------------------------------

    def project(self, p: Point3) -> Point2:
        """Image pixels of a body point; what is higher is nearer to the camera and so a little larger."""
        x, y, z = p
        across = x * self.cos + z * self.sin
        towards = z * self.cos - x * self.sin
        near = 1.0 + 0.35 * self.pitch_sin * (y - 0.5)
        up = y * self.pitch_cos - towards * self.pitch_sin
        return self.view.centre + across * near * self.unit, self.view.ground - up * self.unit

    def towards(self, p: Point3) -> float:
        """How near a body point is to the viewer."""
        return p[2] * self.cos - p[0] * self.sin

    def width(self, side: float, front: float) -> float:
        """Half the visible width, in pixels, of an elliptic section of the body."""
        return math.hypot(side * self.cos, front * self.sin) * self.unit

    def trunk(self, y: float, z: float = 0.0, x: float = 0.0) -> Point3:
        """A point of the leaning trunk at height ``y`` of the upright body."""
        rise = max(0.0, y - 0.5)
        return x, y + self.lift, z + rise * math.sin(self.pose.lean)

    def _leg(self, side: int) -> tuple[Point3, Point3, Point3]:
        swing = self.pose.phase + (math.pi if side > 0 else 0.0)
        hip = self.pose.stride * math.sin(swing)
        knee = 0.06 + 2.0 * self.pose.stride * max(0.0, math.cos(swing)) ** 1.5
        x = 0.048 * side * self.build
        top = (x, 0.50 + self.lift, 0.0)
        middle = (x, top[1] - 0.235 * math.cos(hip), 0.235 * math.sin(hip))
        shin = hip - knee
        return top, middle, (x * 0.85, middle[1] - 0.235 * math.cos(shin), middle[2] + 0.235 * math.sin(shin))

    def _arm(self, side: int) -> tuple[Point3, Point3, Point3]:
        swing = self.pose.phase + (0.0 if side > 0 else math.pi)
        angle = self.pose.arms * math.sin(swing)
        x = 0.108 * self.who.shoulders * (0.7 + 0.3 * self.build) * side
        top = self.trunk(0.785, 0.0, x)
        if side == self.pose.raised:
            elbow = (x * 1.2, top[1] - 0.15, top[2] + 0.05)
            return top, elbow, (x * 0.75, top[1] + 0.08, top[2] + 0.09)
        elbow = (x * 1.17, top[1] - 0.16 * math.cos(angle), top[2] + 0.16 * math.sin(angle))
        bent = angle + self.pose.elbows
        return top, elbow, (x * 1.22, elbow[1] - 0.15 * math.cos(bent), elbow[2] + 0.15 * math.sin(bent))

    @property
    def bag_arm(self) -> int:
        """Index of the arm on the bag's side."""
        return 0 if self.who.bag_side < 0 else 1

    # Parts ----------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw all parts, the farthest first."""
        back_seen = self.cos < -0.15
        far, near = (0, 1) if self.towards(self.legs[0][1]) < self.towards(self.legs[1][1]) else (1, 0)
        arms = sorted((0, 1), key=lambda i: self.towards(self.arms[i][0]))
        sideways = abs(self.sin) > 0.45
        if not back_seen:
            draw_backpack(self)
            draw_falling_hair(self)
        if self.who.bag == "hand" and sideways and self.bag_arm == arms[0]:
            draw_hand_bag(self)
        if sideways:
            self._draw_arm(arms[0], 0.74)
        self._draw_leg(far, 0.78)
        self._draw_leg(near, 1.0)
        self._skirt()
        self._trunk()
        if not sideways:
            self._draw_arm(arms[0], 0.95)
        if back_seen:
            draw_head(self)
            draw_falling_hair(self)
            draw_backpack(self)
        else:
            draw_straps(self)
            draw_head(self)
        draw_shoulder_bag(self)
        self._draw_arm(arms[1], 1.0)
        if self.who.bag == "hand" and not (sideways and self.bag_arm == arms[0]):
            draw_hand_bag(self)

    def _draw_leg(self, index: int, shade: float) -> None:
        hip, knee, ankle = self.legs[index]
        self._foot(ankle, shade)
        points = [self.project(hip), self.project(_between(hip, knee, 0.5)), self.project(knee)]
        points += [self.project(_between(knee, ankle, 0.45)), self.project(ankle)]
        unit, b = self.unit, 0.45 + 0.55 * self.build
        bare = [0.056 * b, 0.047 * b, 0.036 * b, 0.036 * b, 0.022]
        kind = self.who.lower.kind
        self._limb(points, [w * unit for w in bare], SKIN, shade)
        if kind == "skirt":
            return
        cloth = {"slim": (1.0, 1.03, 1.07, 0.98, 1.15), "wide": (1.08, 1.22, 1.45, 1.55, 2.6)}
        factors = cloth.get(kind, (1.04, 1.12, 1.2, 1.15, 1.7))
        half = [w * f * unit for w, f in zip(bare, factors, strict=True)]
        if kind == "shorts":
            points, half = points[:3], [half[0] * 1.05, half[1] * 1.15, half[2] * 1.35]
        else:
            end = points[-1]
            points[-1] = (end[0], end[1] + 0.012 * unit)
        self.canvas.disc(*points[0], half[0], half[0], LOWER)
        loft = Loft(points, half)
        self.canvas.loft(loft, LOWER, shade)
        if len(points) > 3:
            self.canvas.disc(*points[2], half[2], half[2], LOWER)
        self._lower_pattern(loft, self.who.lower, -1 if index == 0 else 1)

    def _lower_pattern(self, loft: Loft, garment: Garment, side: int) -> None:
        if garment.pattern == "side_stripe":
            if -side * self.sin > -0.75:
                u = max(-0.8, min(0.8, side * self.cos))
                self.canvas.polygon(loft.patch(0.0, 1.0, u - 0.26, u + 0.26), LOWER2)
        elif garment.pattern == "cuffs":
            self.canvas.polygon(loft.patch(0.68, 1.0, -1.0, 1.0), LOWER2)
        elif garment.pattern == "thigh_panel":
            self.canvas.polygon(loft.patch(0.14, 0.46, -1.0, 1.0), LOWER2)
        elif garment.pattern == "checks":
            self._checks(loft, 7, (-0.5, 0.5), LOWER2)
        elif garment.pattern == "pinstripes":
            for u in (-0.66, 0.0, 0.66):
                self.canvas.polygon(loft.patch(0.0, 1.0, u - 0.17, u + 0.17), LOWER2)

    def _foot(self, ankle: Point3, shade: float) -> None:
        x, y, z = ankle
        y = max(0.018, y - 0.022)
        toe_up = 0.0 if y < 0.03 else -0.2
        heel = self.project((x, y, z - 0.028))
        ball = self.project((x * 1.1, y - 0.006 + toe_up * 0.06, z + 0.062))
        toe = self.project((x * 1.2, y - 0.006 + toe_up * 0.09, z + 0.095))
        u = self.unit
        self._limb([heel, ball, toe], [0.022 * u, 0.024 * u, 0.014 * u], SHOE, shade)
        sole = [(p[0], p[1] + 0.017 * u) for p in (heel, ball, toe)]
        self.canvas.polygon(Loft(sole, [0.005 * u] * 3).patch(0.0, 1.0, -1.0, 1.0), SOLE)

    def _skirt(self) -> None:
        if self.who.lower.kind != "skirt":
            return
        knees = [self.project(knee) for _, knee, _ in self.legs]
        hem_x = (knees[0][0] + knees[1][0]) / 2.0
        hem_y = max(knees[0][1], knees[1][1]) + 0.01 * self.unit
        spread = abs(knees[0][0] - knees[1][0]) / 2.0 + 0.055 * self.unit
        waist, hip = self.project(self.trunk(0.60)), self.project(self.trunk(0.51))
        half = [spread, self.width(0.1 * self.build, 0.085 * self.build), self.width(0.085, 0.07) * self.build]
        loft = Loft([(hem_x, hem_y), hip, waist], half)
        self.canvas.loft(loft, LOWER)
        pattern = self.who.lower.pattern
        if pattern == "cuffs":
            self.canvas.polygon(loft.patch(0.0, 0.2, -1.0, 1.0), LOWER2)
        elif pattern == "thigh_panel":
            self.canvas.polygon(loft.patch(0.25, 0.5, -1.0, 1.0), LOWER2)
        elif pattern == "checks":
            self._checks(loft, 5, (-0.6, 0.0, 0.6), LOWER2)
        elif pattern in ("pinstripes", "side_stripe"):
            for u in (-0.7, -0.25, 0.25, 0.7) if pattern == "pinstripes" else (-0.8, 0.8):
                self.canvas.polygon(loft.patch(0.0, 1.0, u - 0.09, u + 0.09), LOWER2)

    def _trunk(self) -> None:
        kind = self.who.upper.kind
        hem = {"coat": 0.34, "jacket": 0.475, "tee": 0.49, "tank": 0.5}.get(kind, 0.485)
        bulk = 1.12 if kind in ("coat", "jacket") else 1.0
        b, s = self.build * bulk, self.who.shoulders
        levels = [
            (hem, 0.094 * b * (1.12 if kind == "coat" else 1.0), 0.074 * b),
            (0.53, 0.091 * b, 0.07 * b),
            (0.61, 0.082 * b, 0.066 * b),
            (0.71, 0.096 * s * (0.5 + 0.5 * b), 0.068 * b),
            (0.775, 0.108 * s * (0.6 + 0.4 * b), 0.06 * b),
            (0.815, 0.09 * s, 0.045),
            (0.842, 0.04, 0.036),
        ]
        if kind == "tank":
            levels[4] = (0.775, 0.088 * s, 0.056 * b)
            levels[5] = (0.815, 0.066 * s, 0.042)
        self._neck()
        path = [self.project(self.trunk(y, 0.006)) for y, _, _ in levels]
        loft = Loft(path, [self.width(side, front) for _, side, front in levels])
        self.canvas.loft(loft, UPPER)
        self._upper_pattern(loft, self.who.upper)
        if self.cos > 0.1:
            self._front_opening(loft)

    def _upper_pattern(self, loft: Loft, garment: Garment) -> None:
        draw, pattern = self.canvas.polygon, garment.pattern
        if pattern == "hoops":
            for t in (0.08, 0.3, 0.52, 0.74):
                draw(loft.patch(t, t + 0.11, -1.0, 1.0), UPPER2)
        elif pattern == "pinstripes":
            turn = self.pose.yaw % 0.7
            for k in range(-3, 4):
                u = math.sin(k * 0.7 + turn) if abs(k * 0.7 + turn) < 1.5 else 2.0
                if abs(u) < 1.0:
                    draw(loft.patch(0.0, 0.95, max(-1.0, u - 0.11), min(1.0, u + 0.11)), UPPER2)
        elif pattern == "checks":
            self._checks(loft, 6, (-0.75, -0.25, 0.25, 0.75), UPPER2)
        elif pattern == "yoke":
            draw(loft.patch(0.55, 1.0, -1.0, 1.0), UPPER2)
        elif pattern == "half":
            draw(loft.patch(0.0, 0.34, -1.0, 1.0), UPPER2)
        elif pattern == "band":
            draw(loft.patch(0.36, 0.58, -1.0, 1.0), UPPER2)
        elif pattern == "print" and abs(self.cos) > 0.25:
            shift = 0.75 * self.sin * (1.0 if self.cos > 0 else -1.0)
            w = 0.5 * abs(self.cos)
            draw(loft.patch(0.32, 0.68, max(-1.0, shift - w), min(1.0, shift + w)), UPPER2)

    def _checks(self, loft: Loft, rows: int, columns: Sequence[float], material: int) -> None:
        for k in range(rows):
            t = (k + 0.3) / rows
            self.canvas.polygon(loft.patch(t, t + 0.3 / rows, -1.0, 1.0), material)
        for u in columns:
            self.canvas.polygon(loft.patch(0.0, 0.96, u - 0.1, u + 0.1), material)

    def _front_opening(self, loft: Loft) -> None:
        """The open jacket, or the neckline, or the zip and collar: what shows only from the front."""
        centre = 0.85 * self.sin
        if self.who.upper.inner is not None:
            w = 0.34 * self.cos
            self.canvas.polygon(loft.patch(0.12, 1.0, max(-1.0, centre - w), min(1.0, centre + w)), INNER)
        elif self.who.upper.kind in ("tee", "tank"):
            x, y = self.project(self.trunk(0.825, 0.05))
            self.canvas.disc(x, y, 0.032 * self.unit * self.cos, 0.02 * self.unit, SKIN)
        elif self.who.upper.kind in ("jacket", "coat"):
            self.canvas.polygon(loft.patch(0.0, 0.95, centre - 0.03, centre + 0.03), FEATURE)

    def _neck(self) -> None:
        low, high = self.project(self.trunk(0.80)), self.project(self.trunk(0.885, 0.012))
        w = 0.03 * self.unit * (0.7 + 0.3 * self.build)
        self._limb([low, high], [w * 1.1, w], SKIN, 0.8)

    def _draw_arm(self, index: int, shade: float) -> None:
        shoulder, elbow, wrist = self.arms[index]
        u, b = self.unit, 0.5 + 0.5 * self.build
        hand = _between(elbow, wrist, 1.16)
        points = [self.project(p) for p in (shoulder, _between(shoulder, elbow, 0.5), elbow, wrist)]
        bare = [0.029 * b * u, 0.026 * b * u, 0.023 * b * u, 0.018 * u]
        self._limb(points, bare, SKIN, shade)
        self.canvas.disc(*self.project(hand), 0.019 * u, 0.023 * u, SKIN, shade)
        kind = self.who.upper.kind
        if kind == "tank":
            return
        sleeve = UPPER2 if self.who.upper.pattern in ("sleeves", "yoke") else UPPER
        thick = 1.32 if kind in ("jacket", "coat") else 1.16
        if kind == "tee":
            points = [points[0], points[1], self.project(_between(shoulder, elbow, 0.72))]
            half = [bare[0] * 1.3, bare[1] * 1.35, bare[1] * 1.4]
        else:
            half = [w * thick for w in bare]
        loft = Loft(points, half)
        self.canvas.disc(*points[0], half[0], half[0], sleeve)
        self.canvas.loft(loft, sleeve, shade)
        if kind != "tee":
            self.canvas.disc(*points[2], half[2], half[2], sleeve)
        if self.who.upper.pattern in ("hoops", "checks"):
            for t in (0.15, 0.4, 0.65, 0.88):
                self.canvas.polygon(loft.patch(t, t + 0.1, -1.0, 1.0), UPPER2)

    def _limb(self, points: Sequence[Point2], half: Sequence[float], material: int, shade: float) -> None:
        self.canvas.disc(*points[0], half[0], half[0], material)
        self.canvas.disc(*points[-1], half[-1], half[-1], material)
        self.canvas.loft(Loft(points, half), material, shade)


def _between(a: Point3, b: Point3, f: float) -> Point3:
    return a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f, a[2] + (b[2] - a[2]) * f


def draw_head(fig: _Figure) -> None:
    """Skull, hair, face and hat."""
    who, canvas, u = fig.who, fig.canvas, fig.unit
    x, y = fig.project(fig.trunk(0.935, 0.015))
    rx, ry = fig.width(0.053, 0.062), 0.07 * u
    style = who.hair_style
    grow = {"curly": 1.28, "bob": 1.1, "long": 1.08, "crop": 1.0, "bald": 1.0}.get(style, 1.05)
    canvas.disc(x, y, rx * grow, ry * grow, SKIN if style == "bald" else HAIR, 1.0)
    if style == "bob":
        low = fig.project(fig.trunk(0.865, 0.0))
        canvas.loft(Loft([low, (x, y)], [rx * 1.12, rx * 1.1]), HAIR)
    if style == "bun":
        canvas.disc(*fig.project(fig.trunk(0.995, -0.055)), 0.032 * u, 0.03 * u, HAIR, 1.0)
    _face(fig, rx)
    if style in ("short", "crop", "bald", "bun", "ponytail"):
        for side in (-1, 1):
            ear = fig.trunk(0.92, 0.01, 0.053 * side)
            if fig.towards(ear) > -0.03:
                canvas.disc(*fig.project(ear), 0.010 * u, 0.017 * u, SKIN, 1.0)
    _hat(fig, x, y, rx * max(1.06, grow * 0.97), ry)


def _face(fig: _Figure, rx: float) -> None:
    if fig.cos < -0.45:
        return
    canvas, u = fig.canvas, fig.unit
    front = max(0.0, fig.cos)
    low = {"crop": 0.006, "bald": 0.008}.get(fig.who.hair_style, 0.0)
    x, y = fig.project(fig.trunk(0.918 + low, 0.043))
    canvas.disc(x, y, rx * (0.5 + 0.36 * front), 0.053 * u, SKIN, 1.08)
    canvas.disc(x, y + 0.024 * u, rx * (0.42 + 0.2 * front), 0.034 * u, SKIN)
    for side in (-1, 1):
        eye = fig.trunk(0.928, 0.062, 0.021 * side)
        if fig.towards(eye) > 0.012:
            ex, ey = fig.project(eye)
            canvas.disc(ex, ey, 0.0095 * u, 0.0055 * u, FEATURE)
            canvas.disc(ex, ey - 0.013 * u, 0.012 * u, 0.0035 * u, FEATURE)
    if fig.cos > -0.1:
        canvas.disc(*fig.project(fig.trunk(0.912, 0.072)), 0.008 * u, 0.012 * u, LIPS)
        canvas.disc(*fig.project(fig.trunk(0.89, 0.06)), 0.014 * u * (0.5 + 0.5 * front), 0.005 * u, LIPS)


def _hat(fig: _Figure, x: float, y: float, rx: float, ry: float) -> None:
    if fig.who.hat == "none":
        return
    canvas, u = fig.canvas, fig.unit
    y -= 0.012 * u
    canvas.cap(x, y, rx * 1.08, ry * 1.06, (178, 362), HAT)
    if fig.who.hat == "beanie":
        canvas.cap(x, y + 0.008 * u, rx * 1.12, ry * 1.12, (176, 364), HAT)
    else:
        wide = fig.who.hat == "brimmed"
        bx, by = fig.project(fig.trunk(0.955, 0.015 if wide else 0.075))
        canvas.disc(bx, by, rx * (1.75 if wide else 0.85), 0.013 * u, HAT)


def draw_falling_hair(fig: _Figure) -> None:
    """Long hair and the pony tail."""
    u, style = fig.unit, fig.who.hair_style
    if style == "long":
        path = [fig.project(fig.trunk(h, -0.03)) for h in (0.72, 0.80, 0.94)]
        half = [fig.width(0.055, 0.03), fig.width(0.07, 0.045), fig.width(0.056, 0.056)]
        fig.canvas.disc(*path[0], half[0], 0.018 * u, HAIR)
        fig.canvas.loft(Loft(path, half), HAIR)
    elif style == "ponytail":
        path = [fig.project(fig.trunk(h, z)) for h, z in ((0.79, -0.085), (0.88, -0.085), (0.955, -0.05))]
        fig.canvas.loft(Loft(path, [0.008 * u, 0.02 * u, 0.012 * u]), HAIR)


def draw_backpack(fig: _Figure) -> None:
    """The pack on the back."""
    if fig.who.bag != "backpack":
        return
    u = fig.unit
    path = [fig.project(fig.trunk(h, -0.115)) for h in (0.555, 0.60, 0.74, 0.80)]
    half = [fig.width(w, d) for w, d in ((0.07, 0.045), (0.082, 0.055), (0.08, 0.05), (0.05, 0.035))]
    loft = Loft(path, half)
    fig.canvas.loft(loft, BAG)
    if fig.cos < -0.15:
        fig.canvas.polygon(loft.patch(0.12, 0.45, -0.6, 0.6), STRAP)
        fig.canvas.polygon(loft.patch(0.16, 0.41, -0.5, 0.5), BAG)
        fig.canvas.polygon(loft.patch(0.68, 0.73, -0.9, 0.9), STRAP)
    elif abs(fig.sin) > 0.6:
        fig.canvas.disc(*path[1], 0.02 * u, 0.03 * u, STRAP)


def draw_straps(fig: _Figure) -> None:
    """The straps of the pack, seen from the front and the side."""
    if fig.who.bag != "backpack":
        return
    for side in (-1, 1):
        path = [fig.project(fig.trunk(h, z, 0.062 * side)) for h, z in ((0.63, 0.055), (0.74, 0.075), (0.825, 0.02))]
        if fig.towards(fig.trunk(0.74, 0.06, 0.062 * side)) > 0.0:
            fig.canvas.polygon(Loft(path, [0.013 * fig.unit] * 3).patch(0.0, 1.0, -1.0, 1.0), STRAP)


def draw_shoulder_bag(fig: _Figure) -> None:
    """A bag at the hip and its strap across the trunk."""
    who, u = fig.who, fig.unit
    if who.bag != "shoulder":
        return
    side = who.bag_side
    z = 0.085 if fig.cos > 0 else -0.085
    ends = [fig.trunk(0.55, z * 0.5, 0.105 * side), fig.trunk(0.70, z, 0.0), fig.trunk(0.825, 0.0, -0.06 * side)]
    strap = Loft([fig.project(p) for p in ends], [0.011 * u] * 3)
    fig.canvas.polygon(strap.patch(0.0, 1.0, -1.0, 1.0), STRAP)
    bag = fig.trunk(0.50, -0.02, 0.135 * side)
    if fig.towards(bag) < -0.1:
        return
    x, y = fig.project(bag)
    half = fig.width(0.035, 0.085)
    loft = Loft([(x, y + 0.065 * u), (x, y - 0.055 * u)], [half, half * 0.9])
    fig.canvas.loft(loft, BAG)
    fig.canvas.polygon(loft.patch(0.6, 1.0, -1.0, 1.0), STRAP)


def draw_hand_bag(fig: _Figure) -> None:
    """A bag hanging from one hand."""
    u = fig.unit
    _, elbow, wrist = fig.arms[fig.bag_arm]
    x, y = fig.project(_between(elbow, wrist, 1.2))
    half = fig.width(0.03, 0.07)
    fig.canvas.polygon([(x, y), (x - half * 0.7, y + 0.05 * u), (x + half * 0.7, y + 0.05 * u)], STRAP)
    loft = Loft([(x, y + 0.16 * u), (x, y + 0.045 * u)], [half, half * 0.85])
    fig.canvas.loft(loft, BAG)
