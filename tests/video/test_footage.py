"""Back from an entry to its video: the very frame that was watched, its box, and a clip around the track."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_video import RATE, Boxes, MeanColors, new_gallery, write_video
from numpy.typing import NDArray
from PIL import Image

from crosscam.errors import DataError
from crosscam.gallery import Gallery, open_gallery
from crosscam.gallery.fragments import Fragment
from crosscam.video import footage
from crosscam.video.decoding import VideoFile
from crosscam.video.footage import clip_of, frame_of, span_of, videos_of, with_box
from crosscam.video.live import open_source
from crosscam.video.tracks import WatchSettings
from crosscam.video.watching import watch

Walkers = tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]


def at(video: Path, frame: int, seconds: float) -> Fragment:
    return Fragment(str(video), round(seconds, 3), (10, 20, 30, 60), frame, (0.0, 3.0))


def turned(path: Path) -> Path:
    data = path.read_bytes()
    place = data.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    quarter = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:place] + quarter + data[place + 36 :])
    return path


@pytest.mark.parametrize("kind", ["plain.mp4", "uneven.mkv", "turned.mp4", "raw.m4v"])
def test_a_frame_is_the_one_that_was_watched(walkers: Walkers, tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(17, 333, 40)).tolist() if kind == "uneven.mkv" else None
    path = write_video(tmp_path / kind, walkers[0][:40], stamps)
    if kind == "turned.mp4":
        turned(path)
    watched = list(VideoFile(path).frames())
    assert len(watched) == 40
    for frame in watched[::3]:
        found = frame_of(path, at(path, frame.number, frame.seconds))
        assert np.array_equal(found, frame.pixels), frame.number
    with pytest.raises(DataError, match="no frame at 99"):
        frame_of(path, at(path, 999, 99.0))


def test_the_box_is_drawn_around_the_person() -> None:
    pixels = np.full((120, 90, 3), 120, np.uint8)
    drawn = np.asarray(Image.open(io.BytesIO(with_box(pixels, at(Path("v"), 0, 0.0)))), np.int16)
    changed = np.abs(drawn - 120).max(axis=2) > 40
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (columns[0], rows[0]) >= (10 - 4, 20 - 4)
    assert (columns[-1], rows[-1]) <= (40 + 4, 80 + 4)
    assert not changed[26:74, 16:34].any(), "the person is not covered"


def test_a_clip_holds_the_track_and_plays_from_its_beginning(walkers: Walkers, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", walkers[0], codec="libx264")
    fragment = Fragment(str(video), 4.0, (1, 2, 30, 60), 40, (3.0, 5.0))
    with av.open(io.BytesIO(clip_of(video, fragment))) as clip:
        times = [float(frame.time or 0) for frame in clip.decode(video=0)]
        assert not clip.streams.audio
    assert times[0] == 0
    assert 4.0 <= times[-1] < 4.45, "from 2 s to 6 s, and the frames that others were made of"
    whole = [frame.pixels for frame in VideoFile(video).frames()]
    with av.open(io.BytesIO(clip_of(video, fragment))) as clip:
        first = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    same = [number for number, pixels in enumerate(whole) if np.array_equal(first, pixels)]
    assert 2 * RATE in same, "not at the key frame before"
    long = Fragment(str(video), 100.0, (1, 2, 30, 60), 0, (0.0, 299.0))
    assert span_of(long) == (70.0, 130.0)


@pytest.mark.parametrize(("name", "codec"), [("v.mkv", "libx264"), ("v.ts", "libx264"), ("m.ts", "mpeg2video")])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.5, 1.0)])
def test_a_clip_has_every_frame_of_its_time(
    walkers: Walkers, tmp_path: Path, name: str, codec: str, start: float, end: float
) -> None:
    """Matroska tells no time of decoding for the first packets, key frames among them; a TS is searched by guessing."""
    stamps = [40 * number for number in range(75)]
    video = write_video(tmp_path / name, walkers[0], stamps if codec == "libx264" else None, codec=codec)
    seconds = [frame.seconds for frame in VideoFile(video).frames()]
    step = seconds[1] - seconds[0]
    start, end = start * seconds[-1], end * seconds[-1]
    if name == "v.mkv":
        assert footage._copied_clip(video, start, end) is not None, "it need not be encoded anew"
    fragment = Fragment(str(video), (start + end) / 2, (1, 2, 30, 60), 1, (start + 1, end - 1))
    with av.open(io.BytesIO(clip_of(video, fragment))) as clip:
        times = [float(frame.time or 0) for frame in clip.decode(video=0)]
    assert times[0] == pytest.approx(0, abs=step)
    assert len(times) >= (end - start) / step - 1


@pytest.mark.parametrize("parts", [(30, 30), (20, 75)])
def test_joined_recordings_show_what_was_watched(walkers: Walkers, tmp_path: Path, parts: tuple[int, int]) -> None:
    """Each part begins at 0. A clip ended with the first part, and a later frame was the first part's or another's."""
    joined = tmp_path / "joined.ts"
    for number, count in enumerate(parts):
        frames = walkers[0][:count] if number == 0 else walkers[0][::-1][:count]
        with joined.open("ab") as file:
            file.write(write_video(tmp_path / f"{number}.ts", frames, codec="libx264").read_bytes())
    watched = list(VideoFile(joined).frames())
    assert len(watched) == sum(parts)
    for frame in watched[::9]:
        assert np.array_equal(frame_of(joined, at(joined, frame.number, frame.seconds)), frame.pixels), frame.number
    middle = watched[parts[0]].seconds
    fragment = Fragment(str(joined), middle, (1, 2, 30, 60), parts[0], (middle - 0.4, middle + 0.4))
    with av.open(io.BytesIO(clip_of(joined, fragment))) as clip:
        shown = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    there = [frame.pixels for frame in watched if middle - 1.4 <= frame.seconds <= middle + 1.4]
    assert len(shown) == len(there)
    errors = [np.abs(a.astype(int) - b).mean() for a, b in zip(shown, there, strict=True)]
    assert max(errors) < 8, "the same pictures, drawn anew"


def test_a_coding_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    monkeypatch.setattr(footage, "LARGEST_CLIP", 100)
    with pytest.raises(DataError, match="larger than"):
        clip_of(video, at(video, 0, 0.0))
    with pytest.raises(DataError, match="holds no frames"):
        clip_of(tmp_path, at(tmp_path, 0, 0.0))


def first_video(gallery: Gallery) -> Path | None:
    """The video of the first entry."""
    entry = gallery.entries()[0]
    return videos_of(gallery, [entry]).get(entry.id)


def test_the_gallery_knows_where_its_videos_are(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    """Also after a move, in galleries of earlier versions, and never for a file that was not watched."""
    place = tmp_path / "here" / "walk.mp4"
    place.parent.mkdir()
    place.write_bytes(video.read_bytes())

    def look(path: Path) -> None:
        settings = WatchSettings(tracker="plain", crops=1)
        extractor: object = MeanColors()
        with open_gallery(tmp_path / "g", write=True) as gallery:
            watch(
                open_source(str(path)),
                Boxes(walkers[1]),
                gallery=gallery,
                extractor=extractor,  # type: ignore[arg-type]
                camera="hall",
                settings=settings,
            )

    def known() -> Path | None:
        with open_gallery(tmp_path / "g") as gallery:
            return first_video(gallery)

    new_gallery(tmp_path / "g").close()
    look(place)
    assert known() == place
    with open_gallery(tmp_path / "g", write=True) as gallery:  # as it was kept before places were
        watched = gallery.document("watched")
        assert {record.pop("source") for record in watched.values()} == {str(place)}
        gallery.set_document("watched", watched)
    assert known() == place, "by the entry's path"
    moved = tmp_path / "moved.mp4"
    place.rename(moved)
    assert known() is None
    look(moved)
    assert known() == moved, "the same command at the new place tells the gallery"
    moved.write_bytes(b"another film")
    assert known() is None
    moved.write_bytes(video.read_bytes())
    assert known() == moved
    with open_gallery(tmp_path / "g", write=True) as gallery:
        secret = write_video(tmp_path / "secret.mp4", walkers[0][:3])
        gallery.update([1], path=f"{secret}#t=0.000&xywh=1,2,3,4&frame=0&seen=0,0")
        assert first_video(gallery) == moved, "the watched one, whatever the path says"
        gallery.set_document("watched", None)
        assert first_video(gallery) is None
