"""The cameras: viewpoint, light, color cast, tone, blur and noise of each."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crosscam.data.synthetic.canvas import HEIGHT, WIDTH

NOISE_SIDE = 320


@dataclass(frozen=True, slots=True)
class Camera:
    """The settings of one camera; they hold for all of its images.

    Attributes:
        camid: 1 or more.
        yaw: radians, the side of most people that this camera sees (0 the front).
        yaw_spread: radians, standard deviation around it.
        turned: probability that somebody walks the other way.
        pitch: radians that the camera looks down.
        size: pixels of an average person in the crop; the detector's own scatter comes on top.
        light: -1 lit from the left to 1 lit from the right.
        gains: factors of red, green and blue, brightness included.
        falloff: change of brightness from one side of the image to the other.
        saturation: 0 gray, 1 as it is.
        gamma, contrast: of the tone curve.
        haze: levels added everywhere.
        blur: pixels, standard deviation.
        noise: levels, standard deviation.
        quality: of the JPEG file.
        misalignment: standard deviation of the detector's shift, as a share of the person's height.
        occluded: probability that something stands in front of the person.
    """

    camid: int
    yaw: float
    yaw_spread: float
    turned: float
    pitch: float
    size: float
    light: float
    gains: tuple[float, float, float]
    falloff: float
    saturation: float
    gamma: float
    contrast: float
    haze: float
    blur: float
    noise: float
    quality: int
    misalignment: float
    occluded: float

    def tone(self) -> list[int]:
        """The tone curve as a table of 256 levels for each of the three channels."""
        levels = np.arange(256) / 255.0
        curve = 0.5 + self.contrast * (levels**self.gamma - 0.5)
        table = np.clip(curve * 255.0 + self.haze, 0, 255).astype(int).tolist()
        return [int(v) for v in table] * 3


@lru_cache(maxsize=4)
def draw_cameras(count: int, seed: int) -> tuple[Camera, ...]:
    """Draw the cameras of a dataset; neighbors differ most in viewpoint, light and color cast."""
    rng = random.Random(f"crosscam/{seed}/cameras")
    start, cast = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.0, 2.0 * math.pi)
    cameras = []
    for k in range(count):
        hue = cast + 2.4 * k
        warmth, tint = 0.17 * math.cos(hue), 0.09 * math.sin(hue)
        bright = (0.95, 0.72, 1.2, 0.82, 1.1, 0.65, 1.0, 0.78, 1.28)[k % 9] * rng.uniform(0.95, 1.05)
        cameras.append(
            Camera(
                camid=k + 1,
                yaw=start + 2.0 * math.pi * k / count + rng.uniform(-0.3, 0.3),
                yaw_spread=rng.uniform(0.3, 0.6),
                turned=rng.uniform(0.1, 0.35),
                pitch=rng.uniform(0.06, 0.5),
                size=rng.uniform(104.0, 114.0),
                light=rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 1.0),
                gains=(bright * (1 + warmth), bright * (1 + tint), bright * (1 - warmth)),
                falloff=rng.uniform(-0.35, 0.35),
                saturation=rng.uniform(0.6, 1.1),
                gamma=rng.uniform(0.75, 1.35),
                contrast=rng.uniform(0.72, 1.08),
                haze=rng.uniform(-8.0, 22.0),
                blur=rng.uniform(0.25, 1.0),
                noise=rng.uniform(1.5, 6.0),
                quality=rng.randint(70, 92),
                misalignment=rng.uniform(0.02, 0.05),
                occluded=rng.uniform(0.1, 0.35),
            )
        )
    return tuple(cameras)


class Sensor:
    """Turns a composed image into what the camera records; holds the tables that all of its images use."""

    def __init__(self, camera: Camera, noise: NDArray[np.float32]) -> None:
        self.camera = camera
        self._noise = noise
        self._tone = camera.tone()
        side = np.linspace(-0.5, 0.5, WIDTH, dtype=np.float32)[None, :, None]
        gains = np.asarray(camera.gains, dtype=np.float32)
        self._gain = (1.0 + camera.falloff * side) * gains

    def record(self, scene: NDArray[np.float32], rng: random.Random, exposure: float) -> Image.Image:
        """Light, color cast, blur, tone and noise.

        Args:
            scene: (128, 64, 3) levels in [0, 255]; changed in place.
            rng: the image's own stream.
            exposure: factor of this image's brightness.
        """
        camera = self.camera
        gray = scene.mean(axis=2, keepdims=True)
        scene *= camera.saturation
        scene += gray * (1.0 - camera.saturation)
        scene *= self._gain * exposure
        np.clip(scene, 0.0, 255.0, out=scene)
        image = Image.fromarray(scene.astype(np.uint8), "RGB")
        image = image.filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.7, 1.5))).point(self._tone)
        x, y = rng.randrange(NOISE_SIDE - WIDTH), rng.randrange(NOISE_SIDE - HEIGHT)
        noisy = np.asarray(image, dtype=np.float32)
        noisy = noisy + self._noise[y : y + HEIGHT, x : x + WIDTH] * camera.noise
        np.clip(noisy, 0.0, 255.0, out=noisy)
        return Image.fromarray(noisy.astype(np.uint8), "RGB")


def noise_table(seed: int) -> NDArray[np.float32]:
    """(320, 320, 3) standard normal noise, a little smooth and mostly gray, as sensors and codecs leave it."""
    rng = np.random.default_rng([seed, 1])
    noise = rng.standard_normal((NOISE_SIDE, NOISE_SIDE, 3), dtype=np.float32)
    noise = 0.8 * noise.mean(axis=2, keepdims=True) * math.sqrt(3.0) + 0.5 * noise
    noise = noise + 0.5 * (np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=0))
    return np.asarray(noise / noise.std(), dtype=np.float32)


def crease_table(seed: int) -> NDArray[np.float32]:
    """(320, 320, 1) factors around 1: smooth light and dark patches as of folded cloth."""
    rng = np.random.default_rng([seed, 2])
    total = np.zeros((NOISE_SIDE, NOISE_SIDE), dtype=np.float32)
    for cells, weight in ((40, 0.6), (90, 0.5)):
        coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        total += weight * np.asarray(coarse.resize((NOISE_SIDE, NOISE_SIDE), Image.Resampling.BICUBIC))
    return np.asarray(1.0 + 0.13 * total / total.std(), dtype=np.float32)[:, :, None]
