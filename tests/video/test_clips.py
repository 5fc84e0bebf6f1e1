"""Clips of folders of frames and of codings that browsers do not play; and parts of clips, for players that jump."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from drawn_video import RATE, Boxes, MeanColors, new_gallery
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from crosscam.errors import DataError
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.link_runs import link_gallery
from crosscam.video import encoded_clips, footage
from crosscam.video.encoded_clips import WIDEST, encode_clip
from crosscam.video.footage import clip_of
from crosscam.video.live import open_source
from crosscam.video.tracks import WatchSettings
from crosscam.video.watching import watch
from crosscam.web.app import create_app
from crosscam.web.server_settings import Limits, Settings
from crosscam.web.service import Service

Walkers = tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]


def frames_of(clip: bytes) -> tuple[list[float], list[NDArray[np.uint8]], str]:
    with av.open(io.BytesIO(clip)) as container:
        frames = list(container.decode(video=0))
        times = [float(frame.time or 0) for frame in frames]
        return times, [f.to_ndarray(format="rgb24") for f in frames], container.streams.video[0].codec.name


@pytest.fixture(scope="module")
def folder(walkers: Walkers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk as images, one of them torn, of 10 a second."""
    place = tmp_path_factory.mktemp("frames")
    (place / "img1").mkdir()
    for number, pixels in enumerate(walkers[0], 1):
        Image.fromarray(pixels).save(place / "img1" / f"{number:06d}.jpg", quality=95)
    (place / "img1" / "000031.jpg").write_bytes(b"torn")
    (place / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={RATE}\n")
    return place


def test_a_folder_of_frames_has_clips(folder: Path, walkers: Walkers) -> None:
    fragment = Fragment(str(folder), 3.0, (1, 2, 30, 60), 30, (-1.0, 1.0))
    times, frames, codec = frames_of(clip_of(folder, Fragment(str(folder), 3.0, (1, 2, 30, 60), 30, (2.0, 4.0))))
    assert fragment.frame == 30
    assert codec == "h264"
    assert times[0] == 0
    assert times[-1] == pytest.approx(4.0, abs=0.01), "from 1 s to 5 s"
    assert len(frames) == 40, "of 41 one is torn"
    assert np.abs(frames[0].astype(int) - walkers[0][10]).mean() < 6


@pytest.mark.parametrize(
    ("codec", "name", "pixels"), [("mjpeg", "v.avi", "yuvj420p"), ("libx264", "v.mp4", "yuv420p10le")]
)
def test_what_browsers_do_not_play_is_encoded_anew(
    walkers: Walkers, tmp_path: Path, codec: str, name: str, pixels: str
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 192, pixels
        for frame in walkers[0][:40]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    times, frames, found = frames_of(clip_of(path, Fragment(str(path), 2.0, (1, 2, 30, 60), 20, (2.0, 2.5))))
    assert found == "h264"
    assert times[-1] == pytest.approx(2.5, abs=0.11), "from 1 s to 3.5 s"
    assert np.abs(frames[0].astype(int) - walkers[0][10]).mean() < 8


@pytest.mark.parametrize("encoder", encoded_clips.ENCODERS)
def test_each_encoder_that_is_there_draws_a_clip(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {encoder}")
    monkeypatch.setattr(encoded_clips, "ENCODERS", (encoder,))
    pixels = np.full((32, 64, 3), 90, np.uint8)
    times, _, _ = frames_of(encode_clip([(k / 25, pixels) for k in range(4)], 10**6))
    np.testing.assert_allclose(times, np.arange(4) / 25, atol=1e-3)


def test_sizes_that_no_coding_takes_are_made_to_fit() -> None:
    pixels = np.full((33, 2 * WIDEST + 1, 3), 90, np.uint8)
    _, frames, _ = frames_of(encode_clip([(0.0, pixels), (0.1, pixels[:20, :50])], 10**6))
    assert [frame.shape for frame in frames] == [(16, WIDEST, 3)] * 2
    with pytest.raises(DataError, match="no frame in the time"):
        encode_clip([], 10**6)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="larger than"):
        encode_clip([(k / 10, np.roll(noise, 31 * k, 1)) for k in range(80)], 10_000)


@pytest.fixture
def client(folder: Path, walkers: Walkers, tmp_path: Path) -> Iterator[TestClient]:
    """A server of a gallery that watched the folder."""
    extractor: Any = MeanColors()
    with new_gallery(tmp_path / "g") as gallery:
        given: dict[str, Any] = {"extractor": extractor, "camera": "hall", "settings": WatchSettings(tracker="plain")}
        watch(open_source(str(folder)), Boxes(walkers[1]), gallery=gallery, **given)
        link_gallery(gallery)
    service = Service(str(tmp_path / "g"), None, tmp_path / "audit.jsonl", Limits())
    yield TestClient(create_app(service, Settings(), "people.gallery"), base_url="http://127.0.0.1:8700")
    service.close()


def test_the_pages_link_the_clips_of_a_folder(client: TestClient) -> None:
    page = client.get("/journeys/1", headers={"accept": "text/html"}).text
    link = re.search(r'href="/api/v1/entries/(\d+)/clip"', page)
    assert link
    assert link[0] in client.get(f"/entries/{link[1]}", headers={"accept": "text/html"}).text


def test_a_player_can_jump(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = client.get("/api/v1/entries/1/clip")
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    size, tag = len(whole.content), whole.headers["etag"]

    def ask(text: str, **more: str) -> Any:
        headers = {"range": text} | {name.replace("_", "-"): value for name, value in more.items()}
        return client.get("/api/v1/entries/1/clip", headers=headers)

    monkeypatch.setattr(footage, "encode_clip", lambda *_: pytest.fail("it is not cut again for each part"))
    for text, first, last in (
        ("bytes=0-", 0, size - 1),
        ("bytes=0-1", 0, 1),
        ("bytes=100-199", 100, 199),
        (f"bytes={size - 5}-{size + 900}", size - 5, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=-{size + 1}", 0, size - 1),
        ("Bytes = 3-5", 3, 5),
    ):
        part = ask(text)
        assert part.status_code == 206, text
        assert part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["content-type"] == "video/mp4"
    for text in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        none = ask(text)
        assert none.status_code == 416, text
        assert none.headers["content-range"] == f"bytes */{size}"
        assert none.content == b""
    for text in ("bytes=9-3", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", f"bytes={'9' * 5000}-"):
        assert ask(text).content == whole.content, text
    assert ask("bytes=0-1", if_range=tag).status_code == 206
    assert ask("bytes=0-1", if_range='"other"').status_code == 200
