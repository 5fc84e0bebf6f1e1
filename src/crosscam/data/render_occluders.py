"""Things in the foreground that hide a part of a person."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crosscam.data.render_canvas import HEIGHT, WIDTH
from crosscam.data.render_identities import scaled
from crosscam.data.render_scene import dull_colour

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]

# Occluders are drawn twice as large, on 128 x 256 pixels.
RIGHT, BOTTOM = 2 * WIDTH, 2 * HEIGHT


def draw_occluder(rng: random.Random) -> Layer:
    """One occluder for an image of 128 x 64 pixels.

    Returns:
        (128, 64, 3) colour in [0, 255] times coverage, and (128, 64, 1) coverage in [0, 1].
    """
    image = Image.new("RGBA", (RIGHT, BOTTOM))
    rng.choice(OCCLUDERS)(ImageDraw.Draw(image), rng)
    layer = np.asarray(image.reduce(2), dtype=np.float32)
    coverage = layer[:, :, 3:] / 255.0
    return layer[:, :, :3] * coverage, coverage


def _pole(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, w, paint = rng.uniform(15, 113), rng.uniform(4, 10), dull_colour(rng, 30, 170)
    draw.rectangle((x - w, 0, x + w, BOTTOM), fill=scaled(paint, 0.8))
    draw.rectangle((x - w * 0.6, 0, x + w * 0.6, BOTTOM), fill=paint)
    draw.rectangle((x - w * 0.2, 0, x + w * 0.3, BOTTOM), fill=scaled(paint, 1.25))


def _plant(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, r = rng.choice((10, 30, 98, 118)), rng.uniform(26, 44)
    for _ in range(160):
        px, py, s = x + rng.gauss(0, r * 0.5), 246 - abs(rng.gauss(0, r * 0.9)), rng.uniform(3, 8)
        leaf = scaled((50, 100, 46), rng.uniform(0.4, 1.3))
        draw.ellipse((px - s, py - s * 0.6, px + s, py + s * 0.6), fill=leaf)


def _car(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """The end of a parked car, from the left or the right edge."""
    top, paint = rng.uniform(188, 220), rng.choice(((190, 190, 194), (44, 46, 52), (120, 34, 38), (48, 66, 106)))
    end, from_left = rng.uniform(50, 100), rng.random() < 0.5

    def across(near: float, far: float) -> tuple[float, float]:
        return (near, far) if not from_left else (RIGHT - far, RIGHT - near)

    x0, x1 = across(end + 18, RIGHT + 60)
    draw.rounded_rectangle((x0, top - 36, x1, top + 30), radius=16, fill=(42, 50, 58))
    x0, x1 = across(end, RIGHT + 60)
    draw.rounded_rectangle((x0, top, x1, BOTTOM + 40), radius=14, fill=paint)
    draw.rectangle((x0 + 8, top + 2, x1 - 8, top + 6), fill=scaled(paint, 1.3))
    draw.rectangle((x0, top + 34, x1, top + 38), fill=scaled(paint, 0.6))
    x0, x1 = across(end + 3, end + 14)
    draw.ellipse((x0, top + 12, x1, top + 24), fill=rng.choice(((230, 226, 200), (190, 40, 40))))


def _rail(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    y, paint, slope = rng.uniform(130, 190), dull_colour(rng, 60, 200), rng.uniform(-8, 8)
    for down in (0, 34, 68):
        draw.line((0, y + down, RIGHT, y + down + slope), fill=paint, width=5)
    post = rng.uniform(8, 120)
    draw.line((post, y - 4, post, BOTTOM), fill=scaled(paint, 0.85), width=7)


def _bicycle(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, y, r = rng.uniform(-20, 70), rng.uniform(225, 250), rng.uniform(26, 34)
    for wheel in (x, x + 2.9 * r):
        draw.ellipse((wheel - r, y - 2 * r, wheel + r, y), outline=(36, 36, 40), width=4)
    paint = rng.choice(((160, 40, 40), (40, 60, 130), (50, 50, 54)))
    hub, rear, crank = (x, y - r), (x + 2.9 * r, y - r), (x + 1.4 * r, y - 0.9 * r)
    head, saddle = (x + 0.5 * r, y - 2.9 * r), (x + 2.0 * r, y - 2.6 * r)
    for a, b in ((hub, head), (head, saddle), (head, crank), (saddle, crank), (crank, rear), (saddle, rear)):
        draw.line((*a, *b), fill=paint, width=5)
    draw.line((saddle[0] - 8, saddle[1] - 4, saddle[0] + 8, saddle[1] - 4), fill=(24, 24, 24), width=6)


OCCLUDERS: tuple[Callable[[ImageDraw.ImageDraw, random.Random], None], ...] = (
    _pole,
    _plant,
    _car,
    _rail,
    _bicycle,
)
