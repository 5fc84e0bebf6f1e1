"""Videos, folders and tables that are not as expected: each ends right, or with one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from drawn_video import RATE, Boxes, MeanColors, new_gallery, write_video
from numpy.typing import NDArray
from PIL import Image

from crosscam.errors import ArgumentError, DataError, EngineError, GalleryError
from crosscam.gallery.journeys import read_journeys
from crosscam.gallery.judging import LinkOptions
from crosscam.gallery.link_runs import link_gallery
from crosscam.system.text import read_time
from crosscam.video.cameras import Camera, Zones, check_apart, folders_of, read_cameras
from crosscam.video.decoding import VideoFile
from crosscam.video.detections import as_detections
from crosscam.video.live import open_source
from crosscam.video.opening import open_detector
from crosscam.video.watching import watch

Walkers = tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]
IMAGE = np.full((24, 32, 3), 90, np.uint8)


def images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        Image.fromarray(IMAGE).save(folder / name)
    return folder


def seconds_of(folder: Path, rate: float | None = None) -> list[float]:
    return [round(frame.seconds, 6) for frame in open_source(str(folder), frame_rate=rate).frames()]


def test_a_photograph_is_no_video(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.bmp", "a.webp", "a.tiff"):
        Image.fromarray(IMAGE).save(tmp_path / name)
        with pytest.raises(DataError, match="is one image, in which nobody can be followed"):
            open_source(str(tmp_path / name))


def test_a_folder_of_videos_with_an_image_is_no_folder_of_frames(tmp_path: Path) -> None:
    folder = images(tmp_path / "day", ["cover.jpg"])
    (folder / "hall.mp4").touch()
    with pytest.raises(DataError, match=r"holds one image.*It holds videos, such as hall\.mp4: give one"):
        open_source(str(folder))
    Image.fromarray(IMAGE).save(folder / "yard.jpg")
    assert "holds videos beside frames, such as hall.mp4" in open_source(str(folder)).notes[0]


def test_folders_of_frames_without_compression_are_told_apart(tmp_path: Path) -> None:
    sources = []
    for place, level in (("hall", 90), ("yard", 91), ("copy", 90)):
        (tmp_path / place).mkdir()
        for number in (1, 2, 3):
            image = np.full((24, 32, 3), level if number == 2 else 0, np.uint8)
            Image.fromarray(image).save(tmp_path / place / f"{number:06}.bmp")
        sources.append(open_source(str(tmp_path / place)))
    assert sources[0].key != sources[1].key
    assert sources[0].key == sources[2].key


def test_stamps_that_begin_late_are_no_missing_end(tmp_path: Path) -> None:
    source = VideoFile(write_video(tmp_path / "v.mkv", [IMAGE] * 5, [10**8 + 100 * k for k in range(5)]))
    assert [round(frame.seconds, 3) for frame in source.frames()] == [0, 0.1, 0.2, 0.3, 0.4]
    assert source.notes == []


def test_a_stretch_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Damage that Matroska passes over in silence; a video in which nothing happens for as long is sound."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    data = bytearray(write_video(tmp_path / "v.mkv", frames).read_bytes())
    data[len(data) // 3 : len(data) // 3 + len(data) // 5] = bytes(len(data) // 5)
    (tmp_path / "damaged.mkv").write_bytes(data)
    source = VideoFile(tmp_path / "damaged.mkv")
    assert 60 < len(list(source.frames())) < 90
    assert re.match(r"damaged\.mkv is damaged: nothing from \d\.\d s to \d\.\d s can be read\.", source.notes[0])
    stamps = [100 * k + 9000 * (k > 50) for k in range(100)]
    for place in (tmp_path / "v.mkv", write_video(tmp_path / "still.mkv", frames, stamps)):
        source = VideoFile(place)
        assert len(list(source.frames())) == 100
        assert source.notes == []


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "gray10le"), ("libx264", "yuv420p10le"), ("libx264", "yuv444p")]
)
def test_gray_ten_bit_and_odd_sizes(tmp_path: Path, codec: str, pixels: str) -> None:
    size = (23, 31) if pixels != "yuv420p10le" else (24, 32)
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for level in (0, 128, 255):
            image = np.full((*size, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    frames = [frame.pixels for frame in VideoFile(tmp_path / "v.mkv").frames()]
    assert [frame.shape for frame in frames] == [(*size, 3)] * 3
    assert [round(float(frame.mean())) for frame in frames] == pytest.approx([0, 128, 255], abs=3)


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound: Any = container.add_stream("aac", rate=44_100)
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44_100
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with pytest.raises(DataError, match="holds no video"):
        VideoFile(tmp_path / "song.mp4")


def test_a_gallery_of_an_earlier_version_says_why_times_of_frames_differ(tmp_path: Path) -> None:
    clock = images(tmp_path / "clock", [f"{1_700_000_000_000 + 40 * k}.png" for k in range(4)])
    given: dict[str, Any] = {"extractor": MeanColors(), "camera": "c"}
    with new_gallery(tmp_path / "g") as gallery:
        source = open_source(str(clock))
        watch(source, Boxes([np.zeros((0, 5))] * 4), gallery=gallery, **given)
        (record,) = gallery.document("watched").values()
        record["how"]["start"] = None
        gallery.set_document("watched", {source.key: record})
        with pytest.raises(GalleryError, match="by an earlier version, which did not read the times in the names"):
            watch(source, Boxes([np.zeros((0, 5))] * 4), gallery=gallery, **given)
        watch(source, Boxes([np.zeros((0, 5))] * 4), gallery=gallery, again=True, **given)
        assert watch(source, Boxes([np.zeros((0, 5))] * 4), gallery=gallery, **given).complete


def test_the_times_of_a_folder(tmp_path: Path) -> None:
    assert seconds_of(images(tmp_path / "gaps", ["1.png", "2.png", "11.png"]), 10) == [0, 0.1, 1.0]
    assert seconds_of(images(tmp_path / "twice", ["1.png", "01.png", "2.png"]), 10) == [0, 0.1, 0.2]
    clock = images(tmp_path / "clock", [f"{1_700_000_000_000 + 40 * k * k}.png" for k in range(4)])
    assert seconds_of(clock) == [0, 0.04, 0.16, 0.36], "names in milliseconds"
    assert open_source(str(clock)).notes == []
    assert "--frame-rate" in open_source(str(tmp_path / "gaps")).notes[0]
    assert open_source(str(clock)).begun == 1.7e9  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="frame rate is 0"):
        open_source(str(clock), frame_rate=0)
    with pytest.raises(ArgumentError, match="names of its frames are times, so a frame rate of 10 does not count"):
        open_source(str(clock), frame_rate=10)
    padded = images(tmp_path / "padded", [f"{k:010}.png" for k in range(3)])
    assert seconds_of(padded, 10) == [0, 0.1, 0.2], "a counter of ten digits is not a time of 1970"
    (padded / "seqinfo.ini").write_text("[Sequence]\nframeRate=5\n")
    assert seconds_of(padded) == seconds_of(padded, 5) == [0, 0.2, 0.4]
    with pytest.raises(ArgumentError, match=r"seqinfo.ini says 5 a second"):
        open_source(str(padded), frame_rate=10)


def test_a_folder_of_videos_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds videos, such as a\.mp4"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e30", "-1e12"])
def test_a_time_that_no_date_tells_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="not a valid time"):
        read_time(text, "--start")
    assert read_time("1.7e9", "--start") == 1.7e9


def test_a_table_of_cameras(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"

    def read(text: str) -> tuple[Camera, ...]:
        file.write_text(text, encoding="utf-8")
        return read_cameras(file)

    one = '[[camera]]\nname = "a"\nsource = "a.mp4"\n'
    assert read(f"\ufeff{one}")[0].name == "a", "as editors of Windows write it"
    for text, told in (
        (one.replace("[[", "[").replace("]]", "]"), r"Write \[\[camera\]\]"),
        (f"{one}start = nan\n", "not a valid time"),
        (f"{one}frame_rate = true\n", "frame_rate is True"),
    ):
        with pytest.raises(ArgumentError, match=told):
            read(text)


def test_each_camera_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = ["hall", "Hall", "../up", "/etc", "..", "hall"]
    folders = folders_of(tmp_path, [Camera(name, "v.mp4") for name in names])
    assert [f and f.name for f in folders] == ["hall", "Hall-2", "_up", "_etc", "camera", "hall-3"]
    assert {f and f.parent for f in folders} == {tmp_path}
    assert folders_of(tmp_path, [Camera("..", "v.mp4")]) == [tmp_path]
    assert folders_of(None, [Camera("a", "v"), Camera("b", "w")]) == [None, None]


def test_one_video_at_two_cameras_is_refused_before_it_is_watched(video: Path) -> None:
    source = open_source(str(video))
    check_apart([Camera("a", "v.mp4", 5.0)] * 2, [source, source])
    for other in (Camera("b", "w.mp4", 5.0), Camera("a", "w.mp4", 6.0)):
        with pytest.raises(ArgumentError, match=r"w\.mp4, of camera ., has the content of v\.mp4"):
            check_apart([Camera("a", "v.mp4", 5.0), other], [source, source])
    live = [open_source("rtsp://me:secret@127.0.0.1:9/x") for _ in range(2)]
    with pytest.raises(ArgumentError, match=r"rtsp://127\.0\.0\.1:9/x is the source of camera a and b\. Give it once"):
        check_apart([Camera("a", "rtsp://me:secret@127.0.0.1:9/x"), Camera("b", "rtsp://127.0.0.1:9/x")], live)


def test_a_detector_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_finder.py").write_text("def find(frame):\n    raise KeyError('x')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=r"my_finder:find failed \(KeyError: 'x'\)"):
        open_detector("my_finder:find")(IMAGE)
    with pytest.raises(ArgumentError, match="the box 300, 100, 40, 120"):
        as_detections(np.array([[300, 100, 40, 120]]))


def test_zones_outside_the_frame_are_told(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    notes: list[str] = []
    zone = Zones((((5000, 5000), (5009, 5000), (5009, 5009)),))
    watch(open_source(str(video)), Boxes(walkers[1]), out=tmp_path / "o", zone=zone, note=notes.append)
    assert len(notes) == 1
    assert "no zone lies in the frame, of 320 x 192 px" in notes[0]
    assert zone.meets(6000, 6000)


def test_two_videos_of_a_camera_may_overlap_in_time(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    """A recorder's files share some seconds; and where no start is given, all videos seem to begin at once."""
    later = write_video(tmp_path / "later.mp4", walkers[0][20:], options={"movflags": "faststart"})
    extractor: Any = MeanColors()
    with new_gallery(tmp_path / "g") as gallery:
        given: dict[str, Any] = {"extractor": extractor, "camera": "hall", "gallery": gallery}
        watch(open_source(str(video)), Boxes(walkers[1]), start=1.7e9, **given)
        watch(open_source(str(later)), Boxes(walkers[1][20:]), start=1.7e9 + 2, **given)
        link_gallery(gallery, LinkOptions(distance=0.3, same=0.6))
        people = read_journeys(gallery).people
    assert len(people) == 3
    assert sorted(len(person.tracks) for person in people)[-1] == 2
