"""Several cameras in a file, and zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.errors import ArgumentError
from crosscam.video.cameras import Camera, Zones, contains, read_cameras
from crosscam.video.detections import as_detections


def test_cameras_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text(
        '[[camera]]\nname = "hall"\nsource = "hall.mp4"\nstart = 2026-11-24T08:30:00Z\n'
        '[[camera]]\nname = 3\nsource = "rtsp://x/1"\nstart = "2026-11-24 09:30"\n'
        "zones = [[[0, 0], [9, 0], [9, 9.5]]]\n"
    )
    zones = Zones((((0.0, 0.0), (9.0, 0.0), (9.0, 9.5)),))
    assert read_cameras(path) == (
        Camera("hall", str(tmp_path / "hall.mp4"), 1795509000.0),
        Camera("3", "rtsp://x/1", 1795512600.0, zones),
    )
    assert str(zones) == "[[[0.0, 0.0], [9.0, 0.0], [9.0, 9.5]]]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[camera", "cannot be read"),
        ("", r"expected a \[\[camera\]\] table"),
        ('[[camera]]\nname = "a"\n', "camera 1: expected a name and a source"),
        ('[[camera]]\nname = "a"\nsource = "v"\nstrat = 1\n', "unknown key 'strat'. Did you mean start"),
        ('[[camera]]\nname = "a"\nsource = "v"\nstart = "soon"\n', "camera 1: start: 'soon' is not a valid time"),
        ('[[camera]]\nname = "a"\nsource = "v"\nzones = [[0, 0], [1, 1]]\n', "camera 1: zones are polygons"),
        (
            '[[camera]]\nname = "a"\nsource = "v"\nzones = [[[0, 0], [1, 0], [1, 0.5]]]\n',
            "camera 1: zones are polygons",
        ),
        (
            '[[camera]]\nname = "a"\nsource = "v"\nstart = "2h"\n',
            r"start: '2h' is not a valid time.*08:30\+01:00, or sec",
        ),
        ('[[camera]]\nname = "nan"\nsource = "v"\n', "camera 1: 'nan' is not a valid camera name"),
        ('[[camera]]\nname = "a\\nb"\nsource = "v"\n', "camera 1: 'a.nb' is not a valid camera name: it has a line"),
    ],
)
def test_mistakes_name_the_camera(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ArgumentError, match=said):
        read_cameras(tmp_path / "c.toml")


def test_people_count_whose_feet_are_in_a_zone() -> None:
    zones = Zones((((0, 50), (100, 50), (100, 100), (0, 100)), ((200, 0), (300, 0), (250, 100))))
    boxes = np.array([[10, 0, 30, 60], [10, 0, 30, 40], [240, 0, 260, 50], [200, 0, 220, 90]], dtype=float)
    assert zones.inside(as_detections(boxes)).boxes.tolist() == boxes[[0, 2]].tolist()
    # A polygon with a notch, against the winding of every side seen from the point.
    notched = np.array([[0, 0], [10, 0], [10, 10], [5, 4], [0, 10]], dtype=float)
    points = np.random.default_rng(0).uniform(-2, 12, (500, 2))
    angles = []
    for p in points:
        rays = np.arctan2(*(notched - p).T[::-1])
        turns = (np.diff(np.append(rays, rays[0])) + np.pi) % (2 * np.pi) - np.pi
        angles.append(abs(turns.sum()) > 1)
    assert contains(notched, points).tolist() == angles
