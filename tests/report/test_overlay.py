from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from crosscam.report.image_tiles import enlarge, heat, heat_uri, with_heat


def brightness(rgba):
    return rgba[..., :3].astype(float) @ [0.299, 0.587, 0.114]


def test_more_is_brighter_and_covers_more():
    ramp = heat(np.linspace(0, 1, 101))
    assert (np.diff(brightness(ramp)) > 0).all()
    assert (np.diff(ramp[:, 3].astype(int)) >= 0).all()
    assert (heat(np.array([-1.0, 2.0])) == ramp[[0, -1]]).all()


def test_the_strongest_place_is_the_brightest_of_the_image():
    values = np.zeros((6, 2))
    values[4, 1] = 1
    found = brightness(with_heat(np.full((96, 32, 3), 128, np.uint8), values))
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert 4 * 16 <= y < 5 * 16
    assert 16 <= x < 32


def test_enlarging_keeps_a_constant():
    np.testing.assert_allclose(enlarge(np.full((3, 2), 0.25), 30, 10), 0.25)


def test_an_overlay_is_a_png_with_transparency_in_the_shape_of_the_map():
    kind, data = heat_uri(np.eye(6, 2), height=48).split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert (image.size, image.mode) == ((16, 48), "RGBA")
