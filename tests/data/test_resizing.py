"""One resize everywhere: Pillow's pixels, from bytes on the CPU and by products elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data.images import resize_image
from crosscam.data.resizing import resize_by_products, resize_bytes

SIZES = [(384, 128), (256, 128), (192, 96), (384, 192), (150, 130), (64, 128), (128, 40), (90, 64), (50, 20), (1, 1)]


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def by_pillow(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows first, in any of its versions."""
    bilinear = Image.Resampling.BILINEAR
    rows = [Image.fromarray(i).resize((width, i.shape[0]), bilinear) for i in images]
    return np.stack([np.asarray(i.resize((width, height), bilinear)) for i in rows])


@pytest.mark.parametrize("size", [(384, 128), (256, 128), (192, 96), (384, 192)])
def test_market_is_enlarged_to_pillows_pixels(size: tuple[int, int]) -> None:
    images = noise(3, 128, 64)
    np.testing.assert_array_equal(resize_bytes(torch.from_numpy(images), *size).numpy(), by_pillow(images, *size))


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_within_one_level_of_pillow_and_seldom_off(size: tuple[int, int]) -> None:
    images = noise(2, 128, 64)
    off = np.abs(resize_bytes(torch.from_numpy(images), *size).numpy().astype(int) - by_pillow(images, *size))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.02


@pytest.mark.parametrize("size", SIZES)
def test_products_are_pillows_sums(size: tuple[int, int]) -> None:
    images = noise(2, 128, 64)
    found = resize_by_products(torch.from_numpy(images).permute(0, 3, 1, 2), *size)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), by_pillow(images, *size))


@pytest.mark.parametrize("size", [(128, 64), (384, 128), (100, 37), (130, 64)])
def test_an_image_is_resized_as_its_batch(size: tuple[int, int]) -> None:
    images = noise(3, 128, 64)
    batch = resize_bytes(torch.from_numpy(images), *size)
    assert batch.is_contiguous()
    for image, found in zip(images, batch, strict=True):
        np.testing.assert_array_equal(resize_image(image, *size), found.numpy())


def test_views_and_arrays_that_cannot_be_written_are_taken() -> None:
    image = noise(1, 40, 30)[0]
    expected = resize_image(image, 50, 20)
    image.flags.writeable = False
    np.testing.assert_array_equal(resize_image(image, 50, 20), expected)
    backwards = np.ascontiguousarray(image[:, ::-1, ::-1])[:, ::-1, ::-1]
    np.testing.assert_array_equal(resize_image(backwards, 50, 20), expected)
    same = resize_image(image, 40, 30)
    same[:] = 0
    assert image.any()
