"""The frames of one camera that drawn people walk past, and who is where in each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crosscam.data.synthetic.body import Pose, View
from crosscam.data.synthetic.camera import NOISE_SIDE, Camera, crease_table, noise_table
from crosscam.data.synthetic.canvas import HEIGHT, WIDTH
from crosscam.data.synthetic.identities import Identity
from crosscam.data.synthetic.image import SHADOW, ground_shadow
from crosscam.data.synthetic.person import draw_person
from crosscam.data.synthetic.scene import SCENE, draw_foreground, draw_scene
from crosscam.data.synthetic.walks import Walk

SIZE = (640, 360)
# Poses of a walking cycle; each person is drawn once in each, for each walk.
POSES = 10
# Of the sheet that a person is drawn on: feet and height of an average person, in pixels.
GROUND, TALL = 120.0, 112.0
LEAST_COVERAGE = 0.25
THIRDS = np.full((3, 1), 1 / 3, np.float32)
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class TrueBox:
    """Where one person is in one frame.

    Attributes:
        frame: number from 1, as in MOT files.
        pid: the person, the same number at every camera.
        left, top, width, height: pixels of the whole person, who may reach over the frame's edge.
        visible: share of the person that nothing and nobody hides and that is inside the frame, in (0, 1].
    """

    frame: int
    pid: int
    left: int
    top: int
    width: int
    height: int
    visible: float

    def row(self) -> str:
        """A line of MOT's gt.txt: frame, id, box, considered, class, visibility."""
        box = f"{self.left},{self.top},{self.width},{self.height}"
        return f"{self.frame},{self.pid},{box},1,1,{self.visible:.3f}"


@dataclass(frozen=True, slots=True)
class _Shown:
    """A drawn person in a frame: where, color times coverage (h, w, 3) and coverage (h, w, 1) in [0, 1]."""

    walk: Walk
    left: int
    top: int
    ground: float
    color: Floats
    coverage: Floats

    def window(self, beyond: int = 0) -> tuple[Window, Window]:
        """Where it is in the frame, and which part of it that is; ``beyond`` adds pixels on all sides."""
        height, width = self.coverage.shape[:2]
        return _window(self.left - beyond, self.top - beyond, width + 2 * beyond, height + 2 * beyond)


class Film:
    """The frames of one camera, drawn one after another; what was drawn is in ``truth``.

    Args:
        camera: its viewpoint, light and noise.
        walks: of the people who pass it.
        people: who they are, by pid.
        times: seconds of the common clock, of each frame.
        seed: of the videos.
    """

    def __init__(
        self, camera: Camera, walks: list[Walk], people: dict[int, Identity], times: list[float], seed: int
    ) -> None:
        self.truth: list[TrueBox] = []
        self._camera, self._walks, self._people, self._times = camera, walks, people, times
        self._rng = random.Random(f"crosscam/{seed}/film/{camera.camid}")
        self._creases = crease_table(seed % 2**32)
        self._shadow = ground_shadow()
        self._scene = _empty_scene(camera, seed)
        front = np.asarray(draw_foreground(camera, seed, SIZE), np.float32)
        self._front_coverage = front[:, :, 3:] / 255.0
        self._front = front[:, :, :3] * self._front_coverage
        self._sprites: dict[tuple[int, int], Image.Image] = {}
        side = np.linspace(-0.5, 0.5, SIZE[0], dtype=np.float32)[None, :, None]
        self._gain = (1.0 + camera.falloff * side) * np.asarray(camera.gains, np.float32)
        self._tone = np.asarray(camera.tone()[:256], np.uint8)
        copies = (2 + SIZE[1] // NOISE_SIDE, 2 + SIZE[0] // NOISE_SIDE, 1)
        noise = np.tile(noise_table(seed % 2**32) * camera.noise, copies)
        self._noise = np.rint(noise).astype(np.int16)
        self._empty = self._record(self._with_front(self._scene, 0, 0), 0)

    def __iter__(self) -> Iterator[Pixels]:
        """The frames, (360, 640, 3) uint8 RGB."""
        for number, time in enumerate(self._times, 1):
            yield self._frame(number, time)

    def _frame(self, number: int, time: float) -> Pixels:
        seen = (one for one in (self._show(walk, time) for walk in self._walks) if one)
        shown = sorted(seen, key=lambda one: (one.ground, one.walk.pid))
        self.truth += self._boxes(number, shown)
        frame = self._empty.copy()
        raw = self._scene.copy() if shown else self._scene
        for one in shown:
            self._darken(raw, one)
            inside, part = one.window()
            raw[inside] = raw[inside] * (1.0 - one.coverage[part]) + one.color[part]
        for one in shown:
            (rows, columns), _ = one.window(SHADOW)
            whole = self._with_front(raw[rows, columns], rows.start, columns.start)
            frame[rows, columns] = self._record(whole, columns.start)
        y, x = self._rng.randrange(NOISE_SIDE), self._rng.randrange(NOISE_SIDE)
        noisy = frame + self._noise[y : y + SIZE[1], x : x + SIZE[0]]
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)

    def _show(self, walk: Walk, time: float) -> _Shown | None:
        place = walk.place(time)
        if place is None:
            return None
        cycle = walk.phase / (2 * np.pi) + walk.cadence * (time - walk.enter)
        sprite = self._sprite(walk, int(cycle * POSES) % POSES)
        scale = walk.height(place[1]) * SIZE[1] / TALL
        size = (max(2, round(WIDTH * scale)), max(4, round(HEIGHT * scale)))
        layer = np.asarray(sprite.resize(size, Image.Resampling.BILINEAR), np.float32)
        left = round(place[0] * SIZE[0] - size[0] / 2)
        top = round(place[1] * SIZE[1] - GROUND * scale)
        return _Shown(walk, left, top, place[1], layer[:, :, :3], layer[:, :, 3:] / 255.0)

    def _sprite(self, walk: Walk, pose: int) -> Image.Image:
        """A person in one pose of a walk, (128, 64) RGB times coverage, and coverage."""
        key = (self._walks.index(walk), pose)
        if key not in self._sprites:
            person = self._people[walk.pid]
            rng = random.Random(f"crosscam/pose/{walk.pid}/{walk.camera}/{walk.enter}")
            held = Pose(
                yaw=walk.yaw,
                phase=2 * np.pi * pose / POSES,
                stride=rng.uniform(0.3, 0.48),
                arms=rng.uniform(0.2, 0.5),
                elbows=rng.uniform(0.1, 0.6),
                lean=rng.uniform(0.0, 0.1),
                raised=0,
            )
            view = View(WIDTH / 2, GROUND, TALL, self._camera.pitch, self._camera.light)
            x, y = rng.randrange(NOISE_SIDE - WIDTH), rng.randrange(NOISE_SIDE - HEIGHT)
            color, coverage = draw_person(person, held, view, self._creases[y : y + HEIGHT, x : x + WIDTH])
            layer = np.clip(np.concatenate([color, 255.0 * coverage], axis=2), 0, 255).astype(np.uint8)
            self._sprites[key] = Image.frombytes("RGBa", (WIDTH, HEIGHT), layer.tobytes())
        return self._sprites[key]

    def _darken(self, raw: Floats, one: _Shown) -> None:
        """The soft shadow under the feet, falling away from the light."""
        width = one.coverage.shape[1]
        left = round(one.left + width / 2 - 7.0 * self._camera.light) - SHADOW
        top = round(one.ground * SIZE[1]) - 2 - SHADOW
        (rows, columns), own = _window(left, top, 2 * SHADOW, 2 * SHADOW)
        raw[rows, columns] *= self._shadow[own]

    def _with_front(self, part: Floats, top: int, left: int) -> Floats:
        """A part of the image behind the things that stand close to the camera."""
        rows, columns = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
        return part * (1.0 - self._front_coverage[rows, columns]) + self._front[rows, columns]

    def _record(self, part: Floats, left: int) -> Pixels:
        """What the sensor makes of a part of the image that begins at a column: color cast, light and tone."""
        camera = self._camera
        gray = (part @ THIRDS) * (1.0 - camera.saturation)
        lit = (part * camera.saturation + gray) * self._gain[:, left : left + part.shape[1]]
        return np.asarray(self._tone[np.clip(lit, 0.0, 255.0).astype(np.uint8)], np.uint8)

    def _boxes(self, number: int, shown: list[_Shown]) -> list[TrueBox]:
        """Truth of a frame; of people whom nothing is seen of there is none."""
        open_to = 1.0 - self._front_coverage[:, :, 0]
        found = []
        for one in reversed(shown):
            coverage = one.coverage[:, :, 0]
            inside, part = one.window()
            visible = float((coverage[part] * open_to[inside]).sum() / coverage.sum())
            open_to[inside] *= 1.0 - coverage[part]
            solid = coverage > LEAST_COVERAGE
            down, across = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
            if round(visible, 3) > 0:
                left, top = one.left + int(across[0]), one.top + int(down[0])
                size = int(across[-1] - across[0]) + 1, int(down[-1] - down[0]) + 1
                found.append(TrueBox(number, one.walk.pid, left, top, *size, round(visible, 3)))
        return sorted(found, key=lambda box: box.pid)


def _empty_scene(camera: Camera, seed: int) -> Floats:
    """(360, 640, 3) the camera's scene, as blurred as its lens makes it."""
    height = SCENE[0] * SIZE[1] / SIZE[0]
    top = (SCENE[1] - height) / 2
    scene = draw_scene(camera, seed).resize(SIZE, Image.Resampling.BICUBIC, (0, top, SCENE[0], top + height))
    return np.asarray(scene.filter(ImageFilter.GaussianBlur(camera.blur)), np.float32)


def _window(left: int, top: int, width: int, height: int) -> tuple[Window, Window]:
    """The rows and columns of a frame that an image laid on it covers, and those of the image; perhaps none."""
    x, y = min(max(0, left), SIZE[0]), min(max(0, top), SIZE[1])
    right, bottom = max(x, min(SIZE[0], left + width)), max(y, min(SIZE[1], top + height))
    return (slice(y, bottom), slice(x, right)), (slice(y - top, bottom - top), slice(x - left, right - left))
