"""One image of the dataset: a person composed with scene, passers-by and occluders, seen by a camera."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crosscam.data.synthetic.body import Pose, View
from crosscam.data.synthetic.camera import NOISE_SIDE, Camera, Sensor, crease_table, draw_cameras, noise_table
from crosscam.data.synthetic.canvas import HEIGHT, WIDTH
from crosscam.data.synthetic.identities import Identity, draw_stranger
from crosscam.data.synthetic.person import draw_person
from crosscam.data.synthetic.scene import Layer, draw_occluder, draw_scene

STRANGERS, OCCLUDERS = 24, 24
# Pixels from the middle of the shadow under the feet to the edge of its table.
SHADOW = 24


@dataclass(frozen=True, slots=True)
class _Studio:
    """What all images of one dataset are drawn with; made once in each process."""

    cameras: tuple[Camera, ...]
    sensors: tuple[Sensor, ...]
    scenes: tuple[Image.Image, ...]
    creases: NDArray[np.float32]
    strangers: tuple[Identity, ...]
    occluders: tuple[Layer, ...]
    shadow: NDArray[np.float32]


@lru_cache(maxsize=2)
def _studio(cameras: int, seed: int) -> _Studio:
    rng = random.Random(f"crosscam/{seed}/studio")
    devices, noise = draw_cameras(cameras, seed), noise_table(seed % 2**32)
    return _Studio(
        cameras=devices,
        sensors=tuple(Sensor(camera, noise) for camera in devices),
        scenes=tuple(draw_scene(camera, seed) for camera in devices),
        creases=crease_table(seed % 2**32),
        strangers=tuple(draw_stranger(rng) for _ in range(STRANGERS)),
        occluders=tuple(draw_occluder(rng) for _ in range(OCCLUDERS)),
        shadow=ground_shadow(),
    )


def ground_shadow() -> NDArray[np.float32]:
    """(2 SHADOW, 2 SHADOW, 1) factors of the light that the ground still gets around a person's feet."""
    image = Image.new("L", (2 * SHADOW, 2 * SHADOW), 255)
    box = (SHADOW * 0.35, SHADOW * 0.78, SHADOW * 1.65, SHADOW * 1.22)
    ImageDraw.Draw(image).ellipse(box, fill=110)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(2.5)), dtype=np.float32)[:, :, None] / 255.0


@dataclass(frozen=True, slots=True)
class Track:
    """What the images of one identity at one camera have in common: successive views of one passage.

    Attributes:
        name: unique in the dataset; all random streams of the track derive from the seed and this name.
        camid: the camera, 1 or more.
        person: who; None for a crop of the empty scene.
        missed: whether the detector missed the person by far, as in junk images.
    """

    name: str
    camid: int
    person: Identity | None
    missed: bool = False


def draw_track(track: Track, indices: range, cameras: int, seed: int) -> Iterator[Image.Image]:
    """Draw the images of a track with the given indices, each (128, 64) RGB and independent of the others.

    Args:
        track: who is seen by which camera.
        indices: which images; the same index gives the same image.
        cameras: how many cameras the dataset has.
        seed: of the dataset.
    """
    studio = _studio(cameras, seed)
    camera, place = studio.cameras[track.camid - 1], track.camid - 1
    stream = random.Random(f"crosscam/{seed}/track/{track.name}")
    turned = math.pi if stream.random() < camera.turned else 0.0
    yaw = camera.yaw + turned + stream.gauss(0.0, camera.yaw_spread)
    exposure, spot = stream.uniform(0.82, 1.2), stream.random()
    for index in indices:
        rng = random.Random(f"crosscam/{seed}/image/{track.name}/{index}")
        scene = _background(studio.scenes[place], spot, rng)
        if track.person is not None:
            facing = yaw + rng.gauss(0.0, 0.18)
            scene = _compose(scene, studio, camera, track.person, facing, 5.0 if track.missed else 1.0, rng)
        yield studio.sensors[place].record(scene, rng, exposure * rng.uniform(0.92, 1.08))


def _background(scene: Image.Image, place: float, rng: random.Random) -> NDArray[np.float32]:
    """(128, 64, 3) crop of the scene, near the same place for all images of one track."""
    scale = rng.uniform(0.85, 1.2)
    w, h = WIDTH * scale, HEIGHT * scale
    left = min(max(0.0, place * (scene.width - w) + rng.gauss(0.0, 14.0)), scene.width - w)
    top = min(max(0.0, rng.uniform(0.25, 0.75) * (scene.height - h)), scene.height - h)
    crop = scene.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    return np.array(crop, dtype=np.float32)


def _compose(
    scene: NDArray[np.float32],
    studio: _Studio,
    camera: Camera,
    person: Identity,
    yaw: float,
    slip: float,
    rng: random.Random,
) -> NDArray[np.float32]:
    """Lay passer-by, shadow, person and occluder over the scene; ``slip`` multiplies the detector's errors."""
    size = camera.size * math.exp(rng.gauss(0.0, camera.misalignment * slip))
    shift = camera.misalignment * size * slip
    view = View(
        center=WIDTH / 2 + rng.gauss(0.0, shift),
        ground=(HEIGHT + size) / 2 + rng.gauss(0.0, shift),
        size=size,
        pitch=camera.pitch,
        light=camera.light,
    )
    if rng.random() < 0.12:
        scene = _add_stranger(scene, studio, view, rng, behind=True)
    _darken_ground(scene, studio, view)
    scene = _over(scene, _draw(studio, person, _pose(yaw, rng), view, rng))
    if rng.random() < camera.occluded:
        if rng.random() < 0.3:
            return _add_stranger(scene, studio, view, rng, behind=False)
        return _over(scene, studio.occluders[rng.randrange(OCCLUDERS)])
    return scene


def _darken_ground(scene: NDArray[np.float32], studio: _Studio, view: View) -> None:
    """Lay the soft shadow under the feet, falling away from the light."""
    side = 2 * SHADOW
    left, top = round(view.center - 7.0 * view.light) - SHADOW, round(view.ground - 2.0) - SHADOW
    x0, x1 = max(0, left), min(WIDTH, left + side)
    y0, y1 = max(0, top), min(HEIGHT, top + side)
    if x0 < x1 and y0 < y1:
        scene[y0:y1, x0:x1] *= studio.shadow[y0 - top : y1 - top, x0 - left : x1 - left]


def _pose(yaw: float, rng: random.Random) -> Pose:
    walking = rng.random() < 0.88
    return Pose(
        yaw=yaw,
        phase=rng.uniform(0.0, 2.0 * math.pi),
        stride=rng.uniform(0.25, 0.5) if walking else rng.uniform(0.0, 0.1),
        arms=rng.uniform(0.15, 0.55) if walking else rng.uniform(0.0, 0.1),
        elbows=rng.uniform(0.1, 0.8),
        lean=rng.uniform(-0.02, 0.12),
        raised=rng.choice((-1, 1)) if rng.random() < 0.08 else 0,
    )


def _draw(studio: _Studio, person: Identity, pose: Pose, view: View, rng: random.Random) -> Layer:
    x, y = rng.randrange(NOISE_SIDE - WIDTH), rng.randrange(NOISE_SIDE - HEIGHT)
    return draw_person(person, pose, view, studio.creases[y : y + HEIGHT, x : x + WIDTH])


def _over(scene: NDArray[np.float32], layer: Layer) -> NDArray[np.float32]:
    color, coverage = layer
    return scene * (1.0 - coverage) + color


def _add_stranger(
    scene: NDArray[np.float32], studio: _Studio, view: View, rng: random.Random, *, behind: bool
) -> NDArray[np.float32]:
    side, scale = rng.choice((-1.0, 1.0)), rng.uniform(0.6, 0.85) if behind else rng.uniform(1.0, 1.15)
    other = View(
        center=view.center + side * rng.uniform(18.0, 34.0),
        ground=view.ground + (-12.0 if behind else 10.0),
        size=view.size * scale,
        pitch=view.pitch,
        light=view.light,
    )
    stranger = studio.strangers[rng.randrange(STRANGERS)]
    return _over(scene, _draw(studio, stranger, _pose(rng.uniform(0.0, 2.0 * math.pi), rng), other, rng))
