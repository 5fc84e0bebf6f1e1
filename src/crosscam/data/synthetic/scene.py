"""The empty scene of a camera: ground, walls and clutter; and things in the foreground that hide a part of a person."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crosscam.data.synthetic.camera import Camera
from crosscam.data.synthetic.canvas import HEIGHT, WIDTH
from crosscam.data.synthetic.identities import Rgb, scaled

SCENE = (420, 260)


def draw_scene(camera: Camera, seed: int) -> Image.Image:
    """The empty scene of one camera, ``SCENE`` pixels large: ground, wall and clutter; crops are cut from it."""
    rng = random.Random(f"crosscam/{seed}/scene/{camera.camid}")
    width, height = SCENE
    scene = Image.new("RGB", SCENE, dull_color(rng, 90, 190))
    draw = ImageDraw.Draw(scene)
    horizon = int(height * (0.42 - 0.5 * camera.pitch))
    _ground(draw, rng, horizon)
    _wall(draw, rng, horizon)
    for _ in range(rng.randint(8, 16)):
        x, y = rng.uniform(0, width), rng.uniform(horizon + 5, height * 0.75)
        rng.choice((_pole, _bicycle, _bush, _bin, _car))(draw, rng, x, y)
    lit = np.asarray(scene.filter(ImageFilter.GaussianBlur(0.7)), dtype=np.float32) * _patchiness(rng)
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8), "RGB")


def draw_foreground(camera: Camera, seed: int, size: tuple[int, int]) -> Image.Image:
    """Things that stand close to the camera, alone on a transparent RGBA image of ``size`` (width, height) pixels."""
    rng = random.Random(f"crosscam/{seed}/foreground/{camera.camid}")
    # Drawn small and enlarged: what is near is large.
    width, height = size[0] // 2, size[1] // 2
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    for left in (0.1, 0.55):
        x = width * rng.uniform(left, left + 0.25)
        rng.choice((_pole, _bush, _bin, _car))(draw, rng, x, height * rng.uniform(0.97, 1.0))
    return layer.resize(size, Image.Resampling.BICUBIC)


def _patchiness(rng: random.Random) -> NDArray[np.float32]:
    """(260, 420, 1) factors around 1: uneven light in large patches, stains, and the grain of the ground."""
    stream = np.random.default_rng(rng.getrandbits(32))
    total = np.ones((SCENE[1], SCENE[0]), dtype=np.float32)
    for cells, weight in (((9, 6), 0.13), ((60, 40), 0.05), ((210, 130), 0.04)):
        coarse = Image.fromarray(stream.standard_normal((cells[1], cells[0]), dtype=np.float32))
        total += weight * np.asarray(coarse.resize(SCENE, Image.Resampling.BICUBIC))
    return total[:, :, None]


def dull_color(rng: random.Random, low: int, high: int) -> Rgb:
    """A dull color, as of walls and streets."""
    level = rng.randint(low, high)
    red, green, blue = (min(255, max(0, level + rng.randint(-16, 16))) for _ in range(3))
    return red, green, blue


def _ground(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: int) -> None:
    width, height = SCENE
    base = rng.choice((dull_color(rng, 100, 190), dull_color(rng, 100, 190), (96, 124, 70), (170, 150, 120)))
    draw.rectangle((0, horizon, width, height), fill=base)
    line = scaled(base, rng.uniform(0.72, 0.9))
    slant = rng.uniform(-1.2, 1.2)
    if rng.random() < 0.75:
        step = rng.randint(14, 40)
        for left in range(-2 * width, 3 * width, step):
            low = left + (left - width / 2) * 0.5 - slant * 200
            draw.line((left + slant * 60, horizon, low, height), fill=line)
        y, gap = float(horizon), 5.0
        while y < height:
            draw.line((0, y, width, y + slant * 8), fill=line)
            y, gap = y + gap, gap * 1.22
    for _ in range(rng.randint(1, 4)):
        x, y, w = rng.uniform(0, width), rng.uniform(horizon, height), rng.uniform(30, 160)
        shade = scaled(base, rng.choice((0.6, 0.75, 1.15)))
        draw.polygon([(x, y), (x + w, y + 6), (x + w * 1.3, y + 40), (x + w * 0.2, y + 34)], fill=shade)


def _wall(draw: ImageDraw.ImageDraw, rng: random.Random, horizon: int) -> None:
    width, _ = SCENE
    x = -rng.uniform(0, 40)
    while x < width:
        w = rng.uniform(40, 130)
        color = rng.choice((dull_color(rng, 70, 210), dull_color(rng, 70, 210), (124, 70, 56), (60, 82, 56)))
        draw.rectangle((x, 0, x + w, horizon), fill=color)
        dark = scaled(color, 0.6)
        if rng.random() < 0.6:
            for wx in range(int(x) + 6, int(x + w) - 16, 24):
                for wy in range(8, horizon - 26, 34):
                    draw.rectangle((wx, wy, wx + 14, wy + 22), fill=dark)
        else:
            for wy in range(0, horizon, 7):
                draw.line((x, wy, x + w, wy), fill=dark)
        x += w
    draw.rectangle((0, horizon - 2, width, horizon + 2), fill=dull_color(rng, 50, 120))


def _pole(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, y: float) -> None:
    w = rng.uniform(1.5, 4.0)
    draw.rectangle((x - w, y - rng.uniform(90, 260), x + w, y), fill=dull_color(rng, 40, 180))


def _bicycle(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, y: float) -> None:
    r, frame = rng.uniform(10, 17), rng.choice(((160, 40, 40), (40, 60, 130), (40, 40, 44), (190, 190, 190)))
    for wheel in (x, x + 2.9 * r):
        draw.ellipse((wheel - r, y - 2 * r, wheel + r, y), outline=(30, 30, 32), width=2)
    hub, crank, rear = (x, y - r), (x + 1.3 * r, y - 0.9 * r), (x + 2.9 * r, y - r)
    saddle, head = (x + 2.0 * r, y - 2.6 * r), (x + 0.5 * r, y - 2.7 * r)
    for a, b in ((hub, head), (head, saddle), (head, crank), (crank, saddle), (crank, rear), (saddle, rear)):
        draw.line((*a, *b), fill=frame, width=2)
    draw.line((saddle[0] - 4, saddle[1] - 2, saddle[0] + 4, saddle[1] - 2), fill=(20, 20, 20), width=3)


def _bush(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, y: float) -> None:
    r = rng.uniform(10, 24)
    for _ in range(60):
        px, py, s = x + rng.gauss(0, r * 0.5), y - r + rng.gauss(0, r * 0.5), rng.uniform(1.5, 4.0)
        level = rng.uniform(0.5, 1.3)
        draw.ellipse((px - s, py - s, px + s, py + s), fill=(int(52 * level), int(96 * level), int(44 * level)))


def _bin(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, y: float) -> None:
    w, h = rng.uniform(7, 12), rng.uniform(24, 36)
    color = rng.choice(((50, 90, 60), (70, 74, 80), (150, 120, 40), (60, 70, 120)))
    draw.rectangle((x - w, y - h, x + w, y), fill=color)
    draw.rectangle((x - w - 1, y - h - 3, x + w + 1, y - h + 2), fill=scaled(color, 0.6))


def _car(draw: ImageDraw.ImageDraw, rng: random.Random, x: float, y: float) -> None:
    color = rng.choice(((180, 182, 186), (40, 42, 48), (130, 30, 34), (50, 70, 110), (220, 220, 216)))
    w, h = rng.uniform(80, 110), rng.uniform(20, 26)
    draw.polygon(
        [(x + w * 0.2, y - h), (x + w * 0.32, y - h * 1.8), (x + w * 0.7, y - h * 1.8), (x + w * 0.85, y - h)],
        fill=(50, 60, 70),
    )
    draw.rounded_rectangle((x, y - h, x + w, y - 4), radius=6, fill=color)
    for wheel in (x + w * 0.22, x + w * 0.78):
        draw.ellipse((wheel - 8, y - 11, wheel + 8, y + 5), fill=(24, 24, 26))
        draw.ellipse((wheel - 4, y - 7, wheel + 4, y + 1), fill=(130, 130, 132))
    draw.line((x + w * 0.52, y - h, x + w * 0.52, y - 7), fill=scaled(color, 0.6))


Layer = tuple[NDArray[np.float32], NDArray[np.float32]]

# Occluders are drawn twice as large, on 128 x 256 pixels.
RIGHT, BOTTOM = 2 * WIDTH, 2 * HEIGHT


def draw_occluder(rng: random.Random) -> Layer:
    """One occluder for an image of 128 x 64 pixels.

    Returns:
        (128, 64, 3) color in [0, 255] times coverage, and (128, 64, 1) coverage in [0, 1].
    """
    image = Image.new("RGBA", (RIGHT, BOTTOM))
    rng.choice(OCCLUDERS)(ImageDraw.Draw(image), rng)
    layer = np.asarray(image.reduce(2), dtype=np.float32)
    coverage = layer[:, :, 3:] / 255.0
    return layer[:, :, :3] * coverage, coverage


def _near_pole(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, w, paint = rng.uniform(15, 113), rng.uniform(4, 10), dull_color(rng, 30, 170)
    draw.rectangle((x - w, 0, x + w, BOTTOM), fill=scaled(paint, 0.8))
    draw.rectangle((x - w * 0.6, 0, x + w * 0.6, BOTTOM), fill=paint)
    draw.rectangle((x - w * 0.2, 0, x + w * 0.3, BOTTOM), fill=scaled(paint, 1.25))


def _plant(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, r = rng.choice((10, 30, 98, 118)), rng.uniform(26, 44)
    for _ in range(160):
        px, py, s = x + rng.gauss(0, r * 0.5), 246 - abs(rng.gauss(0, r * 0.9)), rng.uniform(3, 8)
        leaf = scaled((50, 100, 46), rng.uniform(0.4, 1.3))
        draw.ellipse((px - s, py - s * 0.6, px + s, py + s * 0.6), fill=leaf)


def _near_car(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
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
    y, paint, slope = rng.uniform(130, 190), dull_color(rng, 60, 200), rng.uniform(-8, 8)
    for down in (0, 34, 68):
        draw.line((0, y + down, RIGHT, y + down + slope), fill=paint, width=5)
    post = rng.uniform(8, 120)
    draw.line((post, y - 4, post, BOTTOM), fill=scaled(paint, 0.85), width=7)


def _near_bicycle(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
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
    _near_pole,
    _plant,
    _near_car,
    _rail,
    _near_bicycle,
)
