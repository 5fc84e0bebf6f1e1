from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.images import decode_image, resize_image
from crosscam.data.walk import list_images, natural_key
from crosscam.errors import ImageError

PARITY = Path(__file__).parent / "parity" / "resize.npz"


def gradient(height: int = 12, width: int = 8) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 20, x * 30, y + x], axis=2).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(file_format: str) -> None:
    decoded = decode_image(encoded(Image.fromarray(gradient()), file_format))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, gradient())


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_are_read(file_format: str) -> None:
    decoded = decode_image(encoded(Image.new("RGB", (8, 12), (200, 10, 10)), file_format))
    assert decoded.shape == (12, 8, 3)
    assert np.abs(decoded.astype(int) - [200, 10, 10]).max() <= 12


def test_path_string_and_bytes_agree_and_result_is_writable(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(Image.fromarray(gradient()), "PNG"))
    for source in (file, str(file), file.read_bytes()):
        decoded = decode_image(source)
        decoded[0, 0] = 7
        np.testing.assert_array_equal(decoded[1:], gradient()[1:])


def test_grey_is_repeated() -> None:
    grey = gradient()[:, :, 0]
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, axis=2))


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 257 * 128, 65535]], dtype=np.uint16)
    for file_format in ("PNG", "TIFF"):
        decoded = decode_image(encoded(Image.fromarray(values), file_format))
        np.testing.assert_array_equal(decoded[0, :, 0], [0, 1, 128, 255])


def test_cmyk_becomes_rgb() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    decoded = decode_image(encoded(cmyk, "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(mode: str) -> None:
    rgba = Image.new("RGBA", (4, 4), (0, 0, 0, 255))
    rgba.putpixel((1, 2), (0, 0, 0, 0))
    if mode == "P":
        palette = Image.new("P", (4, 4), 0)
        palette.putpalette([0, 0, 0, 9, 9, 9])
        palette.putpixel((1, 2), 1)
        data = encoded(palette, "PNG", transparency=1)
    else:
        data = encoded(rgba.convert(mode), "PNG")
    for background in ((255, 255, 255), (50, 50, 50)):
        decoded = decode_image(data, background=background)
        assert tuple(decoded[2, 1]) == background
        assert tuple(decoded[0, 0]) == (0, 0, 0)


def test_half_transparent_is_mixed() -> None:
    data = encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 51)), "PNG")  # alpha one fifth
    np.testing.assert_allclose(decode_image(data)[0, 0], [255, 204, 204], atol=1)


def test_plain_palette() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode_image(encoded(palette, "PNG"))[0], [[10, 20, 30], [40, 50, 60]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
def test_exif_orientation_is_undone(orientation: int, file_format: str) -> None:
    upright = gradient()
    # What a camera stores for each orientation, so that viewers show `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), file_format, exif=exif, **options)
    np.testing.assert_allclose(decode_image(data), upright, atol=4 if file_format == "JPEG" else 0)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(decode_image(data)[0, 0]) == (255, 0, 0)


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"No image at .*none\.jpg"):
        decode_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        decode_image(tmp_path)
    with pytest.raises(ImageError, match=r"empty\.jpg is empty"):
        decode_image(tmp_path / "empty.jpg")
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


def test_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not an image at all\n" * 50)
    with pytest.raises(ImageError, match=r"a\.jpg is not an image") as caught:
        decode_image(tmp_path / "a.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_truncated_at_many_places_never_passes(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), file_format)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7):
        with pytest.raises(ImageError) as caught:
            decode_image(data[: int(len(data) * share)])
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_raise_only_image_errors() -> None:
    rng = np.random.default_rng(1)
    for file_format in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"):
        data = encoded(Image.fromarray(gradient(24, 16)), file_format)
        for _ in range(60):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 6):
                damaged[place] = int(rng.integers(256))
            try:
                decoded = decode_image(bytes(damaged), max_pixels=100_000)
            except ImageError:
                continue
            assert decoded.ndim == 3
            assert decoded.shape[2] == 3


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_001, 8_000)])
def test_huge_image_is_refused_from_its_header(width: int, height: int, tmp_path: Path) -> None:
    # The pixel data is empty: whoever tried to decode would say "damaged".
    (tmp_path / "bomb.png").write_bytes(png_of_size(width, height))
    with pytest.raises(ImageError, match=r"bomb\.png has .* pixels"):
        decode_image(tmp_path / "bomb.png")


def test_pixel_limit_is_exact() -> None:
    data = encoded(Image.fromarray(gradient(12, 8)), "PNG")
    assert decode_image(data, max_pixels=96).shape == (12, 8, 3)
    with pytest.raises(ImageError, match="8 x 12 pixels, more than the 95"):
        decode_image(data, max_pixels=95)


def test_float_pixels_are_refused() -> None:
    data = encoded(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="'F' pixels"):
        decode_image(data)


def test_other_formats_are_not_tried() -> None:
    with pytest.raises(ImageError, match="is not an image"):
        decode_image(encoded(Image.fromarray(gradient()), "PPM"))


def test_resize_matches_the_published_preprocessing() -> None:
    with np.load(PARITY) as parity:
        source, wanted = parity["resize_up_in"], parity["resize_up_out"]
    resized = resize_image(source, 384, 128)
    assert resized.shape == wanted.shape == (384, 128, 3)
    np.testing.assert_array_equal(resized, wanted)


def test_resize_of_the_same_size_is_a_copy() -> None:
    source = gradient()
    resized = resize_image(source, 12, 8)
    np.testing.assert_array_equal(resized, source)
    assert not np.shares_memory(resized, source)


def test_resize_refuses_what_is_no_image() -> None:
    with pytest.raises(ValueError, match="uint8"):
        resize_image(gradient().astype(np.float32), 4, 4)
    with pytest.raises(ValueError, match="at least 1"):
        resize_image(gradient(), 0, 4)


def test_natural_order() -> None:
    names = ["img10", "img2", "-1_c1", "0002_c1", "img1", "img01"]
    assert sorted(names, key=natural_key) == ["0002_c1", "-1_c1", "img01", "img1", "img2", "img10"]


def test_list_images_separates_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b9.PNG", "Thumbs.db", "._b9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "sub.jpg").mkdir()
    images, others = list_images(tmp_path)
    assert [p.name for p in images] == ["b9.PNG", "b10.jpg"]
    assert {p.name for p in others} == {"Thumbs.db", "._b9.jpg"}
