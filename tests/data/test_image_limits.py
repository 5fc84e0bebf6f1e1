"""Small files that would take minutes or gigabytes are refused from their headers, wherever an image is read."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.image_limits import MAX_ASPECT, MAX_SCANS, MAX_SIDE, chunks_fault, scans_fault, size_fault
from crosscam.data.images import decode_image, resize_image
from crosscam.errors import ImageError
from crosscam.gallery.filling import make_thumbnail


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_scans(count: int, side: int = 64) -> bytes:
    """A progressive JPEG with so many scans."""
    jpeg = saved(Image.new("RGB", (side, side)), "JPEG", quality=10, progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + scan * (count - jpeg.count(b"\xff\xda")) + b"\xff\xd9"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG"])
@pytest.mark.parametrize("size", [(1, MAX_ASPECT + 1), (MAX_ASPECT + 1, 1), (900, 4), (1, 16_000)])
def test_no_person_is_that_thin(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    data = saved(Image.new("RGB", size), kind)
    with pytest.raises(ImageError, match="times as long as the other"):
        decode_image(data)
    (tmp_path / "a.img").write_bytes(data)
    with pytest.raises(ImageError, match=r"a.img has .*crop it out first"):
        decode_image(tmp_path / "a.img")
    assert decode_image(saved(Image.new("RGB", (1, MAX_ASPECT)), kind)).shape == (MAX_ASPECT, 1, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "JPEG"])
def test_no_image_is_that_long(kind: str) -> None:
    with pytest.raises(ImageError, match="Expected sides of at most 16,384"):
        decode_image(saved(Image.new("L", (300, MAX_SIDE + 1)), kind))


def test_a_png_of_one_column_takes_no_time() -> None:
    pixels = np.zeros((24_999_999, 1, 3), np.uint8)
    data = saved(Image.fromarray(pixels), "PNG")
    began = time.perf_counter()
    for act in (lambda: decode_image(data), lambda: make_thumbnail(pixels)):
        with pytest.raises(ImageError, match="1 x 24,999,999 pixels"):
            act()
    with pytest.raises(ValueError, match="a side above"):
        resize_image(pixels, 192, 64)
    assert time.perf_counter() - began < 3


def test_jpegs_of_many_scans(tmp_path: Path) -> None:
    assert decode_image(with_scans(MAX_SCANS)).shape == (64, 64, 3)
    bomb = with_scans(2000)
    for source in (bomb, tmp_path / "a.jpg"):
        (tmp_path / "a.jpg").write_bytes(bomb)
        with pytest.raises(ImageError, match="more than 64 scans"):
            decode_image(source)
    # Behind the reach of a file that is read as a whole.
    (tmp_path / "a.jpg").write_bytes(bomb + bytes(17 << 20))
    with pytest.raises(ImageError, match="more than 64 scans"):
        decode_image(tmp_path / "a.jpg")


def test_scans_are_counted_where_they_are() -> None:
    """A preview in the metadata, and a second image behind the end, are none of this image's scans."""
    plain = saved(Image.new("RGB", (64, 64)), "JPEG")
    looks_so = b"\xff\xda\x00\x08" * 200
    comment = b"\xff\xfe" + (len(looks_so) + 2).to_bytes(2, "big") + looks_so
    assert decode_image(plain[:2] + comment + plain[2:]).shape == (64, 64, 3)
    assert decode_image(plain + looks_so).shape == (64, 64, 3)
    assert scans_fault(plain[:2] + comment + with_scans(2000)[2:]) is not None
    began = time.perf_counter()
    scans_fault(b"\xff\xd8" + b"\xff\xda" * 100 + b"\xff" * 8_000_000 + b"\x00")
    scans_fault(b"\xff\xd8" + b"\xff\xda\x00\x02" * 2_000_000)
    assert time.perf_counter() - began < 5


def test_ordinary_sizes_are_none() -> None:
    for size in ((64, 128), (1, 1), (3, 300), (8000, 8000), (1920, 1080)):
        assert size_fault(*size) is None


def test_a_png_of_a_million_chunks(tmp_path: Path) -> None:
    png = saved(Image.new("RGB", (64, 128)), "PNG")
    chunk = struct.pack(">I", 3) + b"tEXta\0b" + struct.pack(">I", zlib.crc32(b"tEXta\0b"))
    many = png[:33] + chunk * 900_000 + png[33:]
    began = time.perf_counter()
    with pytest.raises(ImageError, match=r"has more than 14,\d+ chunks. Save it anew"):
        decode_image(many)
    assert time.perf_counter() - began < 2
    assert decode_image(png[:33] + chunk * 900 + png[33:]).shape == (128, 64, 3)
    # An ordinary file of eight kilobytes a chunk.
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    assert chunks_fault(saved(Image.fromarray(noise), "PNG")) is None
    assert chunks_fault(saved(Image.fromarray(noise[:64]), "JPEG")) is None


def test_a_jpeg_of_a_million_comments() -> None:
    jpeg = saved(Image.new("RGB", (64, 128)), "JPEG")
    began = time.perf_counter()
    with pytest.raises(ImageError, match="more than 2,000 segments before its pixels"):
        decode_image(jpeg[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg[2:])
    assert time.perf_counter() - began < 2
    assert decode_image(jpeg[:2] + b"\xff\xfe\x00\x02" * 1000 + jpeg[2:]).shape == (128, 64, 3)
