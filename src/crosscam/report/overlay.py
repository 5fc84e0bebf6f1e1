"""Activation maps as colors over an image."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from crosscam.report.shell import fragment

# Dark violet over red and orange to pale yellow: brightness rises all the way, so it reads without color, too.
_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLORS = np.array([(20, 8, 40), (101, 21, 110), (196, 52, 70), (246, 142, 28), (252, 248, 160)], dtype=np.float64)
# How much of the image the lowest and the highest value cover: clothes stay visible below.
_COVER = (0.1, 0.6)


def heat(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(...,) values from 0 to 1 -> (..., 4) RGBA; low values leave what is below, high ones glow."""
    v = np.clip(values.astype(np.float64), 0.0, 1.0)
    colors = [np.interp(v, _STOPS, _COLORS[:, k]) for k in range(3)]
    cover = 255 * (_COVER[0] + (_COVER[1] - _COVER[0]) * v)
    return np.stack([*colors, cover], axis=-1).round().astype(np.uint8)


def enlarge(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """(H', W') map -> (height, width), by bilinear interpolation."""
    image = Image.fromarray(values.astype(np.float32))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def heat_uri(values: NDArray[np.floating], height: int = 96) -> str:
    """(H', W') map in [0, 1] -> a PNG with transparency as a data URI."""
    rows, columns = values.shape
    picture = heat(enlarge(values, height, max(1, round(height * columns / rows))))
    return png_uri(Image.fromarray(picture))


def with_heat(image: NDArray[np.uint8], values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB image with its (H', W') map over it -> (H, W, 3)."""
    over = heat(enlarge(values, *image.shape[:2])).astype(np.float64)
    cover = over[..., 3:] / 255
    mixed: NDArray[np.uint8] = (image * (1 - cover) + over[..., :3] * cover).round().astype(np.uint8)
    return mixed


def png_uri(image: Image.Image) -> str:
    """A picture as a data URI, without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heat_ramp() -> str:
    """The colors from nothing to the strongest place, as a data URI."""
    return png_uri(Image.fromarray(heat(np.linspace(0, 1, 64)[None].repeat(4, axis=0))[..., :3]))


def heat_legend() -> Markup:
    """The colors from nothing to the strongest place, in words and as a strip."""
    return fragment("heat.html", "heat_legend", ramp=heat_ramp())
