"""Who walks through which camera's view, when and where: the plan of drawn videos."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

CAMERA_NAMES = ("gate", "hall", "yard", "stairs", "lane", "bridge", "square", "dock", "arcade")
# Shares of the frame's height: where feet can be, where the horizon is, and a person's height at the nearest place.
FAR, NEAR, HORIZON, TALLEST = 0.66, 0.94, 0.22, 0.47
# A person outside the frame by this share of its width is not seen at all.
MARGIN = 0.08
# Seconds that people take to cross a view, and to walk from one camera to the next.
CROSSING, TRANSIT = (4.5, 6.5), (3.0, 6.0)
GOES_ON = 0.85
# How much of its way across the view somebody comes nearer or goes farther, as a share of the possible.
SLOPE = 0.75


@dataclass(frozen=True, slots=True)
class Walk:
    """One passage of a person through a camera's view, along a straight line.

    Attributes:
        pid: the person.
        camera: number of the camera, from 0.
        enter, leave: seconds of the common clock when the person comes to one edge and to the other.
        direction: 1 walks to the right, -1 to the left.
        first, last: shares of the frame's height, where the feet are at either edge.
        phase: radians of the walking cycle at ``enter``.
        cadence: walking cycles a second.
    """

    pid: int
    camera: int
    enter: float
    leave: float
    direction: int
    first: float
    last: float
    phase: float
    cadence: float

    def place(self, time: float) -> tuple[float, float] | None:
        """Where the feet are, as shares of the frame's width and height; None before and after the walk."""
        done = (time - self.enter) / (self.leave - self.enter)
        if not 0.0 <= done <= 1.0:
            return None
        across = -MARGIN + (1.0 + 2.0 * MARGIN) * done
        return (across if self.direction > 0 else 1.0 - across), self.first + (self.last - self.first) * done

    def height(self, ground: float) -> float:
        """Share of the frame's height that an average person takes with the feet at ``ground``."""
        return TALLEST * (ground - HORIZON) / (NEAR - HORIZON)

    @property
    def yaw(self) -> float:
        """Radians, the side that the person shows: 0 the front, pi/2 walks to the right of the image."""
        nearer = 3.0 * (self.last - self.first)
        return math.atan2(self.direction, nearer)


def plan_walks(people: int, cameras: int, seconds: float, seed: int) -> tuple[Walk, ...]:
    """The walks of everybody, by person and time.

    The cameras stand along one way. People come at a random camera and walk on to its neighbors; most pass several.

    Args:
        people: how many, with pids from 1.
        cameras: how many.
        seconds: length of the videos; walks may begin before and end after them.
        seed: the same walks for the same arguments.
    """
    rng = random.Random(f"crosscam/{seed}/walks")
    ways = [rng.uniform(*TRANSIT) for _ in range(cameras - 1)]
    slopes = [SLOPE * (1 if camera % 2 else -1) * rng.uniform(0.7, 1.0) for camera in range(cameras)]
    walks: list[Walk] = []
    for pid in range(1, people + 1):
        direction = 1 if pid % 2 else -1
        pace = rng.uniform(0.85, 1.15)
        usual = sum(CROSSING) + max(ways, default=0.0)
        time = rng.uniform(-0.15 * seconds, max(0.1 * seconds, seconds - usual))
        last = cameras - 1
        camera = rng.randrange(max(1, last)) if direction > 0 else last - rng.randrange(max(1, last))
        while 0 <= camera <= last and time < seconds:
            crossing = rng.uniform(*CROSSING) / pace
            middle, reach = rng.uniform(FAR + 0.07, NEAR - 0.07), slopes[camera] * direction * (NEAR - FAR) / 2
            first, end = (min(NEAR, max(FAR, middle + side * reach)) for side in (-1, 1))
            phase, cadence = rng.uniform(0.0, 2.0 * math.pi), 1.0 * pace
            walks.append(Walk(pid, camera, time, time + crossing, direction, first, end, phase, cadence))
            nearest = camera if direction > 0 else camera - 1
            camera += direction
            if not 0 <= camera <= last or rng.random() > GOES_ON:
                break
            time += crossing + ways[nearest] / pace * rng.uniform(0.92, 1.08)
    return tuple(walks)
