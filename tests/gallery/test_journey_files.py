"""Journeys as files to take along: one HTML page, and MOT Challenge text for each camera."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from test_journeys import LAYOUT, MODEL, START, looks

from crosscam.cli.main import main
from crosscam.gallery import Gallery, Journeys, NewEntry, create_gallery, link_gallery, open_gallery, read_journeys
from crosscam.gallery.fragments import Fragment
from crosscam.report.journey_report import render_journeys
from crosscam.report.journey_view import Way, camera_graph, clock_of, person_view, ways_of
from crosscam.video.mot import mot_texts, read_mot

CAMERAS = ("gate", "hall/<b>")


def fill(place: Path) -> Gallery:
    """Four people, each of whom is seen at two cameras, two crops each; and a photograph of the first."""
    gallery, faces = create_gallery(place, LAYOUT, MODEL), looks(4, 7)
    for camid, camera in enumerate(CAMERAS):
        for pid in range(1, 5):
            entries = []
            for k in range(2):
                at = 10.0 * pid + k
                fragment = Fragment(
                    f"/v/{camid}.mp4", at, (100 * pid, 50 + k, 40, 100), 100 * pid + k, (at - 1, at + 1)
                )
                when = START + 30 * camid + at
                entries.append(NewEntry(str(fragment), camid, None, when, f"abcd123{camid}-{pid:04d}", camera))
            gallery.add(faces[[pid, pid]], entries, [b"JPEG %d" % pid] * 2, model=MODEL.fingerprint)
    gallery.add(faces[1:2], [NewEntry("photo.jpg", 0, None, START, None, "gate")], model=MODEL.fingerprint)
    return gallery


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Journeys]:
    """The gallery with its journeys; leave it alone."""
    place = tmp_path_factory.mktemp("files") / "people.gallery"
    with fill(place) as gallery:
        link_gallery(gallery)
        return place, read_journeys(gallery)


def test_the_report_shows_everybody_and_needs_nothing_else(tmp_path: Path, linked: tuple[Path, Journeys]) -> None:
    place, found = linked
    main(["link", str(place), "--show", "--report", str(tmp_path / "out.html")])
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert {int(n) for n in re.findall(r'<article class="journey" id="person-(\d+)"', page)} == {
        person.number for person in found.people
    }
    assert not re.search(r"<script|https?://|/v/|hall/<b>", page), "no script, nothing from elsewhere, all text escaped"
    tracks = [track for person in found.people for track in person.tracks]
    assert page.count("data:image/jpeg;base64,") >= sum(len(t.entries) for t in tracks if t.track)
    assert page.count("no image kept") >= 1, "the photograph has none"
    reasons = {reason for p in found.people for link in p.links if link for reason in link.reasons}
    assert reasons
    for reason in reasons:
        assert reason.replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count('role="img" aria-label="Timeline of person') == sum(len(p.tracks) > 1 for p in found.people)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_a_page_without_people_is_a_page() -> None:
    assert "0 people" in render_journeys(Journeys((), (), (), 0), {}, "empty", "none")


def test_mot_text_holds_each_box_under_its_persons_number(
    tmp_path: Path, linked: tuple[Path, Journeys], capsys: pytest.CaptureFixture[str]
) -> None:
    place, found = linked
    main(["link", str(place), "--show", "--mot", str(tmp_path / "mot")])
    assert "16 boxes in 2 files written" in (said := capsys.readouterr().err)
    assert "1 image without a box in a video left out" in said
    assert {path.name for path in (tmp_path / "mot").iterdir()} == {"gate.txt", "hall__b_.txt"}
    person_of = {t.track: p.number for p in found.people for t in p.tracks}
    for camid, name in enumerate(("gate.txt", "hall__b_.txt")):
        lines = [line.split(",") for line in (tmp_path / "mot" / name).read_text().splitlines()]
        expected = [
            (100 * pid + k + 1, person_of[f"abcd123{camid}-{pid:04d}"], 100.0 * pid, 50.0 + k, 40.0, 100.0)
            for pid in range(1, 5)
            for k in range(2)
        ]
        assert [tuple(map(float, line[:6])) for line in lines] == expected
        assert len(read_mot(tmp_path / "mot" / name)) == 8, "it is read as it was written"


def test_each_video_of_a_camera_has_its_own_text(tmp_path: Path) -> None:
    with fill(tmp_path / "g") as gallery:
        gallery.update([1, 2], path="/w/0.mp4#t=2.000&xywh=1,2,3,4&frame=7&seen=0,0")
        link_gallery(gallery)
        made = mot_texts(gallery, read_journeys(gallery))
    assert set(made.texts) == {"gate 0.txt", "gate 0 abcd1230.txt", "hall__b_.txt"}
    assert sorted(text.count("\n") for text in made.texts.values()) == [2, 6, 8]


def test_names_that_cannot_be_written_are_told(
    linked: tuple[Path, Journeys], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for words in (["--report", str(tmp_path)], ["--mot", str(tmp_path / "file")]):
        with pytest.raises(SystemExit) as end:
            main(["link", str(linked[0]), "--show", *words])
        assert end.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    with open_gallery(str(linked[0])) as gallery:
        assert read_journeys(gallery) == linked[1]


def test_times_from_the_first_frame_are_not_called_days(tmp_path: Path) -> None:
    gallery, (face,) = create_gallery(tmp_path / "g", LAYOUT, MODEL), looks(0, 7)
    entries = [NewEntry(f"{t}.jpg", 0, time=t, track="a", camera="gate") for t in (4.25, 9.5)]
    gallery.add(np.stack([face, face]), entries, model=MODEL.fingerprint)
    link_gallery(gallery)
    found = read_journeys(gallery)
    view = person_view(found, found.people[0])
    assert (view.facts, view.steps[0].times) == ("1 track at gate", "4.2 s to 9.5 s")
    assert Way("gate", "hall", 2, 5.0, 4.25, 4.25).when == "4.2 s"
    gallery.update([1], time=START)
    gallery.update([2], time=START + 86_400.0)
    found = read_journeys(gallery)
    view = person_view(found, found.people[0])
    assert (view.facts, view.steps[0].times) == ("1 track at gate", "2023-11-14 22:13:20 to 2023-11-15 22:13:20")
    assert clock_of(START) == "22:13:20"
    gallery.close()


def test_ways_between_cameras_are_drawn_and_told(linked: tuple[Path, Journeys]) -> None:
    ways = ways_of(linked[1].people)
    assert [(way.start, way.end, way.people) for way in ways] == [("gate", "hall/<b>", 4)]
    assert (ways[0].first, ways[0].last) == (START + 12, START + 42), "when the first and the last left the gate"
    drawn = camera_graph(ways)
    assert 'aria-label="Cameras and ways: gate to hall/&lt;b&gt; 4 times"' in drawn
    assert drawn.count('class="way"') == 1
    assert camera_graph([]) == ""
    many = [Way(f"c{i}", f"c{i + 1}", 1, 5.0, 0.0, 1.0) for i in range(20)]
    assert camera_graph(many) == "", "a drawing of 21 cameras tells nothing"
    both = camera_graph([Way("a", "b", 9, 5.0, 0.0, 0.0), Way("b", "a", 1, 5.0, 0.0, 0.0)])
    assert len(set(re.findall(r' d="([^"]+)"', both))) == 4, "there and back are two lines"
