"""The pages without a script: every form and link works as plain HTML."""

from __future__ import annotations

import csv
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from crosscam.gallery import open_gallery
from crosscam.web.guard import error_body
from crosscam.web.service import Service

HTML = {"accept": "text/html"}


class Checked(HTMLParser):
    """Refuses what the security policy would block, and labels that lead nowhere; collects links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.pointed: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert "style" not in found, f"inline style on {tag}"
        assert not [name for name in found if name.startswith("on")], f"inline script on {tag}"
        for name in ("href", "src", "action"):
            target = found.get(name)
            if target is not None and not target.startswith(("data:", "#")):
                assert target.startswith("/"), f"{target} leads outside"
                assert not target.startswith("//")
                if name != "action":
                    self.links.append(target)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.pointed += [str(found[name]) for name in ("for", "aria-labelledby", "aria-describedby") if found.get(name)]
        if tag == "img":
            assert found.get("alt"), "an image without words"


def checked(text: str) -> Checked:
    """The page's links, after its checks."""
    parser = Checked()
    parser.feed(text)
    assert len(parser.ids) == len(set(parser.ids))
    assert set(parser.pointed) <= set(parser.ids)
    assert text.count("<h1") == 1
    return parser


PAGES = [
    "/",
    "/search?q=e1",
    "/search?q=e1&cam=1&head=2&first=100&page=2",
    "/explain?q=e1&entry=5",
    "/entries",
    "/entries/4",
]
PAGES += ["/entries?camid=1", "/entries?camid=1&track=t1", "/gallery", "/calibration", "/audit", "/search?q=e1&cam=77"]


def test_no_link_of_any_page_is_dead(client: TestClient) -> None:
    seen: set[str] = set()
    for page in PAGES:
        answer = client.get(page, headers=HTML)
        assert answer.status_code == 200, page
        assert "secret" not in answer.text
        seen |= {link.partition("#")[0] for link in checked(answer.text).links}
    for link in sorted(seen)[:: max(1, len(seen) // 60)]:
        assert client.get(link, headers=HTML).status_code == 200, link


def test_from_an_upload_to_feedback_and_export(client: TestClient, image: bytes) -> None:
    files = {"picture": ("a.jpg", image, "image/jpeg")}
    answer = client.post("/upload", files=files, headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    checked(page)
    query = re.search(r"q=(p[0-9a-f]{24})", page)
    assert query is not None
    first, second = (int(n) for n in re.findall(r'name="entry" value="(\d+)"', page)[:2])
    for entry, said in ((first, "same"), (second, "other")):
        form = {"back": f"q={query[1]}&cam=1&cam=2&cam=3", "entry": entry, "said": said}
        page = client.post("/feedback", data=form, headers=HTML).text
    assert "1 confirmed image is part of the query" in page
    assert "1 rejected" in page
    checked(page)
    rows = list(csv.DictReader(io.StringIO(client.get(f"/export.csv?q={query[1]}").text)))
    assert (rows[0]["id"], rows[0]["feedback"]) == (str(first), "same")
    assert (rows[-1]["id"], rows[-1]["feedback"]) == (str(second), "other")
    assert [int(r["rank"]) for r in rows[1:-1]] == list(range(1, len(rows) - 1))
    report = client.get(f"/export.html?q={query[1]}")
    assert "attachment" in report.headers["content-disposition"]
    assert report.text.count("<img") == len(rows) + 1
    assert "http://" not in report.text.replace("http://www.w3.org", "")
    assert "secret" not in report.text
    page = client.post("/feedback", data={"back": f"q={query[1]}", "entry": first, "said": "clear"}, headers=HTML).text
    assert "confirmed" not in page


def test_names_in_tables_are_no_formulas_and_in_pages_no_markup(client: TestClient, place: Path) -> None:
    with open_gallery(place, write=True) as gallery:
        gallery.update([2], path="/x/=cmd()<img src=x onerror=alert(1)>.jpg", track='"><script>alert(1)</script>')
    with open_gallery(place, write=True) as gallery:
        gallery.update([3], path="/x/;=1+1", track="a;@b")
    rows = list(csv.DictReader(io.StringIO(client.get("/export.csv?q=e1&scope=all").text)))
    assert any(r["name"].startswith("'=cmd()") for r in rows)
    assert [(r["name"], r["track"]) for r in rows if r["id"] == "3"] == [("';'=1+1", "a;'@b")]
    for page in (
        "/search?q=e1&scope=all",
        "/entries/2",
        "/export.html?q=e1&scope=all",
        "/entries",
        "/explain?q=e1&entry=2",
    ):
        text = client.get(page, headers=HTML).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_entries_are_changed_and_forgotten_by_forms(client: TestClient, service: Service) -> None:
    form = {"camid": "8", "pid": "", "track": "walk", "time": "12.5"}
    page = client.post("/entries/4/update", data=form, headers=HTML).text
    assert "Saved." in page
    entry = service.entry(4)
    assert (entry.camid, entry.pid, entry.track, entry.time) == (8, None, "walk", 12.5)
    assert client.post("/entries/4/update", data=form | {"camid": "x"}, headers=HTML).status_code == 422
    assert client.post("/entries/4/forget", headers=HTML).status_code == 422
    assert "Entry 4 is gone" in client.post("/entries/4/forget", data={"sure": "yes"}, headers=HTML).text
    assert client.get("/entries/4", headers=HTML).status_code == 404
    page = client.post("/gallery/expire", data={"days": "1", "by": "time", "sure": "yes"}, headers=HTML).text
    assert "Gone: 59 entries older than 1 day." in page
    for path in ("/", "/entries", "/gallery"):
        assert client.get(path, headers=HTML).status_code == 200
    assert "The gallery is empty." in client.get("/", headers=HTML).text


def test_the_explanation_adds_up_and_draws_maps(client: TestClient) -> None:
    page = client.get("/explain?q=e1&entry=5", headers=HTML).text
    values = [float(v) for v in re.findall(r"<td>(\d\.\d{4})</td>", page)]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=3e-4)
    assert page.count("data:image/png;base64,") == 4
    assert "closer than" in page


def test_a_query_that_is_kept_no_longer(client: TestClient) -> None:
    answer = client.get("/search?q=p000000000000000000000000", headers=HTML)
    assert answer.status_code == 404
    assert "upload its image again" in answer.text
    answer = client.post("/upload", files={"picture": ("", b"", "image/jpeg")}, headers=HTML)
    assert answer.status_code == 422


def test_the_audit_page_shows_the_search(client: TestClient) -> None:
    client.get("/search?q=e1")
    page = client.get("/audit").text
    assert "query e1" in page
    assert re.search(r"<td>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d</td>", page)


def test_a_file_that_is_no_image_is_called_by_its_place(client: TestClient) -> None:
    answer = client.post("/upload", files={"picture": ("a.jpg", b"hello", "image/jpeg")}, headers=HTML)
    assert answer.status_code == 422
    assert "Image 1: the file is not an image that can be read" in answer.text


def test_what_is_refused_at_the_door_leads_back() -> None:
    scope = {"type": "http", "path": "/upload", "headers": [(b"accept", b"text/html")]}
    text = error_body(scope, 413, "Larger than <b>.")[1].decode()
    assert "Larger than &lt;b&gt;." in text
    assert checked(text).links == ["/static/style.css", "/"]


def test_an_address_without_a_page_says_so(client: TestClient) -> None:
    assert "There is no page /nowhere." in client.get("/nowhere", headers=HTML).text


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/entries/xyz", 404, "There is no page /entries/xyz."),
        ("/journeys/0", 404, "There is no page /journeys/0."),
        ("/entries?camid=gate", 422, "'camid': expected a whole number, found 'gate'."),
        ("/entries?camid=-1", 422, "'camid': expected 0 or more, found '-1'."),
        ("/entries?camid=1.5", 422, "'camid': expected a whole number, found '1.5'."),
        ("/entries?track=", 422, "'track': expected some text, found ''."),
        ("/entries?track=%07", 422, r"'track': expected one line of ordinary text, found '\x07'."),
        ("/entries?page=two", 422, "The value of page is not a number from 1 to 1e+06."),
        ("/journeys?page=two", 422, "'page': expected a whole number, found 'two'."),
        ("/journeys?all=maybe", 422, "'all': expected true or false, found 'maybe'."),
        ("/explain?q=e1", 422, "Nothing is given for 'entry'."),
        ("/explain?q=e1&entry=<b>", 422, "'entry': expected a whole number, found '<b>'."),
        ("/search?q=e1&page=two", 422, "The value of page is not a number from 1 to 10000."),
        ("/upload", 405, "/upload is what a form is sent to, and no page to open."),
    ],
)
def test_a_wrong_address_says_what_is_wrong(client: TestClient, address: str, status: int, words: str) -> None:
    answer = client.get(address, headers=HTML)
    assert (answer.status_code, html.unescape(answer.text).count(words)) == (status, 1)
    assert "/" in checked(answer.text).links
    assert "openapi" not in answer.text
    assert "Input should" not in answer.text


@pytest.mark.parametrize(
    ("address", "form", "words"),
    [
        ("/entries/4/update", {"camid": "x"}, "'camid': expected a whole number, found 'x'."),
        ("/entries/4/update", {"camid": "1", "pid": "anna"}, "'pid': expected a whole number, found 'anna'."),
        ("/entries/4/update", {"camid": "1", "time": "nan"}, "'time': expected a number, found 'nan'."),
        ("/entries/4/forget", {}, "Nothing is given for 'sure'."),
        ("/gallery/expire", {"days": "0", "by": "time", "sure": "yes"}, "'days': expected 1 or more, found '0'."),
        ("/calibration/answer", {"said": "maybe"}, "'said': expected 'same', 'other', 'unsure' or 'back', found"),
    ],
)
def test_a_wrong_field_says_what_is_wrong(client: TestClient, address: str, form: dict[str, str], words: str) -> None:
    answer = client.post(address, data=form, headers=HTML)
    assert answer.status_code == 422
    assert words in html.unescape(answer.text)


def test_the_page_of_an_entry_calls_a_crop_by_its_video_and_time(client: TestClient, place: Path) -> None:
    with open_gallery(place, write=True) as gallery:
        gallery.update([4], path="/secret/gate.mp4#t=13.200&xywh=310,88,64,171&frame=330&seen=-1.000,2.000")
        gallery.update([5], path="/")
    page = client.get("/entries/4", headers=HTML).text
    assert ">gate.mp4, 13.20 s</dd>" in page
    assert 'title="gate.mp4#t=13.200&amp;xywh' in page
    assert ">entry 5</dd>" in client.get("/entries/5", headers=HTML).text


@pytest.mark.parametrize("page", ["/entries/1", "/entries", "/gallery", "/search?q=e1"])
def test_times_tell_their_zone(client: TestClient, page: str) -> None:
    assert re.search(r"2023-11-14 \d\d:\d\d:\d\d UTC", client.get(page, headers=HTML).text)


def test_the_axes_of_the_calibration_end_at_round_numbers(client: TestClient) -> None:
    ticks = re.findall(r'class="tick mid"[^>]*>([^<]*)<', client.get("/calibration", headers=HTML).text)
    assert ticks
    assert all(len(tick) <= 4 for tick in ticks)
