"""Grey levels and transparent values that Pillow reads otherwise than the PNG and TIFF specifications say."""

from __future__ import annotations

from typing import IO

import numpy as np
from PIL import Image, TiffImagePlugin

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# Byte order, photometric interpretation, sample format, fill order, bits and extra samples of 16-bit grey. Pillow opens
# white as zero in Intel's byte order alone.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
_DEPTH_IN_PNG = 24


def has_16_bits(image: Image.Image) -> bool:
    """Whether an image is grey with 16 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def as_8_bits(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image of 16-bit grey as RGB; its transparent value, if it has one, shows the background.

    Pillow's own conversion clips at 255 instead of scaling, forgets the transparent value, and takes white as zero for
    black as zero.
    """
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 65535 - values
    pixels = np.repeat((values // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = background
    return Image.fromarray(pixels)


def scale_transparent_value(image: Image.Image, file: IO[bytes]) -> None:
    """Give the transparent value of a PNG the levels of its pixels, which Pillow has spread or cut to 8 bits.

    Of 16-bit colours Pillow keeps the upper byte alone, so that colours with the same upper bytes are transparent, too.
    """
    value = image.info.get("transparency")
    if image.format != "PNG" or value is None or isinstance(value, bytes):
        return
    file.seek(_DEPTH_IN_PNG)
    depth = file.read(1)[0]
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = value * (255 // (2**depth - 1))
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in value)
