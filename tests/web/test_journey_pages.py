"""The page of journeys: what it shows, and that forms confirm, split, merge and undo."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from test_pages import checked

from crosscam.gallery import Journeys, LinkOptions, Where, link_gallery, open_gallery, read_journeys
from crosscam.web.service import Service

HTML = {"accept": "text/html"}


@pytest.fixture
def linked(place: Path) -> Path:
    """The gallery with journeys; the distance is a generous one, as its network learned nothing."""
    with open_gallery(place, write=True) as gallery:
        link_gallery(gallery, LinkOptions(distance=0.35, same=0.5, unsure=0.05))
    return place


def kept(place: Path) -> Journeys:
    with open_gallery(place) as gallery:
        return read_journeys(gallery)


def with_several(found: Journeys) -> int:
    return next(p.number for p in found.people if len(p.tracks) > 1)


def test_a_gallery_without_journeys_says_how_to_make_them(client: TestClient) -> None:
    page = client.get("/journeys", headers=HTML).text
    checked(page)
    assert "crosscam link" in page
    refused = client.post("/journeys/decide", data={"said": "undo"}, headers=HTML)
    assert refused.status_code == 409
    assert "no journeys yet" in refused.text


def test_people_are_shown_with_their_tracks(client: TestClient, linked: Path) -> None:
    found = kept(linked)
    assert any(len(p.tracks) > 1 for p in found.people)
    assert found.proposals
    pages = [client.get(f"/journeys?all=true&page={n}", headers=HTML).text for n in range(1, 5)]
    shown = set()
    for page in pages:
        parsed = checked(page)
        shown |= set(re.findall(r'id="person-(\d+)"', page))
        for target in {link for link in parsed.links if link.startswith(("/api", "/entries", "/journeys"))}:
            assert client.get(target.partition("#")[0].replace("&amp;", "&")).status_code == 200
    assert shown == {str(p.number) for p in found.people}
    person = found.person(with_several(found))
    assert person is not None
    page = next(page for page in pages if f'id="person-{person.number}"' in page)
    assert f'aria-label="Timeline of person {person.number}: camera' not in page
    assert re.search(rf'role="img" aria-label="Timeline of person {person.number}: \S', page)
    assert page.count(f'alt="Person {person.number} at camera') >= len(person.tracks)


def test_every_control_has_words(client: TestClient, linked: Path) -> None:
    page = client.get("/journeys?all=true", headers=HTML).text
    assert "Report (HTML)</a> · <a" in page
    for button in re.findall(r"<button[^>]*>([^<]*)</button>", page):
        assert button.strip()
    for box in re.findall(r'<input type="(?:checkbox|number)"[^>]*>', page):
        assert "aria-label=" in box or 'name="other"' in box
    assert re.search(r'<label>merge with person <input type="number" name="other"', page)
    assert all("aria-label=" in form for form in re.findall(r'<form [^>]*action="/journeys/decide"[^>]*>', page))


def test_split_merge_confirm_and_undo(client: TestClient, service: Service, linked: Path) -> None:
    before = kept(linked)
    number = with_several(before)
    person = before.person(number)
    assert person is not None

    def decide(**form: object) -> str:
        answer = client.post("/journeys/decide", data={**form, "back": "people"}, headers=HTML)
        assert answer.status_code == 200, answer.text
        checked(answer.text)
        return answer.text

    page = decide(said="confirm", person=number)
    assert f"Last decision: person {number} was confirmed, by local" in page
    assert kept(linked).person(number).confirmed  # type: ignore[union-attr]
    page = decide(said="split", person=number, track=[person.tracks[-1].name])
    new = max(p.number for p in kept(linked).people)
    assert f"1 track of person {number} became person {new}" in page
    assert [t.name for t in kept(linked).person(new).tracks] == [person.tracks[-1].name]  # type: ignore[union-attr]
    page = decide(said="merge", person=number, other=new)
    assert f"person {new} became part of person {number}" in page
    assert kept(linked).person(new) is None
    for _ in range(3):
        page = decide(said="undo")
    assert "Last decision" not in page
    assert kept(linked) == before
    said = [line["said"] for line in service.audit.last(20) if line["what"] == "journeys"]
    assert said == ["undo"] * 3 + ["merge", "split", "confirm"]


def test_unsure_pairs_are_asked_about(client: TestClient, linked: Path) -> None:
    found = kept(linked)
    first = found.proposals[0]
    page = client.get("/journeys", headers=HTML).text
    assert f"Are people {first.first} and {first.second} one person?" in page
    data = {"person": first.first, "other": first.second, "back": "unsure"}
    page = client.post("/journeys/decide", data=data | {"said": "apart"}, headers=HTML).text
    assert f"people {first.first} and {first.second} were kept apart" in page
    assert f"Are people {first.first} and {first.second} one person?" not in page
    assert len(kept(linked).proposals) == len(found.proposals) - 1
    client.post("/journeys/decide", data={"said": "undo"}, headers=HTML)
    client.post("/journeys/decide", data=data | {"said": "merge"}, headers=HTML)
    assert kept(linked).person(max(first.first, first.second)) is None


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"said": "dance"}, 422, "said"),
        ({"said": "merge", "person": 1}, 422, "Say which other person"),
        ({"said": "merge", "person": 1, "other": 1}, 422, "cannot be merged with itself"),
        ({"said": "merge", "person": 1, "other": 9999}, 422, "no person 9999"),
        ({"said": "split", "person": 1}, 422, "No track is ticked"),
        ({"said": "split", "person": 1, "track": [9999]}, 422, "begins with entry 9999"),
        ({"said": "undo"}, 422, "no decision to undo"),
    ],
)
def test_what_cannot_be_decided_is_told(
    client: TestClient, linked: Path, form: dict[str, object], status: int, said: str
) -> None:
    before = kept(linked)
    answer = client.post("/journeys/decide", data=form, headers=HTML)
    assert answer.status_code == status
    assert said in answer.text
    assert kept(linked) == before


def test_another_site_decides_nothing(client: TestClient, linked: Path) -> None:
    before = kept(linked)
    form = {"said": "confirm", "person": with_several(before)}
    foreign = HTML | {"origin": "http://elsewhere.example"}
    assert client.post("/journeys/decide", data=form, headers=foreign).status_code == 403
    assert kept(linked) == before


def test_a_forgotten_track_is_gone_from_the_page(client: TestClient, service: Service, linked: Path) -> None:
    found = kept(linked)
    number = with_several(found)
    tracks = found.person(number).tracks  # type: ignore[union-attr]
    service.forget(Where(ids=tuple(entry for track in tracks for entry in track.entries)), "me")
    page = client.get("/journeys?all=true", headers=HTML).text
    checked(page)
    assert f'id="person-{number}"' not in page
    assert kept(linked).person(number) is None


def test_the_table(client: TestClient, linked: Path) -> None:
    answer = client.get("/journeys.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    found = kept(linked)
    assert [row["person"] for row in rows] == [str(p.number) for p in found.people for _ in p.tracks]
    assert "/secret/" not in answer.text
    report = client.get("/journeys.html")
    assert "attachment" in report.headers["content-disposition"]
    assert report.text.count('<article class="journey"') == len(found.people)
    assert "/secret/" not in report.text
