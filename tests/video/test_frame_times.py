"""Times of frames where stamps are missing, jump or begin anew, and what a file's beginning and end tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from drawn_video import RATE, write_video

from crosscam.video.decoding import VideoFile
from crosscam.video.frame_times import Stamps

IMAGE = np.full((48, 64, 3), 90, np.uint8)


def told(path: Path) -> tuple[list[float], list[str]]:
    """The times of the frames, and the notes."""
    source = VideoFile(path)
    return [round(frame.seconds, 3) for frame in source.frames()], source.notes


def test_times_count_on_where_stamps_are_missing_or_begin_anew() -> None:
    def seconds(*given: float | None) -> list[float]:
        stamps = Stamps(0.1)
        return [round(stamps.seconds(stamp), 3) for stamp in given]

    assert seconds(5.0, 5.1, 5.3) == [0, 0.1, 0.3]
    assert seconds(None, None, 7.0, 7.1) == [0, 0.1, 0.2, 0.3]
    assert seconds(0.0, 0.1, None, 0.3) == [0, 0.1, 0.2, 0.3]
    assert seconds(0.0, 0.4, 0.3, 0.5) == [0, 0.4, 0.4, 0.5], "a little back is no new beginning"
    assert seconds(0.0, 3.0, 0.0, 0.2, 3.1) == [0, 3.0, 3.1, 3.3, 6.2]
    assert seconds(-3.0, -2.9, 3600.0) == [0, 0.1, 3603.0], "a camera that films motion alone"


def test_joined_recordings_go_on(tmp_path: Path) -> None:
    """Each part begins at 0: what came after the first one had one time, and so was one track of no length."""
    data = write_video(tmp_path / "v.ts", [IMAGE] * 30).read_bytes()
    (tmp_path / "joined.ts").write_bytes(data * 2)
    seconds, notes = told(tmp_path / "joined.ts")
    assert seconds == pytest.approx([k / RATE for k in range(60)], abs=0.1), "the rate of the file is a guess"
    assert min(np.diff(seconds)) > 0
    assert [note.startswith("joined.ts: its times jump back after 2.9 s, as where") for note in notes] == [True]
    assert told(tmp_path / "v.ts")[1] == []


def test_a_beginning_that_cannot_be_decoded_is_told(tmp_path: Path) -> None:
    """A recording cut out of a stream begins between two key frames: the clock starts at the second one."""
    path = tmp_path / "v.ts"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"g": "30", "sc_threshold": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(70):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(stream.encode())
    assert told(path)[1] == []
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 7) :])
    seconds, notes = told(path)
    assert seconds == pytest.approx([k / RATE for k in range(40)])
    assert len(notes) == 1
    assert notes[0].startswith("v.ts: its first ")
    assert notes[0].endswith(" s cannot be decoded. Times count from the first frame that can.")


def test_an_avi_that_breaks_off_is_told(tmp_path: Path) -> None:
    """FFmpeg takes the length of what is there for the length of the file."""
    noise = np.random.default_rng(0).integers(0, 255, (75, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "v.avi", list(noise))
    assert told(path)[1] == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seconds, notes = told(path)
    assert notes == [f"v.avi ends at {seconds[-1]:.1f} s, but its header says 7.5 s; what is there is kept."]


def test_streams_without_times_and_second_videos_are_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.h264"), "w", format="h264") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(stream.encode())
    seconds, notes = told(tmp_path / "v.h264")
    assert seconds == [0, 0.04, 0.08, 0.12, 0.16]
    assert notes == ["v.h264 (h264) tells no times: 25 frames a second count."]
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        for _ in range(2):
            stream = container.add_stream("mjpeg", rate=RATE)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for stream in container.streams.video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
            container.mux(stream.encode())
    assert told(tmp_path / "v.mkv")[1] == ["v.mkv holds 2 videos: only the first one counts."]
