"""The quick decoder for ordinary JPEG files; what is out of the ordinary is left to Pillow.

simplejpeg calls libjpeg-turbo, as Pillow does, without Pillow's buffers and conversions, and gives the same pixels. It
takes files of which that is known from their headers: baseline, 8 bits, gray or YCbCr with the usual sampling, and
no segment that could hold an orientation, another color space or further images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crosscam.data.image_limits import size_fault

Decoder = Callable[[bytes], NDArray[np.uint8]]

_START, _FRAME, _SCAN, _JFIF, _ICC = 0xD8, 0xC0, 0xDA, 0xE0, 0xE2
# Quantisation and Huffman tables, restart interval, comment: read by libjpeg alone.
_INNER = frozenset({0xDB, 0xC4, 0xDD, 0xFE})
_SAMPLINGS = frozenset({(0x11, 0x11, 0x11), (0x21, 0x11, 0x11), (0x22, 0x11, 0x11)})


def decode_plain_jpeg(data: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """The pixels of an ordinary JPEG, the same as Pillow's.

    Args:
        data: a whole file.
        max_pixels: larger images are not decoded.
    Returns:
        (H, W, 3) uint8 RGB; None for anything that Pillow must judge: another kind of file, a damaged one, too many
        pixels, or simplejpeg is not installed.
    """
    decode = _decoder()
    if decode is None:
        return None
    size = plain_jpeg_size(data)
    if size is None or size[0] * size[1] > max_pixels or size_fault(size[1], size[0]):
        return None
    try:
        pixels = decode(data)
    except ValueError:  # libjpeg had something to remark, if only a warning
        return None
    return pixels if pixels.shape == (*size, 3) else None


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that the quick decoder may take, from its header; None for all others."""
    if data[:2] != b"\xff\xd8":
        return None
    place, size = 2, None
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        if length < 2 or len(body) != length - 2:
            return None
        if marker == _SCAN:
            return size
        if marker == _FRAME:
            size = _frame_size(body) if size is None else None
            if size is None:
                return None
        elif not (marker in _INNER or _is_harmless(marker, body)):
            return None
        place += 2 + length
    return None


def _is_harmless(marker: int, body: bytes) -> bool:
    """Whether an application's segment changes nothing about the pixels that are shown."""
    return (marker == _JFIF and len(body) >= 14 and body.startswith(b"JFIF\0")) or (
        marker == _ICC and body.startswith(b"ICC_PROFILE\0")
    )


def _frame_size(body: bytes) -> tuple[int, int] | None:
    """Of a baseline frame's header: precision, height, width, and three bytes for each component."""
    if len(body) not in (9, 15) or body[0] != 8 or len(body) != 6 + 3 * body[5]:
        return None
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if not height or not width:
        return None
    # Without a JFIF header libjpeg tells YCbCr from RGB by these numbers.
    if body[5] == 3 and (bytes(body[6::3]) != b"\1\2\3" or tuple(body[7::3]) not in _SAMPLINGS):
        return None
    if body[5] == 1 and body[7] != 0x11:
        return None
    return height, width


@cache
def _decoder() -> Decoder | None:
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None

    def decode(data: bytes) -> NDArray[np.uint8]:
        # fastdct and fastupsample give other pixels than Pillow's.
        found: NDArray[np.uint8] = decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
        return found

    return decode
