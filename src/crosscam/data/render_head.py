"""Head, face, hair and hat of a drawn person."""

from __future__ import annotations

from crosscam.data.render_body import Body
from crosscam.data.render_canvas import FEATURE, HAIR, HAT, LIPS, SKIN, Loft


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
