"""Draw one walking person: a jointed body in three dimensions, seen from any side, as colour and coverage.

The body is a set of lofts: a path of body points with a half-width at each. Each loft is drawn twice: its material
into a label image at three times the size, and its shading (bright towards the light, dark at the edge) into a
small grey image. A palette turns labels into colours; shrinking gives smooth edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

from crosscam.data.render_bags import draw_backpack, draw_hand_bag, draw_shoulder_bag, draw_straps
from crosscam.data.render_body import Body, Pose, View
from crosscam.data.render_canvas import (
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
)
from crosscam.data.render_clothes import draw_arm, draw_leg, draw_skirt, draw_trunk
from crosscam.data.render_head import draw_falling_hair, draw_head
from crosscam.data.render_identities import COLOURS, Identity, Rgb, scaled


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
    _draw_parts(Body(identity, pose, view, canvas))
    palette = [0] * (3 * (LIPS + 1))
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
