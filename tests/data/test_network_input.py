"""The declared input of a network: its words, its numbers, and its resizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data.network_input import NetworkInput
from crosscam.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rgb 4x2 255", [10.0, 20.0, 30.0]),
        ("BGR 4x2 255", [30.0, 20.0, 10.0]),
        ("rgb 4x2 1", [10 / 255, 20 / 255, 30 / 255]),
        ("rgb 4x2 imagenet", [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]),
        ("bgr 4x2 imagenet", [(30 / 255 - 0.406) / 0.225, (20 / 255 - 0.456) / 0.224, (10 / 255 - 0.485) / 0.229]),
        ("rgb 4x2 1 mean=0.5 std=0.5", [20 / 255 - 1, 40 / 255 - 1, 60 / 255 - 1]),
        ("bgr 4x2 255 mean=30,10,5 std=1,2,5 opencv", [0.0, 5.0, 1.0]),
    ],
)
def test_input_is_what_its_words_say(text: str, expected: list[float]):
    takes = NetworkInput.parse(text)
    planes = takes.sized(torch.tensor([10, 20, 30], dtype=torch.uint8).expand(2, 8, 3, 3))
    assert planes.dtype == torch.uint8
    found = takes.scaled(planes)
    assert found.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(found[1, :, 3, 1], expected, rtol=1e-5, atol=1e-6)
    assert NetworkInput.parse(str(takes)) == takes


@pytest.mark.parametrize(
    "text",
    [
        *("", "rgb 256x128", "grey 256x128 255", "rgb 0x128 255", "rgb 256 255", "rgb 2x2 2", "rgb 2x2x2 1"),
        *("rgb 5000x2 1", "rgb 2x2 1 std=0", "rgb 2x2 1 mean=a", "rgb 2x2 1 mean=1,2", "rgb 2x2 1 mean=1 mean=1"),
        *("rgb 2x2 imagenet mean=1", "rgb 2x2 1 nearest", "rgb 2x2 1 opencv bicubic", "rgb 2x2 1 mean=nan"),
    ],
)
def test_other_words_are_refused(text: str):
    with pytest.raises(ArgumentError, match="expected color order, height x width and scale"):
        NetworkInput.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rgb 2x2 1 mean=123.7,116.3,103.5 std=58.4", "mean is 123.7,116.3,103.5, and scale 1 runs from 0 to 1"),
        ("rgb 2x2 255 mean=-1", "mean is -1,-1,-1, and scale 255 runs from 0 to 255"),
        ("rgb 2x2 255 mean=0.5 std=0.229", "std is 0.229,0.229,0.229, which is for images from 0 to 1"),
    ],
)
def test_a_mean_and_a_deviation_of_another_scale_are_refused(text: str, said: str):
    with pytest.raises(ArgumentError, match=said):
        NetworkInput.parse(text)


@pytest.mark.parametrize("shape", [(40, 30), (300, 150)])
def test_bicubic_is_pillows_and_opencv_does_not_smooth(shape: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    batch = torch.from_numpy(image)[None]
    found = NetworkInput.parse("rgb 64x32 255 bicubic").sized(batch)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(image).resize((32, 64), Image.Resampling.BICUBIC))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2
    plain = NetworkInput.parse("rgb 64x32 255 opencv").sized(batch)[0].permute(1, 2, 0).numpy()
    assert np.abs(plain.astype(int) - _opencv(image, 64, 32)).max() <= 1


def _opencv(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """cv2.resize with INTER_LINEAR, in floats: the four nearest pixels of each place."""

    def places(size: int, wanted: int):
        at = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), at - low

    top, bottom, down = places(image.shape[0], height)
    left, right, across = places(image.shape[1], width)
    values = image.astype(float)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    found = rows[:, left] * (1 - across)[None, :, None] + rows[:, right] * across[None, :, None]
    return np.floor(found + 0.5).astype(int)
