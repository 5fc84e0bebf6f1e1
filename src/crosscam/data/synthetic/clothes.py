"""Legs, trunk and arms with the clothes on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from crosscam.data.synthetic.body import Body, Point3, between
from crosscam.data.synthetic.canvas import FEATURE, INNER, LOWER, LOWER2, SHOE, SKIN, SOLE, UPPER, UPPER2, Canvas, Loft

Patch = tuple[float, float, float, float]


def _grid(rows: int, columns: Sequence[float]) -> tuple[Patch, ...]:
    """The two sets of lines of a checked cloth."""
    across = [((k + 0.3) / rows, (k + 0.6) / rows, -1.0, 1.0) for k in range(rows)]
    return (*across, *((0.0, 0.96, u - 0.1, u + 0.1) for u in columns))


# Where the second color goes, as (t0, t1, u0, u1) of the loft: the trunk from hem to neck, the trousers from hip
# to ankle, the skirt from hem to waist. What turns with the body is worked out when it is drawn.
TRUNK: dict[str, tuple[Patch, ...]] = {
    "plain": (),
    "sleeves": (),
    "hoops": tuple((t, t + 0.11, -1.0, 1.0) for t in (0.08, 0.3, 0.52, 0.74)),
    "checks": _grid(6, (-0.75, -0.25, 0.25, 0.75)),
    "yoke": ((0.55, 1.0, -1.0, 1.0),),
    "half": ((0.0, 0.34, -1.0, 1.0),),
    "band": ((0.36, 0.58, -1.0, 1.0),),
}
SLEEVE: dict[str, tuple[Patch, ...]] = {
    "hoops": tuple((t, t + 0.1, -1.0, 1.0) for t in (0.15, 0.4, 0.65, 0.88)),
    "checks": _grid(5, (0.0,)),
}
TROUSERS: dict[str, tuple[Patch, ...]] = {
    "plain": (),
    "cuffs": ((0.68, 1.0, -1.0, 1.0),),
    "thigh_panel": ((0.14, 0.46, -1.0, 1.0),),
    "checks": _grid(7, (-0.5, 0.5)),
    "pinstripes": tuple((0.0, 1.0, u - 0.17, u + 0.17) for u in (-0.66, 0.0, 0.66)),
}
SKIRT: dict[str, tuple[Patch, ...]] = {
    "plain": (),
    "cuffs": ((0.0, 0.2, -1.0, 1.0),),
    "thigh_panel": ((0.25, 0.5, -1.0, 1.0),),
    "checks": _grid(5, (-0.6, 0.0, 0.6)),
    "pinstripes": tuple((0.0, 1.0, u - 0.09, u + 0.09) for u in (-0.7, -0.25, 0.25, 0.7)),
    "side_stripe": ((0.0, 1.0, -0.92, -0.7), (0.0, 1.0, 0.7, 0.92)),
}


def draw_leg(body: Body, index: int, shade: float) -> None:
    """Foot, leg and trouser leg; index 0 is the person's right."""
    hip, knee, ankle = body.legs[index]
    _foot(body, ankle, shade)
    points = [body.project(hip), body.project(between(hip, knee, 0.5)), body.project(knee)]
    points += [body.project(between(knee, ankle, 0.45)), body.project(ankle)]
    unit, b = body.unit, 0.45 + 0.55 * body.build
    bare = [0.061 * b, 0.052 * b, 0.039 * b, 0.039 * b, 0.024]
    kind = body.who.lower.kind
    if kind in ("skirt", "shorts"):
        body.limb(points, [w * unit for w in bare], SKIN, shade)
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
    body.canvas.disc(*points[0], half[0], half[0], LOWER)
    loft = Loft(points, half)
    body.canvas.loft(loft, LOWER, shade)
    if len(points) > 3:
        body.canvas.disc(*points[2], half[2], half[2], LOWER)
    _cover(body.canvas, loft, _trouser_patches(body, -1 if index == 0 else 1), LOWER2)


def _foot(body: Body, ankle: Point3, shade: float) -> None:
    x, y, z = ankle
    y = max(0.018, y - 0.022)
    toe_up = 0.0 if y < 0.03 else -0.2
    heel = body.project((x, y, z - 0.028))
    ball = body.project((x * 1.1, y - 0.006 + toe_up * 0.06, z + 0.062))
    toe = body.project((x * 1.2, y - 0.006 + toe_up * 0.09, z + 0.095))
    u = body.unit
    body.limb([heel, ball, toe], [0.022 * u, 0.024 * u, 0.014 * u], SHOE, shade)
    sole = [(p[0], p[1] + 0.017 * u) for p in (heel, ball, toe)]
    body.canvas.polygon(Loft(sole, [0.005 * u] * 3).patch(0.0, 1.0, -1.0, 1.0), SOLE)


def draw_skirt(body: Body) -> None:
    """The skirt, if there is one: from the waist to the wider of the two knees."""
    if body.who.lower.kind != "skirt":
        return
    knees = [body.project(knee) for _, knee, _ in body.legs]
    hem_x = (knees[0][0] + knees[1][0]) / 2.0
    hem_y = max(knees[0][1], knees[1][1]) + 0.01 * body.unit
    spread = abs(knees[0][0] - knees[1][0]) / 2.0 + 0.055 * body.unit
    waist, hip = body.project(body.trunk(0.60)), body.project(body.trunk(0.51))
    half = [spread, body.width(0.1 * body.build, 0.085 * body.build), body.width(0.085, 0.07) * body.build]
    loft = Loft([(hem_x, hem_y), hip, waist], half)
    body.canvas.loft(loft, LOWER)
    _cover(body.canvas, loft, SKIRT[body.who.lower.pattern], LOWER2)


def draw_trunk(body: Body) -> None:
    """Neck and upper garment without its sleeves."""
    kind = body.who.upper.kind
    hem = {"coat": 0.34, "jacket": 0.475, "tee": 0.49, "tank": 0.5}.get(kind, 0.485)
    bulk = 1.12 if kind in ("coat", "jacket") else 1.0
    b, s = body.build * bulk, body.who.shoulders
    levels = [
        (hem, 0.1 * b * (1.14 if kind == "coat" else 1.0), 0.08 * b),
        (0.53, 0.097 * b, 0.077 * b),
        (0.61, 0.09 * b, 0.074 * b),
        (0.71, 0.104 * s * (0.5 + 0.5 * b), 0.076 * b),
        (0.765, 0.116 * s * (0.6 + 0.4 * b), 0.068 * b),
        (0.8, 0.104 * s, 0.054),
        (0.83, 0.066, 0.042),
        (0.85, 0.036, 0.034),
    ]
    if kind == "tank":
        levels[4] = (0.765, 0.094 * s, 0.06 * b)
        levels[5] = (0.8, 0.074 * s, 0.05)
    _neck(body)
    path = [body.project(body.trunk(y, 0.006)) for y, _, _ in levels]
    loft = Loft(path, [body.width(side, front) for _, side, front in levels])
    body.canvas.loft(loft, UPPER)
    _cover(body.canvas, loft, _trunk_patches(body), UPPER2)
    if body.cos > 0.1:
        _front_opening(body, loft)


def _neck(body: Body) -> None:
    low, high = body.project(body.trunk(0.80)), body.project(body.trunk(0.885, 0.012))
    w = 0.03 * body.unit * (0.7 + 0.3 * body.build)
    body.limb([low, high], [w * 1.1, w], SKIN, 0.8)


def _front_opening(body: Body, loft: Loft) -> None:
    """The open jacket, or the neckline, or the zip and collar: what shows only from the front."""
    center = 0.85 * body.sin
    if body.who.upper.inner is not None:
        w = 0.34 * body.cos
        body.canvas.polygon(loft.patch(0.12, 1.0, max(-1.0, center - w), min(1.0, center + w)), INNER)
    elif body.who.upper.kind in ("tee", "tank"):
        x, y = body.project(body.trunk(0.825, 0.05))
        body.canvas.disc(x, y, 0.032 * body.unit * body.cos, 0.02 * body.unit, SKIN)
    elif body.who.upper.kind in ("jacket", "coat"):
        body.canvas.polygon(loft.patch(0.0, 0.95, center - 0.03, center + 0.03), FEATURE)


def draw_arm(body: Body, index: int, shade: float) -> None:
    """Arm, hand and sleeve; index 0 is the person's right."""
    shoulder, elbow, wrist = body.arms[index]
    u, b = body.unit, 0.5 + 0.5 * body.build
    hand = between(elbow, wrist, 1.16)
    points = [body.project(p) for p in (shoulder, between(shoulder, elbow, 0.5), elbow, wrist)]
    bare = [0.031 * b * u, 0.028 * b * u, 0.025 * b * u, 0.019 * u]
    kind = body.who.upper.kind
    if kind in ("tee", "tank"):
        body.limb(points, bare, SKIN, shade)
    body.canvas.disc(*body.project(hand), 0.019 * u, 0.023 * u, SKIN, shade)
    if kind == "tank":
        return
    sleeve = UPPER2 if body.who.upper.pattern in ("sleeves", "yoke") else UPPER
    thick = 1.32 if kind in ("jacket", "coat") else 1.16
    if kind == "tee":
        points = [points[0], points[1], body.project(between(shoulder, elbow, 0.72))]
        half = [bare[0] * 1.3, bare[1] * 1.35, bare[1] * 1.4]
    else:
        half = [w * thick for w in bare]
    loft = Loft(points, half)
    body.canvas.disc(*points[0], half[0], half[0], sleeve)
    body.canvas.loft(loft, sleeve, shade)
    if kind != "tee":
        body.canvas.disc(*points[2], half[2], half[2], sleeve)
    _cover(body.canvas, loft, SLEEVE.get(body.who.upper.pattern, ()), UPPER2)


def _cover(canvas: Canvas, loft: Loft, patches: Iterable[Patch], material: int) -> None:
    for t0, t1, u0, u1 in patches:
        canvas.polygon(loft.patch(t0, t1, u0, u1), material)


def _trouser_patches(body: Body, side: int) -> Iterable[Patch]:
    pattern = body.who.lower.pattern
    if pattern != "side_stripe":
        return TROUSERS[pattern]
    hidden = side * body.sin > 0.75
    u = max(-0.74, min(0.74, side * body.cos))
    return () if hidden else ((0.0, 1.0, u - 0.26, u + 0.26),)


def _trunk_patches(body: Body) -> Iterable[Patch]:
    pattern = body.who.upper.pattern
    if pattern == "pinstripes":
        turn = body.pose.yaw % 0.7
        middles = [math.sin(k * 0.7 + turn) for k in range(-3, 3) if abs(k * 0.7 + turn) < 1.5]
        return [(0.0, 0.95, max(-1.0, u - 0.11), min(1.0, u + 0.11)) for u in middles]
    if pattern == "print":
        return [_print(body.sin * way, body.cos * way) for way in (1.0, -1.0) if body.cos * way > -0.3]
    return TRUNK[pattern]


def _print(sin: float, cos: float) -> Patch:
    """The printed square on the chest or the back; from the side its edge still shows."""
    middle, half = 0.75 * sin, max(0.2, 0.5 * abs(cos))
    return 0.3, 0.66, max(-1.0, middle - half), min(1.0, middle + half)
