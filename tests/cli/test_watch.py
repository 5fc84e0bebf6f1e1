"""``crosscam watch`` and ``crosscam models get``, on a drawn video and a tiny network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from in_process import Run

from crosscam.gallery import open_gallery
from crosscam.video.fragments import Fragment

pytest.importorskip("av")
pytest.importorskip("scipy")
sys.path.append(str(Path(__file__).parents[1] / "video"))

CALL = "watch walk.mp4 --camera hall --gallery g --detector det.txt --tracker plain --start 2026-11-24T09:30+01:00"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video and its det.txt."""
    from drawn_video import walk, write_det, write_video

    folder = tmp_path_factory.mktemp("walk")
    frames, truth = walk(60, people=2)
    write_video(folder / "walk.mp4", frames)
    write_det(folder / "det.txt", truth)
    return folder


@pytest.fixture
def yard(place: Path, drawn: Path, crosscam: Run) -> Path:
    """A working folder with the video, and an empty gallery ``g`` for the network ``run``."""
    for path in drawn.iterdir():
        shutil.copy(path, place)
    assert crosscam("gallery create g run")[0] == 0
    return place


def test_a_video_is_watched_once(crosscam: Run, yard: Path) -> None:
    status, out, err = crosscam(f"{CALL} --json --out seen")
    assert status == 0, err
    told = json.loads(out)
    assert (told["frames"], told["tracks"], told["known"], told["complete"]) == (60, 2, 0, False)
    with open_gallery(yard / "g") as gallery:
        entries = gallery.entries()
        assert len(entries) == told["crops"]
        assert gallery.camera_names() == {1: "hall"}
        place = Fragment.read(entries[0].path)
        assert place is not None
        assert entries[0].time == pytest.approx(1795509000 + place.seconds)
        assert {e.track for e in entries} == {f"{told['key']}-0001", f"{told['key']}-0002"}
    assert len(list((yard / "seen" / "crops").iterdir())) == told["crops"]
    status, _, err = crosscam(CALL)
    assert status == 0
    assert "is in the gallery already" in err
    status, _, err = crosscam(f"{CALL} --again")
    assert "2 tracks with" in err
    status, out, _ = crosscam(f"gallery search g {next((yard / 'people' / 'query').glob('*.jpg'))} --k 1 --json")
    assert status == 0, "what was watched can be searched"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("watch walk.mp4", "Nothing says where the people go. Give --gallery GALLERY, or --out FOLDER."),
        ("watch walk.mp4 --gallery g", "Nothing says which camera filmed this. Give --camera NAME."),
        (CALL.replace("2026-11-24T09:30+01:00", "soon"), "--start: 'soon' is no time. Expected a date"),
        (CALL.replace("det.txt", "gone.onnx"), "No detector at gone.onnx."),
        (CALL.replace("det.txt", "walk.mp4"), "--detector 'walk.mp4': expected a YOLOX or SSD file"),
        (CALL.replace("walk.mp4", "gone.mp4"), "No video at gone.mp4. Expected a video file"),
        (CALL.replace("walk.mp4", "det.txt"), "det.txt is a text and not a video that can be read"),
        (CALL.replace("--gallery g", "--gallery h"), "h"),
        (CALL.replace("plain", "best"), "'best' is not a tracker. Known: auto, plain, bytetrack, ocsort."),
        (f"{CALL} --tiles 3", "--tiles '3': expected columns and rows such as 3x2"),
        (f"{CALL} --crops 0", "crops must be from 1 to 100, got 0."),
        (f"{CALL} --network rrid-mini", "was built with"),
        (CALL.replace("--detector det.txt", ""), "'crosscam models get person-detector' fetches one"),
        ("models get person-detector --wheel det.txt", "det.txt is not the wheel of"),
    ],
)
def test_mistakes_are_one_line(
    crosscam: Run, yard: Path, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.setenv("CROSSCAM_DATA", str(yard / "data"))
    status, out, err = crosscam(command)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (status, len(lines), out) == (2, 1, ""), err
    assert said in lines[0]


def test_without_a_start_times_count_from_the_first_frame(crosscam: Run, yard: Path) -> None:
    status, _, err = crosscam(CALL.partition(" --start")[0])
    assert status == 0, err
    assert "note: times count from the first frame" in err
    with open_gallery(yard / "g") as gallery:
        assert max(e.time or 0 for e in gallery.entries()) < 10


def test_crops_without_a_gallery(crosscam: Run, yard: Path) -> None:
    status, _, err = crosscam("watch walk.mp4 --out seen --detector det.txt --tracker plain")
    assert status == 0, err
    assert "60 frames, 5.9 s: 2 tracks with" in err
    assert (yard / "seen" / "tracks.txt").read_text().count("\n") == (yard / "det.txt").read_text().count("\n")
