"""Frames with their times: variable rates, turned and broken files, folders, live sources."""

from __future__ import annotations

import http.server
import os
import struct
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_video import RATE, write_video
from PIL import Image

from crosscam.errors import DataError
from crosscam.video.decoding import VideoFile, without_password
from crosscam.video.live import FrameFolder, LiveSource, open_source


def test_times_come_from_the_presentation_stamps(walkers: tuple[list, list], tmp_path: Path) -> None:
    stamps = [0, 40, 80, 500, 540, 2000]
    write_video(tmp_path / "v.mkv", walkers[0][:6], stamps)
    frames = list(VideoFile(tmp_path / "v.mkv").frames())
    assert [round(1000 * f.seconds) for f in frames] == stamps
    assert [f.number for f in frames] == list(range(6))


def test_a_lower_rate_takes_frames_by_their_time(video: Path) -> None:
    frames = list(VideoFile(video).frames(rate=4))
    assert [f.number for f in frames][:5] == [0, 3, 5, 8, 10], "4 of 10 frames a second"
    whole = list(VideoFile(video).frames())
    assert np.array_equal(frames[1].pixels, whole[3].pixels)


def test_a_turned_video_comes_upright(walkers: tuple[list, list], tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", walkers[0][:3])
    flat = next(VideoFile(path).frames()).pixels
    data = path.read_bytes()
    place = data.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    quarter = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:place] + quarter + data[place + 36 :])
    turned = next(VideoFile(path).frames()).pixels
    assert np.array_equal(turned, np.rot90(flat, -1))


@pytest.mark.parametrize("name", ["v.mkv", "v.ts"])
def test_what_comes_before_a_broken_end_is_kept_and_the_time_is_told(
    walkers: tuple[list, list], tmp_path: Path, name: str
) -> None:
    path = write_video(tmp_path / name, walkers[0])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + (b"" if name == "v.mkv" else os.urandom(2000)))
    source = VideoFile(path)
    frames = list(source.frames())
    assert 20 < len(frames) < 60
    if name == "v.mkv":  # its header says how long it was
        (note,) = source.notes
        assert f"ends at {frames[-1].seconds:.1f} s" in note


def test_damage_in_the_middle_is_told_with_its_time(walkers: tuple[list, list], tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", walkers[0])
    data = bytearray(path.read_bytes())
    start, end = len(data) // 3, len(data) // 2
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    source = VideoFile(path)
    frames = list(source.frames())
    assert len(frames) > 40, "what comes after the damage is read as well"
    assert len(source.notes) == 1
    assert "damaged after" in source.notes[0]


def test_a_file_without_its_end_and_index_is_one_line(walkers: tuple[list, list], tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", walkers[0])
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"v\.mp4 is not a video that can be read"):
        VideoFile(path)
    for name, text in (("a.mp4", "no video"), ("a.txt", "1,-1,5,5,20,20,1\n" * 9), ("a.m3u8", "#EXTM3U\nv.mp4\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"is (a text and )?not a video that can be read"):
            open_source(str(tmp_path / name))
    with pytest.raises(DataError, match=r"No video at .*gone\.mp4"):
        open_source(str(tmp_path / "gone.mp4"))


def test_a_folder_of_frames_is_a_video(walkers: tuple[list, list], tmp_path: Path) -> None:
    folder = tmp_path / "MOT"
    (folder / "img1").mkdir(parents=True)
    for number in (1, 2, 4, 11):
        Image.fromarray(walkers[0][number - 1]).save(folder / "img1" / f"{number:06d}.png")
    source = open_source(str(folder))
    assert "no seqinfo.ini" in source.notes[0]
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=MOT\nframeRate=20\n")
    source = open_source(str(folder))
    frames = list(source.frames())
    assert [f.number for f in frames] == [0, 1, 3, 10]
    assert [f.seconds for f in frames] == [0, 0.05, 0.15, 0.5]
    assert np.array_equal(frames[3].pixels, walkers[0][10])
    assert source.notes == []
    (folder / "img1" / "000002.png").write_bytes(b"torn")
    source = FrameFolder(folder / "img1")
    assert [f.number for f in source.frames()] == [0, 3, 10]
    assert "frame 1 is left out" in source.notes[0]


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no frames"):
        open_source(str(tmp_path))


def test_a_key_is_of_the_content(video: Path, tmp_path: Path) -> None:
    (tmp_path / "other name.mp4").write_bytes(video.read_bytes())
    assert VideoFile(tmp_path / "other name.mp4").key == VideoFile(video).key
    (tmp_path / "other.mp4").write_bytes(video.read_bytes() + b"x")
    assert VideoFile(tmp_path / "other.mp4").key != VideoFile(video).key


def test_a_password_is_neither_shown_nor_kept() -> None:
    assert without_password("rtsp://me:secret@10.0.0.7:554/a@b") == "rtsp://10.0.0.7:554/a@b"
    source = LiveSource("rtsp://me:secret@127.0.0.1:1/x", lambda: False)
    assert source.name == "rtsp://127.0.0.1:1/x"
    with pytest.raises(DataError) as caught:
        list(source.frames())
    assert "secret" not in str(caught.value)


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends a stream in pieces, as a camera does."""

    data = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for start in range(0, len(self.data), 4000):
            self.wfile.write(self.data[start : start + 4000])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_live_source_drops_what_is_not_taken_in_time(walkers: tuple[list, list], tmp_path: Path) -> None:
    Slow.data = write_video(tmp_path / "v.ts", walkers[0]).read_bytes()
    server = http.server.HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = open_source(f"http://127.0.0.1:{server.server_port}/live.ts")
        assert source.live
        frames = []
        for frame in source.frames():
            frames.append(frame)
            threading.Event().wait(0.05)  # slower than the stream
    finally:
        server.shutdown()
    assert 1 <= len(frames) < len(walkers[0])
    assert len(frames) + source.dropped == frames[-1].number + 1 >= len(walkers[0]) - 2
    assert all(a.seconds < b.seconds for a, b in pairwise(frames))
    assert RATE == 10
