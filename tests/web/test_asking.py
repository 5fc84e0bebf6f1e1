"""Pairs that people answer on the calibration page, and what comes of the answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from test_pages import checked

from crosscam.calibration.calibration import Calibration
from crosscam.experiments.photographs import all_pairs
from crosscam.gallery import Where, open_gallery
from crosscam.gallery.answers import ANSWERS, ENOUGH, Answer
from crosscam.gallery.calibrated import CALIBRATION, calibration_of, keep_from_elsewhere
from crosscam.gallery.questions import next_question, possible_questions
from crosscam.report.pairs import LIKELY, LOOK_ALIKE
from crosscam.web.service import Service

HTML = {"accept": "text/html"}


@pytest.fixture
def unlabeled(place: Path) -> Path:
    """The gallery without its calibration, of which the page must not know before it asks."""
    with open_gallery(place, write=True) as gallery:
        gallery.set_document(CALIBRATION, None)
    return place


@pytest.fixture
def elsewhere(place: Path) -> Calibration:
    """The gallery with the same calibration, but of other cameras."""
    with open_gallery(place, write=True) as gallery:
        found, _ = calibration_of(gallery)
        assert found is not None
        gallery.set_document(CALIBRATION, None)
        keep_from_elsewhere(gallery, found)
    return found


def given(place: Path) -> tuple[Answer, ...]:
    """The answers that the gallery keeps."""
    with open_gallery(place) as gallery:
        return ANSWERS.read(gallery.document(ANSWERS.document))


def asked_pair(page: str) -> dict[str, str]:
    """The form of the next question."""
    return {name: re.findall(rf'name="{name}" value="(\d+)"', page)[0] for name in ("first", "second")}


def answer_until_enough(service: Service) -> int:
    """Call near pairs the same person, as a network that finds people would have it; gives the number of answers."""
    questions = possible_questions(service.gallery, across=True)
    middle = questions[len(questions) // 2].distance
    count = 0
    while not (state := service.asking.state()) or not state.enough:
        assert state is not None
        assert state.pair is not None
        first, second = (entry.id for entry in state.pair)
        distance = next(q.distance for q in questions if (q.first, q.second) == (first, second))
        service.asking.answer(first, second, distance < middle, "me")
        count += 1
    return count


def test_answers_are_kept_and_counted(client: TestClient, service: Service, unlabeled: Path) -> None:
    page = client.get("/calibration", headers=HTML).text
    checked(page)
    assert "No pair is answered yet." in page
    assert f"{ENOUGH} more answers “same person” and {ENOUGH} more answers “two people”" in page
    for said in ("same", "other", "unsure"):
        page = client.post("/calibration/answer", data=asked_pair(page) | {"said": said}, headers=HTML).text
    checked(page)
    assert "3 pairs answered: 1 the same person, 1 two people, 1 unsure." in page
    assert f"{ENOUGH - 1} more answers “same person”" in page
    assert [a.same for a in given(unlabeled)] == [True, False, None]
    assert len({(a.first, a.second) for a in given(unlabeled)}) == 3, "a pair is asked about once"
    assert [line["said"] for line in service.audit.last(3)] == ["unsure", "other", "same"]
    page = client.post("/calibration/answer", data={"said": "back"}, headers=HTML).text
    assert "2 pairs answered" in page
    assert service.judgments() == (), "an answer is no feedback on a search"


def test_every_control_of_the_question_has_words(client: TestClient, unlabeled: Path) -> None:
    page = client.get("/calibration", headers=HTML).text
    form = page[page.index('class="asking"') : page.index("</form>", page.index('class="asking"'))]
    assert re.findall(r'<button name="said" value="(\w+)">([^<]+)</button>', form) == [
        ("same", "Same person"),
        ("other", "Two people"),
        ("unsure", "Unsure"),
    ]
    assert "<legend>Do both images show the same person?</legend>" in form
    assert re.findall(r'alt="(First|Second) image: entry \d+, camera \d+"', form) == ["First", "Second"]
    assert 'role="status"' in page


def test_enough_answers_become_a_calibration_and_verdicts(
    client: TestClient, service: Service, unlabeled: Path
) -> None:
    assert "No verdicts" in client.get("/search?q=e1").text
    count = answer_until_enough(service)
    assert 2 * ENOUGH <= count <= 6 * ENOUGH
    found, _ = service.calibration()
    assert found is not None
    assert found.answered == count
    assert found.pooled.genuine >= ENOUGH
    assert found.pooled.impostor >= ENOUGH
    same = [a.distance for a in given(unlabeled) if a.same]
    other = [a.distance for a in given(unlabeled) if a.same is False]
    assert min(same) < max(same) * 0.8 < found.pooled.same <= found.pooled.other < max(other)
    assert found.verdict(min(same)) == "same"
    assert found.verdict(max(other)) == "other"
    page = client.get("/calibration", headers=HTML).text
    checked(page)
    assert "Enough: the answers are this gallery's calibration" in page
    assert f"Rests on {count} answers" in page
    assert "95 % interval" in page
    assert 'class="verdict ' in client.get("/search?q=e1").text
    assert client.get("/api/v1/info").json()["calibrated"] is True


def test_a_forgotten_entry_takes_its_answers_along(client: TestClient, service: Service, unlabeled: Path) -> None:
    answer_until_enough(service)
    answers = given(unlabeled)
    gone = answers[0].first
    service.forget(Where(ids=(gone,)), "me")
    left = given(unlabeled)
    assert left == tuple(a for a in answers if gone not in (a.first, a.second))
    assert len(left) < len(answers)
    found, _ = service.calibration()
    assert found is None or found.answered == len(left)
    client.get("/calibration", headers=HTML).raise_for_status()


def test_a_damaged_or_foreign_answer_is_refused(client: TestClient, unlabeled: Path) -> None:
    page = client.get("/calibration", headers=HTML).text
    good = asked_pair(page) | {"said": "same"}
    assert client.post("/calibration/answer", data=good | {"said": "maybe"}, headers=HTML).status_code == 422
    assert client.post("/calibration/answer", data=good | {"second": "9999"}, headers=HTML).status_code == 422
    foreign = HTML | {"origin": "http://elsewhere.example"}
    assert client.post("/calibration/answer", data=good, headers=foreign).status_code == 403
    assert given(unlabeled) == ()
    with open_gallery(unlabeled, write=True) as gallery:
        gallery.set_document(ANSWERS.document, [{"first": "x"}, 7])
    assert "No pair is answered yet." in client.get("/calibration", headers=HTML).text


def test_labeled_images_need_no_answers(client: TestClient, service: Service) -> None:
    assert service.asking.state() is None
    assert "Same person?" not in client.get("/calibration", headers=HTML).text


def test_when_every_pair_is_answered_it_says_that_they_are_too_few(
    client: TestClient, service: Service, unlabeled: Path
) -> None:
    service.forget(Where(ids=tuple(range(5, 61))), "me")
    while (state := service.asking.state()) and state.pair:
        service.asking.answer(state.pair[0].id, state.pair[1].id, False, "me")
    page = client.get("/calibration", headers=HTML).text
    checked(page)
    assert "All pairs that can be asked about are answered, and that is too few" in page


def test_questions_come_from_the_whole_range_of_distances(service: Service) -> None:
    possible = possible_questions(service.gallery, across=True)
    distances = [q.distance for q in possible]
    assert distances == sorted(distances)
    cameras = {e.id: e.camid for e in service.gallery.entries()}
    assert all(cameras[q.first] != cameras[q.second] and q.first < q.second for q in possible)
    answers: list[Answer] = []
    for _ in range(24):
        question = next_question(possible, answers)
        assert question is not None
        answers.append(Answer(question.first, question.second, question.distance, False, "me", ""))
    places = sorted(distances.index(a.distance) * 8 // len(possible) for a in answers)
    assert set(places) == set(range(8))


def test_a_calibration_of_other_cameras_gives_no_verdict_by_distance(
    client: TestClient, elsewhere: Calibration, service: Service
) -> None:
    page = client.get("/calibration", headers=HTML).text
    checked(page)
    assert "was found at <strong>other cameras</strong>" in page
    assert f"{elsewhere.pooled.same:.3f}" in page
    assert "Same person?" in page
    assert client.get("/api/v1/info").json()["calibrated"] is False
    for address in ("/search?q=e1", "/explain?q=e1&entry=5"):
        page = client.get(address, headers=HTML).text
        assert "calibrated on other cameras" in page
        assert not re.search(r'class="verdict \w+">(same|unsure|other)<', page)


def test_the_search_page_says_of_a_pair_what_the_page_of_pairs_says(
    client: TestClient, elsewhere: Calibration, service: Service
) -> None:
    pairs = {p.first.id: p for p in all_pairs(service.gallery)} | {p.second.id: p for p in all_pairs(service.gallery)}
    kinds = set()
    for entry in range(1, 61):
        page = client.get(f"/search?q=e{entry}", headers=HTML).text
        said = re.findall(rf'class="verdict \w+">({LIKELY}|{LOOK_ALIKE})<', page)
        expected = [pairs[entry].verdict] if entry in pairs else []
        assert said == expected, entry
        kinds |= set(said)
        if expected:
            pair = pairs[entry]
            other = pair.second.id if pair.first.id == entry else pair.first.id
            assert f">{pair.verdict}<" in client.get(f"/explain?q=e{entry}&entry={other}", headers=HTML).text
    assert LOOK_ALIKE in kinds


def test_a_calibration_of_one_s_own_is_never_replaced(place: Path) -> None:
    with open_gallery(place, write=True) as gallery:
        own, _ = calibration_of(gallery)
        assert own is not None
        keep_from_elsewhere(gallery, own)
        gallery.set_document(ANSWERS.document, ANSWERS.write([Answer(1, 2, 0.5, True, "me", "")] * 3))
        assert gallery.document("calibrated_elsewhere") is None
        assert calibration_of(gallery)[0] == own
