"""Journeys in the REST API: read in pages, one by one and as a table; decided, and undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from answers import one_line
from starlette.testclient import TestClient
from test_journey_pages import kept, linked, with_several  # noqa: F401 - a fixture

API = "/api/v1/journeys"


def test_people_come_in_pages_with_tracks_links_and_reasons(client: TestClient, linked: Path) -> None:  # noqa: F811
    found = kept(linked)
    people: list[dict[str, Any]] = []
    while True:
        page = client.get(API, params={"start": len(people), "limit": 7}).json()
        people += page["people"]
        if not page["more"]:
            break
    assert [p["number"] for p in people] == [p.number for p in found.people]
    assert page["total"] == len(people)
    assert [(p["first"], p["second"]) for p in page["proposals"]] == [(p.first, p.second) for p in found.proposals]
    for told, person in zip(people, found.people, strict=True):
        assert [t["first"] for t in told["tracks"]] == [t.name for t in person.tracks]
        assert told["tracks"][0]["link"] is None
        assert all(t["link"]["reasons"] for t in told["tracks"][1:])
    several = client.get(API, params={"several_cameras": True}).json()
    assert [p["number"] for p in several["people"]] == [p.number for p in found.people if len(p.cameras) > 1]
    assert client.get(f"{API}/{people[0]['number']}").json() == people[0]
    assert "There is no person 9999" in one_line(client.get(f"{API}/9999"), 404)
    assert client.get(f"{API}.csv").text == found.to_csv()


def test_a_gallery_without_journeys_has_none(client: TestClient) -> None:
    answer = client.get(API).json()
    assert (answer["people"], answer["total"], answer["more"]) == ([], 0, False)
    assert answer["unlinked"] > 0
    assert "no journeys yet" in one_line(client.post(f"{API}/decide", json={"said": "undo"}), 409)


def test_decisions_and_undo(client: TestClient, linked: Path) -> None:  # noqa: F811
    before = kept(linked)
    number = with_several(before)
    person = before.person(number)
    assert person is not None

    def decide(**body: object) -> dict[str, Any]:
        answer = client.post(f"{API}/decide", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    told = decide(said="confirm", person=number)
    assert told["last"]["kind"] == "confirm"
    assert told["last"]["who"] == "local"
    assert [(p["number"], p["confirmed"]) for p in told["people"]] == [(number, True)]
    told = decide(said="split", tracks=[person.tracks[-1].name])
    new = told["last"]["target"]
    assert {p["number"] for p in told["people"]} == {number, new}
    told = decide(said="merge", person=number, other=new)
    assert [p["number"] for p in told["people"]] == [number]
    told = decide(said="undo")
    assert told["last"]["kind"] == "split"
    assert {p["number"] for p in told["people"]} == {number, new}, "as they were before the merge"
    decide(said="undo")
    assert decide(said="undo")["last"] is None
    assert kept(linked) == before


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"said": "dance"}, 422, "said"),
        ({"said": "merge", "person": 1}, 422, "Say which other person"),
        ({"said": "confirm"}, 422, "Say which"),
        ({"said": "merge", "person": 1, "other": 9999}, 422, "no person 9999"),
        ({"said": "split"}, 422, "No track is"),
        ({"said": "split", "tracks": [9999]}, 422, "begins with entry 9999"),
        ({"said": "undo"}, 422, "no decision to undo"),
        ({"said": "undo", "more": 1}, 422, "more"),
        ({"said": "undo", "person": 1}, 422, "'undo' takes no other field, so 'person' would do nothing"),
        ({"said": "confirm", "person": 1, "other": 2}, 422, "'confirm' takes 'person', so 'other' would do nothing"),
        ({"said": "split", "person": 1, "tracks": [1]}, 422, "'person' would do nothing"),
    ],
)
def test_what_cannot_be_decided_is_one_line(
    client: TestClient,
    linked: Path,  # noqa: F811
    body: dict[str, object],
    status: int,
    said: str,
) -> None:
    before = kept(linked)
    assert said in one_line(client.post(f"{API}/decide", json=body), status)
    assert kept(linked) == before


def test_the_schema_tells_of_journeys(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    paths = {path for path in schema["paths"] if "journeys" in path}
    assert paths == {API, f"{API}.csv", f"{API}/{{person}}", f"{API}/decide"}
    for path in paths:
        for verb in schema["paths"][path].values():
            assert verb["summary"]
            assert verb["description"]
            assert {"200", "401", "404", "422"} <= set(verb["responses"])
