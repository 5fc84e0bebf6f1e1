"""Draw one walking person: a jointed body in three dimensions, seen from any side, as color and coverage.

The body is a set of lofts: a path of body points with a half-width at each. Each loft is drawn twice: its material
into a label image at three times the size, and its shading (bright towards the light, dark at the edge) into a
small gray image. A palette turns labels into colors; shrinking gives smooth edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

from crosscam.data.synthetic.body import Body, Pose, View, between
from crosscam.data.synthetic.canvas import (
    BAG,
    FEATURE,
    HAIR,
    HAT,
    INNER,
    LIPS,
    LOWER,
    LOWER2,
    OVERSAMPLING,
    SHOE,
    SKIN,
    SOLE,
    STRAP,
    UPPER,
    UPPER2,
    Canvas,
    Loft,
)
from crosscam.data.synthetic.clothes import draw_arm, draw_leg, draw_skirt, draw_trunk
from crosscam.data.synthetic.identities import COLORS, Identity, Rgb, scaled


def draw_backpack(body: Body) -> None:
    """The pack on the back."""
    if body.who.bag != "backpack":
        return
    u = body.unit
    path = [body.project(body.trunk(h, -0.115)) for h in (0.555, 0.60, 0.74, 0.80)]
    half = [body.width(w, d) for w, d in ((0.07, 0.045), (0.082, 0.055), (0.08, 0.05), (0.05, 0.035))]
    loft = Loft(path, half)
    body.canvas.loft(loft, BAG)
    if body.cos < -0.15:
        body.canvas.polygon(loft.patch(0.12, 0.45, -0.6, 0.6), STRAP)
        body.canvas.polygon(loft.patch(0.16, 0.41, -0.5, 0.5), BAG)
        body.canvas.polygon(loft.patch(0.68, 0.73, -0.9, 0.9), STRAP)
    elif abs(body.sin) > 0.6:
        body.canvas.disc(*path[1], 0.02 * u, 0.03 * u, STRAP)


def draw_straps(body: Body) -> None:
    """The straps of the pack, seen from the front and the side."""
    if body.who.bag != "backpack":
        return
    for side in (-1, 1):
        path = [body.project(body.trunk(h, z, 0.062 * side)) for h, z in ((0.63, 0.055), (0.74, 0.075), (0.825, 0.02))]
        if body.towards(body.trunk(0.74, 0.06, 0.062 * side)) > 0.0:
            body.canvas.polygon(Loft(path, [0.013 * body.unit] * 3).patch(0.0, 1.0, -1.0, 1.0), STRAP)


def draw_shoulder_bag(body: Body) -> None:
    """A bag at the hip and its strap across the trunk."""
    who, u = body.who, body.unit
    if who.bag != "shoulder":
        return
    side = who.bag_side
    z = 0.085 if body.cos > 0 else -0.085
    ends = [body.trunk(0.55, z * 0.5, 0.105 * side), body.trunk(0.70, z, 0.0), body.trunk(0.825, 0.0, -0.06 * side)]
    strap = Loft([body.project(p) for p in ends], [0.011 * u] * 3)
    body.canvas.polygon(strap.patch(0.0, 1.0, -1.0, 1.0), STRAP)
    bag = body.trunk(0.50, -0.02, 0.135 * side)
    if body.towards(bag) < -0.1:
        return
    x, y = body.project(bag)
    half = body.width(0.035, 0.085)
    loft = Loft([(x, y + 0.065 * u), (x, y - 0.055 * u)], [half, half * 0.9])
    body.canvas.loft(loft, BAG)
    body.canvas.polygon(loft.patch(0.6, 1.0, -1.0, 1.0), STRAP)


def draw_hand_bag(body: Body) -> None:
    """A bag hanging from one hand."""
    u = body.unit
    _, elbow, wrist = body.arms[body.bag_arm]
    x, y = body.project(between(elbow, wrist, 1.2))
    half = body.width(0.03, 0.07)
    body.canvas.polygon([(x, y), (x - half * 0.7, y + 0.05 * u), (x + half * 0.7, y + 0.05 * u)], STRAP)
    loft = Loft([(x, y + 0.16 * u), (x, y + 0.045 * u)], [half, half * 0.85])
    body.canvas.loft(loft, BAG)


def draw_head(body: Body) -> None:
    """Skull, hair, face and hat."""
    who, canvas, u = body.who, body.canvas, body.unit
    x, y = body.project(body.trunk(0.935, 0.015))
    rx, ry = body.width(0.053, 0.062), 0.07 * u
    style = who.hair_style
    grow = {"curly": 1.28, "bob": 1.1, "long": 1.08, "crop": 1.0, "bald": 1.0}.get(style, 1.05)
    canvas.disc(x, y, rx * grow, ry * grow, SKIN if style == "bald" else HAIR, 1.0)
    if style == "bob":
        low = body.project(body.trunk(0.865, 0.0))
        canvas.loft(Loft([low, (x, y)], [rx * 1.12, rx * 1.1]), HAIR)
    if style == "bun":
        canvas.disc(*body.project(body.trunk(0.995, -0.055)), 0.032 * u, 0.03 * u, HAIR, 1.0)
    _face(body, rx)
    if style in ("short", "crop", "bald", "bun", "ponytail"):
        for side in (-1, 1):
            ear = body.trunk(0.92, 0.01, 0.053 * side)
            if body.towards(ear) > -0.03:
                canvas.disc(*body.project(ear), 0.010 * u, 0.017 * u, SKIN, 1.0)
    _hat(body, x, y, rx * max(1.06, grow * 0.97), ry)


def _face(body: Body, rx: float) -> None:
    if body.cos < -0.45:
        return
    canvas, u = body.canvas, body.unit
    front = max(0.0, body.cos)
    low = {"crop": 0.006, "bald": 0.008}.get(body.who.hair_style, 0.0)
    x, y = body.project(body.trunk(0.918 + low, 0.043))
    canvas.disc(x, y, rx * (0.5 + 0.36 * front), 0.053 * u, SKIN, 0.96)
    canvas.disc(x, y + 0.024 * u, rx * (0.42 + 0.2 * front), 0.034 * u, SKIN)
    for side in (-1, 1):
        eye = body.trunk(0.928, 0.062, 0.021 * side)
        if body.towards(eye) > 0.012:
            ex, ey = body.project(eye)
            canvas.disc(ex, ey, 0.0095 * u, 0.0055 * u, FEATURE)
            canvas.disc(ex, ey - 0.013 * u, 0.012 * u, 0.0035 * u, FEATURE)
    if body.cos > -0.1:
        canvas.disc(*body.project(body.trunk(0.912, 0.072)), 0.008 * u, 0.012 * u, LIPS)
        canvas.disc(*body.project(body.trunk(0.89, 0.06)), 0.014 * u * (0.5 + 0.5 * front), 0.005 * u, LIPS)


def _hat(body: Body, x: float, y: float, rx: float, ry: float) -> None:
    if body.who.hat == "none":
        return
    canvas, u = body.canvas, body.unit
    y -= 0.012 * u
    canvas.cap(x, y, rx * 1.08, ry * 1.06, (178, 362), HAT)
    if body.who.hat == "beanie":
        canvas.cap(x, y + 0.008 * u, rx * 1.12, ry * 1.12, (176, 364), HAT)
    else:
        wide = body.who.hat == "brimmed"
        bx, by = body.project(body.trunk(0.955, 0.015 if wide else 0.075))
        canvas.disc(bx, by, rx * (1.75 if wide else 0.85), 0.013 * u, HAT)


def draw_falling_hair(body: Body) -> None:
    """Long hair and the pony tail."""
    u, style = body.unit, body.who.hair_style
    if style == "long":
        path = [body.project(body.trunk(h, -0.03)) for h in (0.72, 0.80, 0.94)]
        half = [body.width(0.055, 0.03), body.width(0.07, 0.045), body.width(0.056, 0.056)]
        body.canvas.disc(*path[0], half[0], 0.018 * u, HAIR)
        body.canvas.loft(Loft(path, half), HAIR)
    elif style == "ponytail":
        path = [body.project(body.trunk(h, z)) for h, z in ((0.79, -0.085), (0.88, -0.085), (0.955, -0.05))]
        body.canvas.loft(Loft(path, [0.008 * u, 0.02 * u, 0.012 * u]), HAIR)


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
        (128, 64, 3) color in [0, 255] times coverage, and (128, 64, 1) coverage in [0, 1].
    """
    canvas = Canvas(view.light)
    _draw_parts(Body(identity, pose, view, canvas))
    palette = [0] * (3 * (LIPS + 1))
    for material, rgb in _materials(identity).items():
        palette[3 * material : 3 * material + 3] = rgb
    canvas.labels.putpalette(palette)
    coverage = canvas.labels.point([0] + [255] * 255, "L").reduce(OVERSAMPLING)
    color = np.asarray(canvas.labels.convert("RGB").reduce(OVERSAMPLING), dtype=np.float32)
    shade = np.asarray(canvas.shades.filter(ImageFilter.BoxBlur(1)), dtype=np.float32)[:, :, None]
    color = color * (shade * creases / 128.0)
    return color, np.asarray(coverage, dtype=np.float32)[:, :, None] / 255.0


def _materials(identity: Identity) -> dict[int, Rgb]:
    upper, lower = identity.upper, identity.lower
    skin = identity.skin
    return {
        SKIN: skin,
        HAIR: identity.hair,
        UPPER: COLORS[upper.colour],
        UPPER2: COLORS[upper.second or upper.colour],
        LOWER: COLORS[lower.colour],
        LOWER2: COLORS[lower.second or lower.colour],
        SHOE: COLORS[identity.shoes],
        SOLE: (206, 204, 198) if identity.shoes != "white" else (120, 120, 120),
        BAG: COLORS[identity.bag_colour],
        STRAP: scaled(COLORS[identity.bag_colour], 0.6),
        HAT: COLORS[identity.hat_colour],
        INNER: COLORS[upper.inner or upper.colour],
        FEATURE: scaled(skin, 0.5),
        LIPS: (int(skin[0] * 0.78), int(skin[1] * 0.6), int(skin[2] * 0.58)),
    }


def _draw_parts(body: Body) -> None:
    """Draw all parts, the farthest first."""
    back_seen = body.cos < -0.15
    far, near = (0, 1) if body.towards(body.legs[0][1]) < body.towards(body.legs[1][1]) else (1, 0)
    arms = sorted((0, 1), key=lambda i: body.towards(body.arms[i][0]))
    sideways = abs(body.sin) > 0.45
    if not back_seen:
        draw_backpack(body)
        draw_falling_hair(body)
    if body.who.bag == "hand" and sideways and body.bag_arm == arms[0]:
        draw_hand_bag(body)
    if sideways:
        draw_arm(body, arms[0], 0.74)
    draw_leg(body, far, 0.78)
    draw_leg(body, near, 1.0)
    draw_skirt(body)
    draw_trunk(body)
    if not sideways:
        draw_arm(body, arms[0], 0.95)
    if back_seen:
        draw_head(body)
        draw_falling_hair(body)
        draw_backpack(body)
    else:
        draw_straps(body)
        draw_head(body)
    draw_shoulder_bag(body)
    draw_arm(body, arms[1], 1.0)
    if body.who.bag == "hand" and not (sideways and body.bag_arm == arms[0]):
        draw_hand_bag(body)
