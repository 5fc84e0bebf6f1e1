"""What drawn people carry: backpacks, shoulder bags and hand bags."""

from __future__ import annotations

from crosscam.data.render_body import Body, between
from crosscam.data.render_canvas import BAG, STRAP, Loft


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
