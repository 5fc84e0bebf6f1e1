"""Each verb of the REST API, and what it refuses."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import one_line
from starlette.testclient import TestClient

from crosscam.gallery import open_gallery, store
from crosscam.web.clients import COOKIE
from crosscam.web.service import Service

API = "/api/v1"
HTML = {"accept": "text/html"}


def upload(data: bytes, name: str = "a.jpg") -> dict[str, Any]:
    return {"picture": (name, data, "image/jpeg")}


def test_info_tells_no_folder(client: TestClient, place: Path) -> None:
    answer = client.get(f"{API}/info")
    found = answer.json()
    assert (found["entries"], found["name"], found["calibrated"], found["uploads"]) == (
        60,
        "people.gallery",
        True,
        True,
    )
    assert [b["name"] for b in found["blocks"]] == ["p2.local1", "p2.local2", "p2.global"]
    assert str(place.parent) not in answer.text


def test_search_with_an_image_that_is_in_the_gallery(client: TestClient, image: bytes, service: Service) -> None:
    found = client.post(f"{API}/search", files=upload(image), data={"limit": 5}).json()
    assert len(found["hits"]) == 5
    assert found["more"] is True
    first = found["hits"][0]
    assert first["distance"] < 1e-3
    assert first["verdict"] == "same"
    assert first["probability"] > found["hits"][-1]["probability"] or first["distance"] == found["hits"][-1]["distance"]
    assert sum(found["hits"][1]["contributions"]) == pytest.approx(found["hits"][1]["distance"] ** 2, abs=1e-9)
    assert [h["rank"] for h in found["hits"]] == [1, 2, 3, 4, 5]
    assert first["entry"]["name"].endswith(".jpg")
    assert "secret" not in json.dumps(found)
    assert "Rests on" in found["rests_on"]
    direct = service.gallery.search(service.describe([image])[0], 5, model=service.gallery.model.fingerprint)[0]
    assert [h["entry"]["id"] for h in found["hits"]] == [h.entry.id for h in direct]


def test_search_with_filters_parts_and_pages(client: TestClient) -> None:
    body = {"query": "e1", "cameras": "2,3", "limit": 7}
    first = client.post(f"{API}/search", data=body).json()
    assert {h["entry"]["camid"] for h in first["hits"]} <= {2, 3}
    second = client.post(f"{API}/search", data=body | {"start": 7}).json()
    assert [h["rank"] for h in second["hits"]] == list(range(8, 8 + len(second["hits"])))
    assert not {h["entry"]["id"] for h in first["hits"]} & {h["entry"]["id"] for h in second["hits"]}
    weighted = client.post(f"{API}/search", data={"query": "e1", "parts": "torso=2,whole=0"}).json()
    assert weighted["hits"][0]["contributions"][2] == 0
    assert weighted["hits"][0]["verdict"] is None
    assert "No verdicts" in weighted["rests_on"]
    early = client.post(f"{API}/search", data={"query": "e1", "time_to": 1_700_000_300}).json()
    assert {h["entry"]["id"] for h in early["hits"]} == {2, 3, 4, 5, 6}
    pooled = client.post(f"{API}/search", data={"query": "e1", "pool_tracks": True, "limit": 60}).json()
    assert any(h["pooled"] > 1 for h in pooled["hits"])
    reranked = client.post(f"{API}/search", data={"query": "e1", "rerank_first": 20}).json()
    assert reranked["hits"][0]["reranked"] is not None
    assert reranked["hits"][0]["verdict"] is None


def test_feedback_becomes_part_of_the_query(client: TestClient, image: bytes, service: Service) -> None:
    found = client.post(f"{API}/search", files=upload(image)).json()
    key, ids = found["query"], [h["entry"]["id"] for h in found["hits"]]
    assert client.post(f"{API}/feedback", json={"query": key, "entry": ids[1], "same": True}).status_code == 200
    said = client.post(f"{API}/feedback", json={"query": key, "entry": ids[2], "same": False}).json()
    assert {(j["entry"], j["same"]) for j in said["judgements"]} == {(ids[1], True), (ids[2], False)}
    again = client.post(f"{API}/search", files=upload(image)).json()
    assert (again["query"], again["confirmed"], again["rejected"]) == (key, [ids[1]], [ids[2]])
    shown = [h["entry"]["id"] for h in again["hits"]]
    assert ids[1] not in shown
    assert ids[2] not in shown
    both = np.concatenate([service.describe([image])[0], service.gallery.descriptors([ids[1]])]).mean(axis=0)
    nearest = service.gallery.descriptors(shown[:1])[0]
    assert again["hits"][0]["distance"] == pytest.approx(
        np.linalg.norm(both / np.linalg.norm(both) - nearest), abs=1e-5
    )
    client.post(f"{API}/feedback", json={"query": key, "entry": ids[1], "same": None})
    assert client.get(f"{API}/feedback", params={"query": key}).json()["judgements"][0]["entry"] == ids[2]


def test_feedback_goes_with_the_entries_it_names(client: TestClient, place: Path) -> None:
    for query, entry in (("e1", 2), ("e3", 1), ("e3", 4)):
        client.post(f"{API}/feedback", json={"query": query, "entry": entry, "same": True})
    assert client.delete(f"{API}/entries/1").json() == {"entries": 1}
    with open_gallery(place) as gallery:
        assert [(j["query"], j["entry"]) for j in gallery.document("feedback")] == [("e3", 4)]


def test_explanation_is_an_exact_sum(client: TestClient) -> None:
    found = client.post(f"{API}/explain", json={"query": "e1", "entry": 9}).json()
    assert sum(p["squared_distance"] for p in found["parts"]) == pytest.approx(found["distance"] ** 2, abs=1e-9)
    assert sum(p["share"] for p in found["parts"]) == pytest.approx(1)
    assert found["parts"][0]["rows"] == [0.0, 0.5]
    light = client.post(f"{API}/explain", json={"query": "e1", "entry": 9, "parts": {"whole": 0}}).json()
    assert light["parts"][2]["squared_distance"] == 0


def test_add_browse_update_forget(client: TestClient, image: bytes, service: Service) -> None:
    form = {"camid": 9, "track": "t-new", "time": 5.5}
    answer = client.post(f"{API}/entries", files=upload(image, "../../etc/passwd.jpg"), data=form)
    assert answer.status_code == 201
    (number,) = answer.json()["ids"]
    found = client.get(f"{API}/entries", params={"camid": 9, "track": "t-new"}).json()
    assert [e["id"] for e in found["entries"]] == [number]
    assert found["entries"][0]["name"] == "passwd.jpg"
    thumbnail = client.get(f"{API}/entries/{number}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert thumbnail.content[:2] == b"\xff\xd8"
    changed = client.patch(f"{API}/entries/{number}", json={"pid": 7, "track": None}).json()
    assert (changed["pid"], changed["track"], changed["camid"], changed["time"]) == (7, None, 9, 5.5)
    assert "needs a camid" in one_line(client.patch(f"{API}/entries/{number}", json={"camid": None}), 422)
    assert client.post(f"{API}/forget", json={"cameras": [9], "time_to": 6}).json() == {"entries": 1}
    one_line(client.get(f"{API}/entries/{number}"), 404)
    one_line(client.get(f"{API}/entries/{number}/thumbnail"), 404)
    assert "Say what to forget" in one_line(client.post(f"{API}/forget", json={}), 422)
    strange = ({"ids": [2, 999]}, {"pids": [77]}, {"cameras": [2, 9]}, {"cameras": [9]})
    for where in strange:
        assert "Nothing was forgotten" in one_line(client.post(f"{API}/forget", json=where), 404)
    client.patch(f"{API}/entries/1", json={"time": 4.5})
    assert "not a date" in one_line(client.post(f"{API}/expire", json={"keep": "1d", "by": "time"}), 409)
    assert "not a date" in one_line(client.post(f"{API}/forget", json={"time_to": 1.8e9}), 409)
    client.patch(f"{API}/entries/1", json={"time": None})
    assert client.post(f"{API}/expire", json={"keep": "30d"}).json() == {"entries": 0}
    assert client.post(f"{API}/expire", json={"keep": "1d", "by": "time"}).json() == {"entries": 59}
    assert len(service.gallery) == 1
    found = client.post(f"{API}/search", data={"query": "e1", "time_from": 5, "cameras": "1"}).json()
    assert (found["hits"], found["note"]) == ([], "No entry has a time, so none is within any span of time.")
    page = client.get("/search", params={"q": "e1", "first": 200, "scope": "all"}, headers=HTML).text
    assert "No entry fits these filters" in page
    assert "No entry has a time" in page


def test_search_reads_what_another_program_added(client: TestClient, place: Path, service: Service) -> None:
    with open_gallery(place, write=True) as gallery:
        (number,) = gallery.add(
            gallery.descriptors([1]),
            [gallery.get([1])[0]],
            model=gallery.model.fingerprint,  # type: ignore[list-item]
        )
    found = client.post(f"{API}/search", data={"query": "e1", "limit": 1}).json()
    assert found["hits"][0]["entry"]["id"] == number
    assert "without a small image" in one_line(client.get(f"{API}/entries/{number}/thumbnail"), 404)


def test_a_gallery_that_somebody_else_writes(client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.0)
    with open_gallery(place, write=True):
        message = one_line(client.delete(f"{API}/entries/1"), 409)
    assert str(place.parent) not in message
    assert client.delete(f"{API}/entries/1").status_code == 200


def test_calibration(client: TestClient, place: Path) -> None:
    assert client.get(f"{API}/calibration").json()["fmr"] == 0.05
    with open_gallery(place, write=True) as gallery:
        gallery.set_document("calibration", None)
    assert "not calibrated" in one_line(client.get(f"{API}/calibration"), 404)
    assert "not calibrated" in client.post(f"{API}/search", data={"query": "e1"}).json()["rests_on"]
    with open_gallery(place, write=True) as gallery:
        gallery.set_document("calibration", {"fmr": "high"})
    assert "Make it again" in one_line(client.get(f"{API}/calibration"), 404)


def test_audit_tells_who_searched_and_deleted_but_shows_nobody(client: TestClient, image: bytes, place: Path) -> None:
    client.post(f"{API}/search", files=upload(image), data={"cameras": "1", "parts": "head=2"})
    client.delete(f"{API}/entries/3")
    lines = client.get(f"{API}/audit").json()["lines"]
    assert [line["what"] for line in lines] == ["forgotten", "forget", "search"]
    assert lines[0]["where"] == {"ids": [3]}
    assert lines[2] | {"when": "", "query": ""} == {
        "when": "", "who": "local", "what": "search", "query": "", "pictures": 1,
        "cameras": [1], "limit": 20, "weights": {"head": 2.0},
    }  # fmt: skip
    assert len((place / "audit.jsonl").read_bytes()) < 1000


def test_nothing_is_answered_that_cannot_be_logged(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(service.audit, "_append", full)
    assert "nothing is answered" in one_line(client.post(f"{API}/search", data={"query": "e1"}), 503)
    before = len(service.gallery)
    one_line(client.delete(f"{API}/entries/1"), 503)
    assert len(service.gallery) == before


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff\xe0" + bytes(50), b"GIF89a", b"%!PS-Adobe", b"<svg/>"])
def test_uploads_that_are_no_images(client: TestClient, data: bytes) -> None:
    one_line(client.post(f"{API}/search", files=upload(data)), 422)
    one_line(client.post(f"{API}/entries", files=upload(data), data={"camid": 1}), 422)


def test_uploads_that_are_too_much(client: TestClient, bomb: bytes, image: bytes) -> None:
    assert len(bomb) < 100_000
    assert "25,000,000" in one_line(client.post(f"{API}/search", files=upload(bomb)), 422)
    many = [("picture", ("a.jpg", image, "image/jpeg"))] * 9
    assert "Expected 1 to 8" in one_line(client.post(f"{API}/search", files=many), 422)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "Send either images"),
        ({"query": "x1"}, "query"),
        ({"query": "e1", "limit": 0}, "limit"),
        ({"query": "e1", "limit": "many"}, "limit"),
        ({"query": "e1", "cameras": "1;2"}, "cameras"),
        ({"query": "e1", "cameras": "1,"}, "cameras"),
        ({"query": "e1", "time_from": "nan"}, "time_from"),
        ({"query": "e1", "parts": "nose=2"}, "No body part or block 'nose'"),
        ({"query": "e1", "parts": "head=0,torso=0,legs=0,feet=0,whole=0"}, "nothing to compare"),
        ({"query": "e1", "parts": "head=-1"}, "head"),
        ({"query": "e1", "start": 9_990, "limit": 20}, "up to rank 1,000"),
    ],
)
def test_searches_that_cannot_be(client: TestClient, data: dict[str, Any], words: str) -> None:
    answer = client.post(f"{API}/search", data=data)
    assert words in one_line(answer, answer.status_code)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("/search", {"query": "e1", "camera": "2"}, "Unknown form field 'camera'. Did you mean cameras?"),
        ("/search", {"query": "e1", "k": "3"}, "Unknown form field 'k'. Known: cameras, limit, parts, picture"),
        ("/search?limit=3", {"query": "e1"}, "Unknown query parameter 'limit'. This call has no query parameters."),
        ("/entries?camids=2", None, "Unknown query parameter 'camids'. Did you mean camid?"),
        ("/search", {"query": "e1", "cameras": ""}, "The form field 'cameras' is empty."),
        ("/search", {"query": "e1", "cameras": ["1", "2"]}, "The form field 'cameras' is given twice."),
        ("/entries?camid=1&camid=2", None, "The query parameter 'camid' is given twice."),
        ("/entries?track=", None, "The query parameter 'track' is empty."),
        ("/journeys?limits=2", None, "Unknown query parameter 'limits'. Did you mean limit?"),
    ],
)
def test_what_a_call_does_not_know_is_refused(
    client: TestClient, path: str, data: dict[str, Any] | None, words: str
) -> None:
    answer = client.get(f"{API}{path}") if data is None else client.post(f"{API}{path}", data=data)
    assert words in one_line(answer, 422)


def test_values_of_another_type_are_refused(client: TestClient) -> None:
    """``true`` is no entry 1, and 0 is no answer."""
    for call, body in (
        ("forget", {"ids": [True]}),
        ("forget", {"cameras": [True]}),
        ("forget", {"ids": ["1"]}),
        ("explain", {"query": "e1", "entry": True}),
        ("explain", {"query": "e1", "entry": 2, "parts": {"torso": True}}),
        ("feedback", {"query": "e1", "entry": 2, "same": 0}),
        ("feedback", {"query": "e1", "entry": 2, "same": "off"}),
        ("journeys/decide", {"kind": "merge", "person": True, "other": 2}),
    ):
        assert client.post(f"{API}/{call}", json=body).status_code == 422, body
    for field in ("pid", "camid", "time", "track"):
        assert client.patch(f"{API}/entries/2", json={field: True}).status_code == 422, field
    assert client.patch(f"{API}/entries/2", json={"time": 5, "pid": 3}).json()["time"] == 5
    assert client.get(f"{API}/info").json()["entries"] == 60


def test_bodies_that_cannot_be_read(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for body in (b"", b"{", b"[]", b'{"ids": ["\\ud800"]}', b'{"\\ud800": 1}', b'{"ids": [1e400]}', b"\xff"):
        answer = client.post(f"{API}/forget", content=body, headers=headers)
        one_line(answer, answer.status_code)
        assert answer.status_code in (400, 422)
    one_line(client.post(f"{API}/search", content=b"--x\r\n", headers={"content-type": "multipart/form-data"}), 400)
    one_line(client.put(f"{API}/info"), 405)


def test_uploads_need_a_network(place: Path, image: bytes) -> None:
    from crosscam.web.app import create_app
    from crosscam.web.server_settings import Limits, Settings

    service = Service(str(place), None, place / "audit.jsonl", Limits())
    client = TestClient(create_app(service, Settings(), "g"), base_url="http://localhost")
    assert "no network for this gallery" in one_line(client.post(f"{API}/search", files=upload(image)), 422)
    assert client.post(f"{API}/search", data={"query": "e1"}).status_code == 200
    assert "has no network for this gallery" in client.get("/").text
    service.close()


def test_many_searches_at_once(client: TestClient, image: bytes) -> None:
    answers: list[Any] = []

    def ask(n: int) -> None:
        answers.append(client.post(f"{API}/search", files=upload(image), data={"limit": 3 + n % 2}))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status_code for a in answers] == [200] * 16
    assert len({json.dumps([h["entry"]["id"] for h in a.json()["hits"]][:3]) for a in answers}) == 1


def test_the_schema_names_every_error(client: TestClient) -> None:
    schema = client.get(f"{API}/openapi.json").json()
    assert COOKIE not in json.dumps(schema)
    for path, verbs in schema["paths"].items():
        assert path.startswith(API)
        for verb in verbs.values():
            assert {"400", "401", "404", "409", "413", "422", "429"} <= set(verb["responses"])
