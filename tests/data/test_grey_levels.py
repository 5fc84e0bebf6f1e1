from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from crosscam.data.images import decode_image

WIDE = np.array([[0, 1000, 30000, 65535], [257, 514, 65000, 1000]], np.uint16)
BACKGROUND = (10, 20, 30)


def png(pixels: np.ndarray, depth: int, color: int, transparent: tuple[int, ...] | None = None) -> bytes:
    """(H, W) or (H, W, C) levels of 2, 4, 8 or 16 bits."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = pixels.shape[:2]
    rows = []
    for row in pixels.reshape(height, -1):
        bits = ((row[:, None].astype(int) >> np.arange(depth)[::-1]) & 1).astype(np.uint8)
        rows.append(b"\0" + np.packbits(bits.ravel()).tobytes())
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    if transparent is not None:
        body += chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def tiff(levels: np.ndarray, bits: int, photometric: int, order: str) -> bytes:
    """Grey levels (H, W) of 1, 8 or 16 bits, uncompressed."""
    height, width = levels.shape
    if bits == 1:
        data = np.packbits(levels.astype(bool), axis=1).tobytes()
    else:
        data = levels.astype(f"{order}u{bits // 8}").tobytes()
    fields = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    fields += [(277, 3, 1), (278, 3, height), (279, 4, len(data))]
    table = struct.pack(order + "H", len(fields))
    for tag, kind, value in fields:
        table += struct.pack(order + "HHI", tag, kind, 1)
        table += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(order + "I", 8 + len(data)) + data + table + struct.pack(order + "I", 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_tiff_with_white_as_zero_is_the_negative(bits: int, order: str) -> None:
    levels = {1: WIDE > 20000, 8: WIDE // 257, 16: WIDE}[bits]
    expected = {1: 255 * (WIDE > 20000), 8: WIDE // 257, 16: WIDE // 257}[bits]
    black = decode_image(tiff(levels, bits, 1, order))
    np.testing.assert_array_equal(black, np.repeat(expected[:, :, None], 3, axis=2))
    white = decode_image(tiff(levels, bits, 0, order))
    negative = (65535 - WIDE) // 257 if bits == 16 else 255 - expected
    np.testing.assert_array_equal(white, np.repeat(negative[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("pixels", "depth", "color", "transparent", "hidden"),
    [
        (WIDE, 16, 0, (1000,), WIDE == 1000),
        (WIDE, 16, 0, (65535,), WIDE == 65535),
        (WIDE, 16, 0, (1001,), WIDE < 0),
        (WIDE // 257, 8, 0, (3,), WIDE // 257 == 3),
        (WIDE % 16, 4, 0, (8,), WIDE % 16 == 8),
        (WIDE % 4, 2, 0, (2,), WIDE % 4 == 2),
        (np.stack([WIDE] * 3, axis=2), 16, 2, (30000,) * 3, WIDE == 30000),
    ],
)
def test_transparent_values_show_the_background(
    pixels: np.ndarray, depth: int, color: int, transparent: Any, hidden: np.ndarray
) -> None:
    plain = decode_image(png(pixels, depth, color))
    decoded = decode_image(png(pixels, depth, color, transparent), background=BACKGROUND)
    assert (decoded[hidden] == BACKGROUND).all()
    np.testing.assert_array_equal(decoded[~hidden], plain[~hidden])
