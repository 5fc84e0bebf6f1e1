"""Drawn videos: the truth says who is where, and the images show it."""

from __future__ import annotations

import itertools
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.cli.main import main
from crosscam.data.crops import video_frames
from crosscam.data.synthetic.videos import VideoSummary, render_videos
from crosscam.data.synthetic.walks import plan_walks
from crosscam.errors import DataError
from crosscam.video.cameras import read_cameras


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> VideoSummary:
    """Two cameras for 12 seconds at 5 frames a second, as frames."""
    return render_videos(tmp_path_factory.mktemp("drawn") / "videos", seconds=12, rate=5, as_frames=True, seed=3)


def truth(out: Path, camera: str) -> list[list[float]]:
    lines = (out / camera / "gt" / "gt.txt").read_text(encoding="utf-8").splitlines()
    return [list(map(float, line.split(","))) for line in lines]


def test_people_have_one_number_at_all_cameras(drawn: VideoSummary) -> None:
    seen = {camera: {int(row[1]) for row in truth(drawn.out, camera)} for camera in drawn.cameras}
    both = seen["gate"] & seen["hall"]
    assert len(both) == drawn.across >= 4
    assert len(seen["gate"] | seen["hall"]) == drawn.people
    assert sum(len(truth(drawn.out, camera)) for camera in drawn.cameras) == drawn.boxes


def test_truth_is_where_the_image_changes(drawn: VideoSummary) -> None:
    """A fully visible person differs from the same place without anybody; elsewhere there is noise alone."""
    rows = truth(drawn.out, "gate")
    by_frame = defaultdict(list)
    for row in rows:
        by_frame[int(row[0])].append(row)
    images = {
        number: np.asarray(Image.open(drawn.out / "gate" / "img1" / f"{number:06d}.jpg"), np.float64)
        for number in range(1, drawn.frames + 1)
    }
    usual = np.median(np.stack(list(images.values())[::3]), axis=0)
    compared = 0
    for number, boxes in by_frame.items():
        outside = np.ones(usual.shape[:2], bool)
        change = np.abs(images[number] - usual).mean(axis=2)
        for _, _, left, top, width, height, *_ in boxes:
            margin = 30  # of the shadows
            right, bottom = int(left + width), int(top + height)
            rows_, columns = slice(max(0, int(top)), bottom), slice(max(0, int(left)), right)
            around = slice(max(0, int(top) - margin), bottom + margin)
            outside[around, max(0, int(left) - margin) : right + margin] = False
            compared += 1
            if width * height > 1000 and left > 0 and left + width < 640:
                assert change[rows_, columns].mean() > 1.5 * change[outside].mean()
    assert compared == len(rows)
    assert all(0 < row[8] <= 1 for row in rows)
    assert any(row[8] < 0.8 for row in rows), "somebody is hidden in part"


def test_people_come_and_go(drawn: VideoSummary) -> None:
    for camera in drawn.cameras:
        frames = defaultdict(list)
        for row in truth(drawn.out, camera):
            frames[int(row[1])].append(int(row[0]))
        assert any(min(some) > 1 for some in frames.values())
        assert any(max(some) < drawn.frames for some in frames.values())


def test_the_same_seed_draws_the_same(drawn: VideoSummary, tmp_path: Path) -> None:
    again = render_videos(tmp_path / "again", seconds=12, rate=5, as_frames=True, seed=3)
    for file in sorted(drawn.out.rglob("*.*")):
        if file.is_file():
            assert file.read_bytes() == (again.out / file.relative_to(drawn.out)).read_bytes(), file.name
    assert plan_walks(8, 2, 12, 3) != plan_walks(8, 2, 12, 4)


def test_walks_keep_to_their_cameras_and_in_order() -> None:
    walks = plan_walks(40, 4, 120.0, 1)
    by_person = defaultdict(list)
    for walk in walks:
        by_person[walk.pid].append(walk)
    assert len(by_person) == 40
    for mine in by_person.values():
        for one, other in itertools.pairwise(mine):
            assert abs(one.camera - other.camera) == 1
            assert 2.0 < other.enter - one.leave < 8.0


def test_a_video_and_its_cameras_file(tmp_path: Path) -> None:
    pytest.importorskip("av")
    found = render_videos(tmp_path / "videos", seconds=1, rate=5, cameras=1, people=4)
    frames = list(video_frames(found.out / "gate.mp4"))
    assert len(frames) == 5
    assert frames[0].shape == (360, 640, 3)
    (watched,) = read_cameras(found.out / "cameras.toml")
    assert Path(watched.source) == found.out / "gate.mp4"
    assert watched.start is not None
    (camera,) = tomllib.loads((found.out / "cameras.toml").read_text(encoding="utf-8"))["camera"]
    assert (camera["name"], camera["source"], camera["frame_rate"]) == ("gate", "gate.mp4", 5.0)
    with pytest.raises(DataError, match="not an empty folder"):
        render_videos(tmp_path / "videos")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--frames"], "--frames means nothing without --video"),
        (["--video", "--images", "3"], "--images means nothing with --video"),
        (["--video", "--ids", "2"], "people must be from 4"),
        (["--video", "--rate", "0"], "rate must be from 1 to 60"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["data", "render", str(tmp_path / "x"), *words])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
