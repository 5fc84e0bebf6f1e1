"""The jointed body of a walking person, and its trunk, legs and arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crosscam.data.synthetic.canvas import Canvas, Loft, Point2
from crosscam.data.synthetic.identities import Identity

Point3 = tuple[float, float, float]


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
        center: pixels from the left edge to the body's axis.
        ground: pixels from the top edge to the sole of the feet.
        size: pixels of an average person's height.
        pitch: radians that the camera looks down.
        light: -1 lit from the left to 1 lit from the right.
    """

    center: float
    ground: float
    size: float
    pitch: float
    light: float


class Body:
    """One person's joints, where they are in the image, and the canvas the parts go on.

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

    def project(self, p: Point3) -> Point2:
        """Image pixels of a body point; what is higher is nearer to the camera and so a little larger."""
        x, y, z = p
        across = x * self.cos + z * self.sin
        towards = z * self.cos - x * self.sin
        near = 1.0 + 0.35 * self.pitch_sin * (y - 0.5)
        up = y * self.pitch_cos - towards * self.pitch_sin
        return self.view.center + across * near * self.unit, self.view.ground - up * self.unit

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
        x = 0.05 * side * self.build
        top = (x, 0.50 + self.lift, 0.0)
        middle = (x, top[1] - 0.235 * math.cos(hip), 0.235 * math.sin(hip))
        shin = hip - knee
        return top, middle, (x * 0.85, middle[1] - 0.235 * math.cos(shin), middle[2] + 0.235 * math.sin(shin))

    def _arm(self, side: int) -> tuple[Point3, Point3, Point3]:
        swing = self.pose.phase + (0.0 if side > 0 else math.pi)
        angle = self.pose.arms * math.sin(swing)
        x = 0.112 * self.who.shoulders * (0.7 + 0.3 * self.build) * side
        top = self.trunk(0.762, 0.0, x)
        if side == self.pose.raised:
            elbow = (x * 1.2, top[1] - 0.15, top[2] + 0.05)
            return top, elbow, (x * 0.75, top[1] + 0.08, top[2] + 0.09)
        elbow = (x * 1.2, top[1] - 0.145 * math.cos(angle), top[2] + 0.145 * math.sin(angle))
        bent = angle + self.pose.elbows
        return top, elbow, (x * 1.24, elbow[1] - 0.15 * math.cos(bent), elbow[2] + 0.15 * math.sin(bent))

    @property
    def bag_arm(self) -> int:
        """Index of the arm on the bag's side."""
        return 0 if self.who.bag_side < 0 else 1

    def limb(self, points: Sequence[Point2], half: Sequence[float], material: int, shade: float) -> None:
        """Draw a tapered, round-ended part along image points with half-widths in pixels."""
        self.canvas.disc(*points[0], half[0], half[0], material)
        self.canvas.disc(*points[-1], half[-1], half[-1], material)
        self.canvas.loft(Loft(points, half), material, shade)


def between(a: Point3, b: Point3, f: float) -> Point3:
    """The point at the share ``f`` of the way from ``a`` to ``b``."""
    return a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f, a[2] + (b[2] - a[2]) * f
