"""Images of every kind that a Python program holds: the same pixels, or one clear line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data.image_inputs import check_range, decode_settled, settle
from crosscam.data.images import decode_image
from crosscam.errors import ArgumentError, CrosscamError, ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 7, 3), dtype=np.uint8)


def encoded(kind: str = "png") -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, kind)
    return out.getvalue()


def pixels(image: object, value_range: tuple[float, float] | None = None) -> np.ndarray:
    return decode_settled(settle(image, "Image 4", value_range), "Image 4")  # type: ignore[arg-type]


CHW = torch.from_numpy(PIXELS).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("image", "value_range"),
    [
        (encoded(), None),
        (bytearray(encoded()), None),
        (memoryview(encoded()), None),
        (Image.fromarray(PIXELS), None),
        (PIXELS, None),
        (torch.from_numpy(PIXELS), None),
        (CHW, None),
        (CHW, (0, 1)),
        (CHW / 255, (0, 1)),
        ((CHW / 255).half(), (0, 1)),
        ((CHW / 255).to(torch.bfloat16), (0, 1)),
        ((CHW / 255).requires_grad_(), (0, 1)),
        (CHW / 127.5 - 1, (-1, 1)),
        (CHW.float(), (0, 255)),
        (PIXELS / 255, (0, 1)),
    ],
)
def test_each_kind_gives_the_same_pixels(image: object, value_range: tuple[float, float] | None) -> None:
    found = pixels(image, value_range)
    assert found.dtype == np.uint8
    coarse = isinstance(image, torch.Tensor) and image.element_size() == 2 and image.is_floating_point()
    assert np.abs(found.astype(int) - PIXELS).max() <= (1 if coarse else 0)


def test_files_are_read_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    assert np.array_equal(pixels(tmp_path / "a.png"), PIXELS)
    assert np.array_equal(pixels(str(tmp_path / "a.png")), PIXELS)
    with open(tmp_path / "a.png", "rb") as file:
        assert np.array_equal(pixels(file), PIXELS)
        with pytest.raises(ImageError, match=r"Image 4 gives no bytes.*seek\(0\)"):
            pixels(file)
    with pytest.raises(ImageError, match=r"Image 4 cannot be read .*closed file"):
        pixels(file)


@pytest.mark.parametrize("name", ["rgba", "palette", "grey", "cmyk", "turned", "sixteen"])
def test_a_pil_image_is_what_its_file_is(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    if name == "turned":
        exif[0x0112] = 6
    if name == "rgba":
        image.putalpha(Image.fromarray(PIXELS[:, :, 0]))
    if name == "sixteen":
        image = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257)
    modes = {"palette": "P", "grey": "L", "cmyk": "CMYK"}
    if name in modes:
        image = image.convert(modes[name])
    path = tmp_path / ("a.tif" if name == "cmyk" else "a.png")
    image.save(path, exif=exif)
    expected = decode_image(path)
    with Image.open(path) as opened:
        assert np.array_equal(pixels(opened), expected)
        assert np.array_equal(pixels(opened), expected), "it stays open"
    with pytest.raises(ImageError, match="Image 4 cannot be read"):
        pixels(Image.open(io.BytesIO(encoded()[:-150])))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "Image 4 is None. Expected a path"),
        (7, r"Image 4 is an int \(7\). Expected a path"),
        ([PIXELS], "Image 4 is a list. Expected a path"),
        ({"path": "a.jpg"}, "Image 4 is a dict"),
        (io.StringIO("a"), "Image 4 is a file opened as text"),
        (CHW[None], r"tensor of shape \(1, 3, 12, 7\).*Expected \(3, H, W\) or \(H, W, 3\)"),
        (CHW[:1], r"tensor of shape \(1, 12, 7\)"),
        (torch.zeros(3, 0, 5), r"tensor of shape \(3, 0, 5\)"),
        (torch.zeros(3, 5, 3, dtype=torch.uint8), "channels may be first or last"),
        (CHW / 255, r"torch.float32.*value_range=\(0, 1\)"),
        (CHW.long(), r"torch\.int64"),
        (PIXELS.astype(np.float32), r"array of shape \(12, 7, 3\), float32.*value_range=\(0, 1\)"),
        (PIXELS[:, :, 0], r"\(12, 7\)"),
        (PIXELS[:0], r"\(0, 7, 3\)"),
        (PIXELS.transpose(2, 0, 1), r"\(3, 12, 7\)"),
        (Image.new("F", (4, 8)), "Image 4 has 'F' pixels"),
        (Image.new("RGB", (0, 8)), "Image 4 has no pixels"),
        (b"no image", "Image 4 is not an image that can be read"),
        (b"", "Image 4 is empty"),
    ],
)
def test_what_is_no_image_is_one_line(image: object, message: str) -> None:
    with pytest.raises(CrosscamError, match=message) as caught:
        pixels(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [CHW / 255 * 4 - 2, CHW.float(), torch.full((3, 4, 5), torch.nan)])
def test_floats_beyond_their_stated_range_are_refused(values: torch.Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"Expected values within value_range=\(0, 1\)"):
        pixels(values, (0, 1))


def test_a_slight_overshoot_of_a_resize_is_cut_off() -> None:
    values = torch.tensor([-0.004, 0.5, 0.75, 1.004]).repeat(3, 5, 1)
    assert pixels(values, (0, 1))[0, :, 0].tolist() == [0, 128, 191, 255]


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("inf")), 1, "ab", (0, 1, 2)])
def test_a_range_that_is_none_is_refused(value_range: object) -> None:
    with pytest.raises(ArgumentError, match="value_range is"):
        check_range(value_range)  # type: ignore[arg-type]
