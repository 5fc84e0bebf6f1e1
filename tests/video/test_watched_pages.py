"""The page and the API show the frame and the clip of a track, as long as the video is there."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from drawn_video import HEIGHT, WIDTH, Boxes, MeanColors, new_gallery
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from crosscam.gallery import LinkOptions, link_gallery, open_gallery, read_journeys
from crosscam.gallery.fragments import Fragment
from crosscam.video.decoding import VideoFile
from crosscam.video.live import open_source
from crosscam.video.watch_settings import WatchSettings
from crosscam.video.watching import watch
from crosscam.web.app import create_app
from crosscam.web.server_settings import Limits, Settings
from crosscam.web.service import Service

BASE = "http://127.0.0.1:8700"
HTML = {"accept": "text/html"}
Walkers = tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]


@pytest.fixture
def film(video: Path, tmp_path: Path) -> Path:
    """The video at a place of one's own."""
    path = tmp_path / "films" / "walk.mp4"
    path.parent.mkdir()
    path.write_bytes(video.read_bytes())
    return path


@pytest.fixture
def service(film: Path, walkers: Walkers, tmp_path: Path) -> Iterator[Service]:
    """A gallery of three people who walked by, linked."""
    extractor: Any = MeanColors()
    with new_gallery(tmp_path / "g") as gallery:
        settings = WatchSettings(tracker="plain")
        given: dict[str, Any] = {"extractor": extractor, "camera": "hall", "start": 1.7e9, "settings": settings}
        watch(open_source(str(film)), Boxes(walkers[1]), gallery=gallery, **given)
        link_gallery(gallery, LinkOptions(distance=0.5))
    found = Service(str(tmp_path / "g"), None, tmp_path / "audit.jsonl", Limits())
    yield found
    found.close()


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(create_app(service, Settings(), "people.gallery"), base_url=BASE)


def test_the_frame_of_an_entry_comes_with_its_box(client: TestClient, service: Service, film: Path) -> None:
    entry = service.gallery.entries()[0]
    place = Fragment.read(entry.path)
    assert place is not None
    answer = client.get(f"/api/v1/entries/{entry.id}/frame")
    assert answer.status_code == 200
    shown = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    true = next(f.pixels for f in VideoFile(film).frames() if f.number == place.frame).astype(np.int16)
    left, top, width, height = place.box
    inside = np.s_[top + 8 : top + height - 8, left + 8 : left + width - 8]
    assert np.abs(shown[inside] - true[inside]).mean() < 6
    orange = (shown[..., 0] > 180) & (shown[..., 1] > 80) & (shown[..., 2] < 80)
    assert orange[top - 2, left + 5 : left + width - 5].mean() > 0.8
    clip = client.get(f"/api/v1/entries/{entry.id}/clip")
    assert clip.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(clip.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10
    told = [line["what"] for line in service.audit.last(5)]
    assert told[:2] == ["clip", "frame"]


def test_a_persons_page_shows_frames_and_takes_decisions(client: TestClient, service: Service) -> None:
    people = read_journeys(service.gallery).people
    person = people[0]
    page = client.get(f"/journeys/{person.number}", headers=HTML).text
    best = person.tracks[0].best
    assert f'src="/api/v1/entries/{best}/frame"' in page
    assert "walk.mp4, frame " in page
    assert str(Path(service.place).parent) not in page
    for target in re.findall(r'(?:href|src)="(/[^"#]*)"', page):
        assert client.get(target.replace("&amp;", "&")).status_code == 200, target
    assert "/frame" in client.get(f"/entries/{best}", headers=HTML).text
    other = people[1].number
    body = {"said": "merge", "person": other, "other": person.number, "back": "person"}
    merged = client.post("/journeys/decide", data=body, headers=HTML)
    assert merged.url.path == f"/journeys/{min(person.number, other)}"
    assert "Last decision" in merged.text
    assert merged.text.count("/frame") == 2
    undone = client.post("/journeys/decide", data={"said": "undo", "person": other, "back": "person"}, headers=HTML)
    assert undone.url.path == f"/journeys/{other}"
    assert client.get("/journeys/999", headers=HTML).status_code == 404


def test_a_video_that_is_gone_is_told(client: TestClient, service: Service, film: Path) -> None:
    entry = service.gallery.entries()[0]
    number = read_journeys(service.gallery).people[0].number
    film.unlink()
    for what in ("frame", "clip"):
        answer = client.get(f"/api/v1/entries/{entry.id}/{what}")
        assert answer.status_code == 404
        assert "not where it was watched" in answer.json()["error"]
        assert str(film) not in answer.text
    page = client.get(f"/journeys/{number}", headers=HTML).text
    assert "/frame" not in page
    assert "not where it was watched" in page
    assert "/frame" not in client.get(f"/entries/{entry.id}", headers=HTML).text


def test_what_is_forgotten_shows_no_frame(client: TestClient) -> None:
    assert client.get("/api/v1/entries/1/frame").status_code == 200
    client.delete("/api/v1/entries/1")
    assert client.get("/api/v1/entries/1/frame").status_code == 404


def test_a_server_that_hides_videos(service: Service) -> None:
    client = TestClient(create_app(service, Settings(videos=False), "people.gallery"), base_url=BASE)
    assert "--hide-videos" in client.get("/api/v1/entries/1/frame").json()["error"]
    assert client.get("/api/v1/entries/1/clip").status_code == 404
    number = read_journeys(service.gallery).people[0].number
    page = client.get(f"/journeys/{number}", headers=HTML).text
    assert "/frame" not in page
    assert "not where it was watched" not in page


def test_no_other_file_is_opened(client: TestClient, service: Service, film: Path) -> None:
    """An entry's name can be changed by everybody who may ask."""
    secret = film.with_name("secret.mp4")
    secret.write_bytes(film.read_bytes() + b"more")
    name = f"{secret}#t=0.000&xywh=1,2,3,4&frame=0&seen=0,0"
    assert client.patch("/api/v1/entries/1", json={"name": name, "track": "00000000-1"}).status_code == 200
    assert client.get("/api/v1/entries/1/frame").status_code == 404
    with open_gallery(service.place) as gallery:
        assert json.dumps(gallery.document("watched")).count("secret") == 0
