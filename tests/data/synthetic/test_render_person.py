from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from crosscam.data.synthetic.body import Pose, View
from crosscam.data.synthetic.camera import Camera, Sensor, draw_cameras, noise_table
from crosscam.data.synthetic.identities import (
    BAGS,
    COLORS,
    HAIR_STYLES,
    HATS,
    LOWER_PATTERNS,
    UPPER_PATTERNS,
    Garment,
    Identity,
)
from crosscam.data.synthetic.image import Track, draw_track
from crosscam.data.synthetic.person import draw_person
from crosscam.data.synthetic.scene import OCCLUDERS, draw_occluder

VIEW = View(center=32.0, ground=120.0, size=108.0, pitch=0.2, light=0.5)
SMOOTH = np.ones((128, 64, 1), dtype=np.float32)
SIDES = [k * math.pi / 4 for k in range(8)]
PERSON = Identity(
    pid=1,
    subset="train",
    upper=Garment("shirt", "plain", "red"),
    lower=Garment("trousers", "plain", "navy"),
    shares=None,
    group=None,
    skin=(214, 164, 122),
    hair_style="short",
    hair=(22, 18, 18),
    hat="none",
    hat_colour="white",
    shoes="black",
    bag="none",
    bag_colour="yellow",
    bag_side=1,
    height=1.0,
    build=1.0,
    shoulders=1.0,
)


def seen(person: Identity, yaw: float = 0.0, phase: float = 0.6, view: View = VIEW) -> np.ndarray:
    """(128, 64, 4) colour times coverage, and coverage."""
    pose = Pose(yaw, phase, stride=0.4, arms=0.4, elbows=0.3, lean=0.03, raised=0)
    return np.concatenate(draw_person(person, pose, view, SMOOTH), axis=2)


def changed(a: np.ndarray, b: np.ndarray) -> int:
    """Pixels that differ by more than 20 levels."""
    return int((np.abs(a - b).max(axis=2) > 20).sum())


@pytest.mark.parametrize("yaw", SIDES)
def test_a_person_stands_on_the_ground_and_is_as_tall_as_asked(yaw: float) -> None:
    rows = np.flatnonzero(seen(PERSON, yaw)[:, :, 3].max(axis=1) > 0.5)
    columns = np.flatnonzero(seen(PERSON, yaw)[:, :, 3].max(axis=0) > 0.5)
    assert abs(int(rows[-1]) - 119) <= 5
    assert 96 <= rows[-1] - rows[0] <= 114
    assert 14 <= columns[-1] - columns[0] <= 56
    assert abs((columns[-1] + columns[0]) / 2 - 32) <= 8


def test_no_colour_where_there_is_no_person() -> None:
    drawn = seen(PERSON)
    assert (drawn[drawn[:, :, 3] == 0.0] == 0.0).all()
    assert drawn[:, :, 3].min() >= 0.0
    assert drawn[:, :, 3].max() == 1.0


@pytest.mark.parametrize("yaw", SIDES)
@pytest.mark.parametrize("pattern", UPPER_PATTERNS)
def test_every_upper_pattern_shows_from_every_side(pattern: str, yaw: float) -> None:
    patterned = replace(PERSON, upper=Garment("shirt", pattern, "red", "white"))
    assert changed(seen(PERSON, yaw), seen(patterned, yaw)) >= 30


@pytest.mark.parametrize("yaw", SIDES)
@pytest.mark.parametrize("pattern", LOWER_PATTERNS)
@pytest.mark.parametrize("kind", ["trousers", "skirt", "shorts"])
def test_every_lower_pattern_shows_from_every_side(pattern: str, kind: str, yaw: float) -> None:
    plain = replace(PERSON, lower=Garment(kind, "plain", "navy"))
    patterned = replace(PERSON, lower=Garment(kind, pattern, "navy", "white"))
    assert changed(seen(plain, yaw), seen(patterned, yaw)) >= 30


def test_what_a_person_wears_changes_the_image() -> None:
    plain = seen(PERSON, yaw=0.6)
    for name, values in (("hair_style", HAIR_STYLES), ("hat", HATS), ("bag", BAGS)):
        for value in {v for v in values if v != getattr(PERSON, name)}:
            other = seen(replace(PERSON, **{name: value}), yaw=0.6)
            assert (np.abs(other - plain).max(axis=2) > 20).sum() >= 4, f"{name}={value} cannot be seen"


def test_the_face_shows_from_the_front_and_not_from_the_back() -> None:
    skin = np.asarray(PERSON.skin, dtype=np.float64)

    def face(yaw: float) -> int:
        head = seen(PERSON, yaw)[10:28, 24:40, :3]
        return int((np.abs(head / np.maximum(head[:, :, :1], 1.0) - skin / skin[0]).max(axis=2) < 0.1).sum())

    assert face(0.0) > 40
    assert face(0.0) > 3 * face(math.pi)


def test_walking_moves_the_legs() -> None:
    assert changed(seen(PERSON, math.pi / 2, phase=0.0), seen(PERSON, math.pi / 2, phase=math.pi / 2)) > 150


def test_a_crop_far_off_is_empty_and_no_error() -> None:
    assert seen(PERSON, view=replace(VIEW, center=400.0))[:, :, 3].max() == 0.0


def test_the_images_of_a_track_do_not_depend_on_each_other() -> None:
    track = Track("1/2/0", 2, PERSON)
    together = [image.tobytes() for image in draw_track(track, range(4), 3, 9)]
    alone = [next(draw_track(track, range(k, k + 1), 3, 9)).tobytes() for k in (3, 1)]
    assert alone == [together[3], together[1]]
    assert len(set(together)) == 4


def test_occluders_hide_a_part_of_the_image_and_never_all_of_it() -> None:
    for k in range(8 * len(OCCLUDERS)):
        colour, coverage = draw_occluder(random.Random(k))
        assert colour.shape == (128, 64, 3)
        assert 0.005 < coverage.mean() < 0.5
        assert (colour <= 255.0 * coverage + 1.0).all()


def test_cameras_cast_different_colours_on_the_same_grey() -> None:
    means = np.stack([_grey_seen_by(camera) for camera in draw_cameras(6, 0)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=2)[~np.eye(6, dtype=bool)]
    assert apart.min() > 8.0
    assert apart.max() > 60.0


def _grey_seen_by(camera: Camera) -> np.ndarray:
    scene = np.full((128, 64, 3), 128.0, dtype=np.float32)
    image = Sensor(camera, noise_table(0)).record(scene, random.Random(0), 1.0)
    return np.asarray(image, dtype=np.float64).mean(axis=(0, 1))


def test_all_colours_are_bytes() -> None:
    assert all(0 <= level <= 255 for colour in COLORS.values() for level in colour)
