"""``crosscam watch`` and ``crosscam models get``, on a drawn video and a tiny network."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from in_process import Run

from crosscam.gallery import open_gallery
from crosscam.gallery.fragments import Fragment

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


def test_a_gallery_that_is_not_there_is_made(crosscam: Run, yard: Path) -> None:
    call = CALL.replace("--gallery g", "--gallery new")
    status, _, err = crosscam(f"{call} --network run")
    assert status == 0, err
    assert "note: new is new; it is for descriptors of" in err
    with open_gallery(yard / "new") as made, open_gallery(yard / "g") as other:
        assert made.model == other.model
        assert len(made) > 0
    assert "is in the gallery already" in crosscam(call)[2]
    assert crosscam("watch gone.mp4 --camera hall --gallery newer")[0] == 2
    assert not (yard / "newer").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("watch walk.mp4", "Nothing says where the people go. Give --gallery GALLERY, or --out FOLDER."),
        ("watch walk.mp4 --gallery g", "Nothing says which camera filmed this. Give --camera NAME."),
        (CALL.replace("2026-11-24T09:30+01:00", "soon"), "--start: 'soon' is not a valid time. Expected a date"),
        (CALL.replace("det.txt", "gone.onnx"), "No detector at gone.onnx."),
        (CALL.replace("det.txt", "walk.mp4"), "--detector 'walk.mp4': expected a YOLOX or SSD file"),
        (CALL.replace("walk.mp4", "gone.mp4"), "No video at gone.mp4. Expected a video file"),
        (CALL.replace("walk.mp4", "det.txt"), "det.txt is a text and not a video that can be read"),
        (CALL.replace("--gallery g", "--gallery people"), "No gallery at people."),
        (f"{CALL.replace('--gallery g', '--gallery h')} --network gone", "gone"),
        (CALL.replace("plain", "best"), "'best' is not a tracker. Known: auto, plain, bytetrack, ocsort."),
        (f"{CALL} --tiles 3", "--tiles '3': expected columns and rows such as 3x2"),
        (f"{CALL} --tiles 3x2", "Tiles are for a detector that looks at frames"),
        (CALL.replace("walk.mp4", "rtsp://127.0.0.1:9/x"), "rtsp://127.0.0.1:9/x is live"),
        ("watch walk.mp4 --out seen --detector det.txt --again", "--again is for a gallery"),
        ("watch rtsp://127.0.0.1:9/x --camera c --gallery g --detector det.txt --again", "--again is for videos"),
        ("watch walk.mp4 --out seen --detector det.txt --network run", "--network is for a gallery"),
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
    assert "note: hall: times count from the first frame" in err
    with open_gallery(yard / "g") as gallery:
        assert max(e.time or 0 for e in gallery.entries()) < 10


def test_crops_without_a_gallery(crosscam: Run, yard: Path) -> None:
    status, _, err = crosscam("watch walk.mp4 --out seen --detector det.txt --tracker plain")
    assert status == 0, err
    assert "60 frames, 5.9 s: 2 tracks with" in err
    assert (yard / "seen" / "tracks.txt").read_text().count("\n") == (yard / "det.txt").read_text().count("\n")


def test_drawn_videos_are_watched_by_the_file_that_comes_with_them(crosscam: Run, yard: Path) -> None:
    assert crosscam("data render drawn --video --ids 4 --seconds 2 --rate 5")[0] == 0
    (yard / "nobody.py").write_text(
        "import numpy as np\ndef people(frame):\n    return np.zeros((0, 4)), np.zeros(0)\n"
    )
    call = "watch drawn/cameras.toml --gallery g --detector nobody:people --json"
    text = (yard / "drawn" / "cameras.toml").read_text()
    (yard / "drawn" / "cameras.toml").write_text(text.replace("frame_rate = 5.0", "frame_rate = 4.0", 1))
    status, _, err = crosscam(call)
    assert (status, "A frame rate is for folders of frames." in err) == (2, True)
    (yard / "drawn" / "cameras.toml").write_text(text)
    status, out, err = crosscam(call)
    assert status == 0, err
    assert [found["frames"] for found in json.loads(out)] == [10, 10]


def test_several_cameras_in_a_file(crosscam: Run, yard: Path) -> None:
    from drawn_video import walk, write_video

    whole = "[[[0, 0], [400, 0], [400, 400], [0, 400]]]"
    write_video(yard / "other.mkv", walk(40, people=1)[0])
    (yard / "find.py").write_text(
        "import numpy as np\ndef people(frame):\n    return np.array([[100, 30, 160, 150]]), np.array([0.9])\n"
    )
    (yard / "cameras.toml").write_text(
        '[[camera]]\nname = "hall"\nsource = "walk.mp4"\nstart = 2026-11-24T08:30:00Z\n'
        f'[[camera]]\nname = "yard"\nsource = "other.mkv"\nstart = 2026-11-24T08:31:00Z\nzones = {whole}\n'
        '[[camera]]\nname = "gate"\nsource = "other.mkv"\nstart = 2026-11-24T08:31:00Z\n'
    )
    call = "watch cameras.toml --gallery g --detector find:people --tracker plain"
    status, _, err = crosscam(f"{call} --camera hall")
    assert (status, "Leave --camera, --start and --frame-rate out" in err) == (2, True)
    status, _, err = crosscam(call)
    assert (status, "of camera gate, has the content of" in err) == (2, True)
    write_video(yard / "other.mkv", walk(41, people=1)[0])
    text = (yard / "cameras.toml").read_text()
    (yard / "cameras.toml").write_text(
        text[: text.rindex("[[camera]]")].replace(", [9, 9]]", ", [400, 400], [0, 400]]")
    )
    status, _, err = crosscam(call.replace("find:people", "det.txt"))
    assert (status, "holds the boxes of one video" in err) == (2, True)
    status, out, err = crosscam(f"{call} --json")
    assert status == 0, err
    assert [found["complete"] for found in json.loads(out)] == [False, False]
    with open_gallery(yard / "g") as gallery:
        assert set(gallery.camera_names().values()) == {"hall", "yard"}
    # Another setting of the second camera is refused before the first is watched, here anew.
    write_video(yard / "walk.mp4", walk(39, people=1)[0])
    (yard / "cameras.toml").write_text((yard / "cameras.toml").read_text().replace("08:31", "08:32"))
    status, _, err = crosscam(call)
    assert (status, "other.mkv was watched with start 2026-11-24T08:31:00+00:00, and now it is" in err) == (2, True)
    with open_gallery(yard / "g") as gallery:
        assert len(gallery.document("watched")) == 2


class Camera(http.server.BaseHTTPRequestHandler):
    """Sends a video again and again, as a camera that never ends."""

    frames: tuple[bytes, float] = (b"", 0.0)

    def do_GET(self) -> None:
        data, seconds = self.frames
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for start in range(0, len(data), 1500):
                self.wfile.write(data[start : start + 1500])
                time.sleep(seconds)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_live_source_is_watched_until_ctrl_c(crosscam: Run, yard: Path) -> None:
    from drawn_video import walk, write_video

    data = write_video(yard / "v.ts", walk(60, people=2)[0]).read_bytes()
    Camera.frames = (data, 20 * 1500 / len(data))  # twenty seconds
    # Slower than the camera, and the one who ends it.
    (yard / "near.py").write_text(
        "import os, signal, time\nimport numpy as np\ncalls = []\n"
        "def people(frame):\n    calls.append(time.sleep(0.3))\n"
        "    if len(calls) == 15:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return np.array([[100, 30, 160, 150]]), np.array([0.9])\n"
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    timer = threading.Timer(60, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.time()
    try:
        address = f"http://me:secret@127.0.0.1:{server.server_port}/live"
        status, _, err = crosscam(f"watch {address} --camera gate --gallery g --detector near:people --tracker plain")
    finally:
        timer.cancel()
        server.shutdown()
    assert status == 0, err
    assert re.search(r"[0-9]+ frames? dropped", err)
    with open_gallery(yard / "g") as gallery:
        entries = gallery.entries()
    assert len(entries) > 0, "the person who was still in the view is written"
    place = Fragment.read(entries[0].path)
    assert place is not None
    assert place.live
    assert "secret" not in entries[0].path
    assert all(began < (e.time or 0) < time.time() for e in entries)
