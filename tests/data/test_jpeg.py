"""The quick JPEG decoder: Pillow's pixels or none at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data import jpeg
from crosscam.data.images import decode_image
from crosscam.data.jpeg import decode_plain_jpeg, plain_jpeg_size
from crosscam.errors import ImageError

pytest.importorskip("simplejpeg")
MANY = 10**8


def image(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth areas, edges and noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.integers(-30, 31, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [10, 75, 90, 100])
@pytest.mark.parametrize("size", [(128, 64), (1, 1), (17, 9), (161, 77)])
def test_the_pixels_are_pillows(size: tuple[int, int], quality: int, subsampling: int) -> None:
    data = encoded(image(*size), quality=quality, subsampling=subsampling)
    found = decode_plain_jpeg(data, MANY)
    assert found is not None
    assert found.flags.writeable
    np.testing.assert_array_equal(found, by_pillow(data))


@pytest.mark.parametrize(
    "options",
    [
        {"optimize": True},
        {"restart_marker_rows": 1},
        {"icc_profile": b"anything"},
        {"comment": b"a comment"},
        {"dpi": (300, 300)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_usual_variants_are_taken(options: dict[str, object]) -> None:
    data = encoded(image(50, 30), **options)
    found = decode_plain_jpeg(data, MANY)
    assert found is not None
    np.testing.assert_array_equal(found, by_pillow(data))


def test_grey_is_taken() -> None:
    data = encoded(image(33, 20).convert("L"))
    found = decode_plain_jpeg(data, MANY)
    assert found is not None
    np.testing.assert_array_equal(found, by_pillow(data))


def with_orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image(20, 30), exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        encoded(image(20, 30), progressive=True),
        encoded(image(20, 30), keep_rgb=True),
        encoded(image(20, 30).convert("CMYK")),
        encoded(image(20, 30), xmp=b"<x:xmpmeta/>"),
        with_orientation(),
        encoded(image(20, 30)).replace(b"JFIF\0", b"JFXX\0"),
        b"\xff\xd8" + encoded(image(20, 30)),
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"",
    ],
    ids=["progressive", "rgb", "cmyk", "xmp", "exif", "jfxx", "two starts", "start alone", "png", "empty"],
)
def test_what_is_out_of_the_ordinary_is_left_to_pillow(data: bytes) -> None:
    assert plain_jpeg_size(data) is None
    assert decode_plain_jpeg(data, MANY) is None


def test_the_limit_of_pixels_is_exact() -> None:
    data = encoded(image(12, 8))
    assert plain_jpeg_size(data) == (12, 8)
    assert decode_plain_jpeg(data, 96) is not None
    assert decode_plain_jpeg(data, 95) is None
    with pytest.raises(ImageError, match="8 x 12 pixels, more than the 95"):
        decode_image(data, max_pixels=95)


def test_a_file_cut_anywhere_is_left_to_pillow() -> None:
    data = encoded(image(24, 16))
    for length in range(len(data)):
        assert decode_plain_jpeg(data[:length], MANY) is None


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_judged_as_pillow_judges_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = encoded(image(40, 24))
    damaged = []
    for _ in range(600):
        some = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 4))):
            some[place] = int(rng.integers(256))
        damaged.append(bytes(some))
    quick = [decode_or_words(some) for some in damaged]
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    for some, found in zip(damaged, quick, strict=True):
        expected = decode_or_words(some)
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)
    assert any(isinstance(found, str) for found in quick)


def decode_or_words(data: bytes) -> np.ndarray | str:
    try:
        return decode_image(data, max_pixels=100_000)
    except ImageError as error:
        return str(error)


def test_without_simplejpeg_pillow_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(image(30, 20)))
    quick = decode_image(tmp_path / "a.jpg")
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), quick)


def test_images_uses_the_quick_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    assert decode_image(encoded(image(30, 20))).shape == (30, 20, 3)
