"""Who gets in: hosts, origins, tokens, rates, sizes; and the headers on every answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from answers import one_line
from starlette.testclient import TestClient

from crosscam.web.guard import HEADERS
from crosscam.web.server_settings import Limits, digest
from crosscam.web.service import Service

Make = Callable[..., TestClient]
TOKEN = "0123456789abcdef0123"
TOKENS = {digest(TOKEN): "anna", digest(TOKEN + "x"): "ben"}
HTML = {"accept": "text/html"}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/api/v1/info", 200), ("/static/style.css", 200), ("/nowhere", 404), ("/api/v1/entries/999999", 404)],
)
def test_every_answer_has_the_security_headers(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        if name != "cache-control":
            assert answer.headers[name] == value
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_a_foreign_host_name_is_refused_on_loopback(client: TestClient, host: str) -> None:
    assert "Host header" in one_line(client.get("/api/v1/info", headers={"host": host}), 400)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8700", "LOCALHOST"])
def test_own_names_are_not(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(client: TestClient, service: Service, headers: dict[str, str]) -> None:
    before = len(service.gallery)
    assert "another site" in one_line(client.post("/api/v1/forget", json={"ids": [1]}, headers=headers), 403)
    assert client.post("/entries/1/forget", data={"sure": "yes"}, headers=headers | HTML).status_code == 403
    assert client.delete("/api/v1/entries/1", headers=headers).status_code == 403
    assert len(service.gallery) == before


def test_pages_of_other_sites_embed_no_image(client: TestClient) -> None:
    path = "/api/v1/entries/1/thumbnail"
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get(path, headers=embedded).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.get(path, headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_own_forms_are_taken(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:8700", "sec-fetch-site": "same-origin"}
    answer = client.post("/feedback", data={"back": "q=e1", "entry": 5, "said": "same"}, headers=headers)
    assert answer.status_code == 200


def paths_of(client: TestClient) -> list[tuple[str, str]]:
    """Every method and path of the application, pages included."""
    schema = client.get("/api/v1/openapi.json").json()
    found = [(method, path) for path, verbs in schema["paths"].items() for method in verbs]
    pages = [
        "/",
        "/search?q=e1",
        "/explain?q=e1&entry=2",
        "/entries",
        "/entries/1",
        "/gallery",
        "/calibration",
        "/audit",
    ]
    pages += [
        "/export.csv?q=e1",
        "/export.html?q=e1",
        "/query/e1/0.jpg",
        "/static/style.css",
        "/static/app.js",
        "/nowhere",
    ]
    pages += ["/api/v1/openapi.json", "/docs", "/redoc", "/openapi.json", "/login/../gallery", "//gallery", "/LOGIN"]
    return (
        found
        + [("get", page) for page in pages]
        + [("post", p) for p in ("/upload", "/feedback", "/gallery/expire", "/calibration/answer")]
    )


def test_without_the_token_nothing_is_reachable(make: Make, service: Service, client: TestClient) -> None:
    strangers = make(host="0.0.0.0", tokens=TOKENS)
    for method, path in paths_of(client):
        where = path.replace("{number}", "1")
        one_line(strangers.request(method, where), 401)
        wrong = strangers.request(method, where, headers={"cookie": "crosscam_session=guess"})
        one_line(wrong, 401)
    answer = strangers.get("/gallery", headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fgallery"
    login = strangers.get("/login")
    assert login.status_code == 200
    assert "people" not in login.text
    assert service.audit.last(10) == []


def test_with_a_token_and_in_the_log_by_name(make: Make, service: Service) -> None:
    known = make(host="0.0.0.0", tokens=TOKENS)
    headers = {"authorization": f"Bearer {TOKEN}x"}
    assert known.get("/api/v1/info", headers=headers).status_code == 200
    assert known.post("/api/v1/search", data={"query": "e1"}, headers=headers).status_code == 200
    assert service.audit.last(1)[0]["who"] == "ben"


def test_wrong_tokens_are_counted(make: Make) -> None:
    strangers = make(host="0.0.0.0", tokens=TOKENS, limits=Limits(failures=3))
    for _ in range(3):
        one_line(strangers.get("/api/v1/info", headers={"authorization": "Bearer nonsense"}), 401)
    one_line(strangers.get("/api/v1/info", headers={"authorization": "Bearer nonsense"}), 429)
    assert strangers.post("/login", data={"token": "nonsense"}).status_code == 429
    # Whoever has the right one is let in, though others behind the same address went on guessing.
    assert strangers.get("/api/v1/info", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert strangers.post("/login", data={"token": TOKEN}, follow_redirects=False).status_code == 303


def test_a_browser_logs_in_and_out(make: Make) -> None:
    browser = make(host="0.0.0.0", tokens=TOKENS)
    assert browser.post("/login", data={"token": "wrong"}).status_code == 401
    answer = browser.post("/login", data={"token": TOKEN, "next": "/gallery"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/gallery")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    page = browser.get("/gallery", headers=HTML)
    assert "Log out anna" in page.text
    old = browser.cookies["crosscam_session"]
    assert browser.post("/logout", follow_redirects=False).status_code == 303
    one_line(browser.get("/gallery", headers={"cookie": f"crosscam_session={old}"}), 401)


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\r\nset-cookie: x=1"]
)
def test_a_login_leads_nowhere_else(make: Make, target: str) -> None:
    answer = make(host="0.0.0.0", tokens=TOKENS).post(
        "/login", data={"token": TOKEN, "next": target}, follow_redirects=False
    )
    assert answer.headers["location"] == "/"


CHARSETS = ["punycode", "idna", "utf-7", "utf-16", "zip", "unicode_escape", '"punycode"', "UTF-8; charset=punycode"]


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_charset_that_is_no_text_of_ours(make: Make, charset: str) -> None:
    """Before any token is asked for, and before the body is read."""
    strangers = make(host="0.0.0.0", tokens=TOKENS)
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json"):
        headers = {"content-type": f"{kind}; charset={charset}"}
        assert "Send UTF-8" in one_line(strangers.post("/login", content=b"x" * 100, headers=headers), 415)
    for path in ("/upload", "/api/v1/search"):
        kept = headers | {"authorization": f"Bearer {TOKEN}"}
        assert strangers.post(path, content=b"x", headers=kept).status_code == 415


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_charset_of_a_part(client: TestClient, charset: str) -> None:
    part = f'--x\r\nContent-Disposition: form-data; name="query"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'
    content = part.encode() + b"e1\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert "Send UTF-8" in one_line(client.post("/api/v1/search", content=content, headers=headers), 400)


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "ISO-8859-1", "latin-1", "us-ascii", '"utf-8"'])
def test_charsets_of_ours(client: TestClient, charset: str) -> None:
    part = f'--x\r\nContent-Disposition: form-data; name="query"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'
    content = part.encode() + b"e1\r\n--x--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    assert client.post("/api/v1/search", content=content, headers=headers).status_code == 200


def test_a_part_with_endless_headers(client: TestClient) -> None:
    content = b'--x\r\nContent-Disposition: form-data; name="query"; a="' + b'\\"' * 50_000 + b'"\r\n\r\ne1\r\n--x--'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/api/v1/search", content=content, headers=headers).status_code == 400
    assert client.post("/api/v1/search", headers={"content-type": "a/b; " * 900}).status_code == 415


ODD = [
    "http://[",
    "[::1",
    "[",
    "%ff",
    "%00",
    "-1",
    "9" * 5000,
    "'",
    '"\\' * 900,
    "multipart/form-data; boundary=",
    "\xff",
]
ODD += ["bytes=9-0", "Bearer", "\xb2", "crosscam_session=\xff"]
NAMES = ["host", "origin", "referer", "cookie", "content-type", "content-length", "range", "authorization", "accept"]


@pytest.mark.parametrize("name", NAMES)
def test_no_header_reaches_a_traceback(make: Make, name: str) -> None:
    """The client of the tests passes every error of the application on."""
    own = {"authorization": f"Bearer {TOKEN}"}
    for client in (make(), make(host="0.0.0.0", tokens=TOKENS)):
        for value in ODD:
            headers = [*((k, v.encode()) for k, v in own.items() if k != name), (name, value.encode("latin-1"))]
            for method, path in (("GET", "/gallery"), ("POST", "/api/v1/search")):
                answer = client.request(method, path, headers=headers, follow_redirects=False)
                assert answer.status_code < 500, (name, value, path)


def test_no_parameter_reaches_a_traceback(client: TestClient) -> None:
    names = ("q", "page", "camid", "track", "entry", "first", "head", "cam", "limit", "start", "next", "query")
    paths = ("/search", "/explain", "/entries", "/export.csv", "/api/v1/entries", "/api/v1/feedback", "/login")
    values = (*ODD, "nan", "1e400", "%ed%a0%80", "\ud7ff", "\u0663")
    every = [(path, name, value) for path in paths for name in names for value in values]
    for path, name, value in random.Random(0).sample(every, 120):
        answer = client.get(path, params={"q": "e1", "entry": "2", name: value})
        assert answer.status_code < 500, (path, name, value)


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "[", "null", "", "http://127.0.0.1:8700@evil", "http://\xb2"]
)
def test_an_origin_that_is_none_is_foreign(client: TestClient, origin: str) -> None:
    answer = client.post("/api/v1/forget", json={"ids": [1]}, headers={"origin": origin.encode("latin-1")})
    assert "another site" in one_line(answer, 403)


def test_the_health_route_tells_everybody_nothing_else(make: Make) -> None:
    for client in (make(limits=Limits(waiting=0)), make(host="0.0.0.0", tokens=TOKENS)):
        answer = client.get("/health", headers={"host": "probe"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert client.post("/health", headers={"host": "probe"}).status_code >= 400


def test_too_many_requests(make: Make) -> None:
    client = make(limits=Limits(rate=2))
    statuses = [client.post("/api/v1/search", data={"query": "e1"}).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = client.get("/search?q=e1")
    assert int(answer.headers["retry-after"]) > 0
    one_line(answer, 429)
    assert client.get("/api/v1/info").status_code == 200


def test_too_many_at_once(make: Make) -> None:
    one_line(make(limits=Limits(waiting=0)).get("/api/v1/info"), 429)


def test_a_body_that_is_too_large(make: Make, image: bytes) -> None:
    client = make(limits=Limits(upload_bytes=20_000))
    large = {"picture": ("a.jpg", image + bytes(30_000), "image/jpeg")}
    assert "20,000 bytes" in one_line(client.post("/api/v1/search", files=large), 413)

    def chunks() -> Any:
        for _ in range(40):
            yield bytes(1000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    # Without a Content-Length the size shows only while it comes in.
    assert "20,000 bytes" in one_line(client.post("/api/v1/search", content=chunks(), headers=headers), 413)
    assert client.post("/upload", files=large, headers=HTML).status_code == 413
    for length in ("-1", "x", "9" * 40):
        one_line(client.post("/api/v1/forget", content=b"", headers={"content-length": length}), 413)


def test_all_bodies_together_are_bounded(make: Make, image: bytes) -> None:
    client = make(limits=Limits(upload_total=20_000))
    large = {"picture": ("a.jpg", image + bytes(30_000), "image/jpeg")}
    for _ in range(2):
        assert "uploaded at once" in one_line(client.post("/api/v1/search", files=large), 429)
    for _ in range(9):  # what is done takes no room
        assert client.post("/api/v1/search", files={"picture": ("a.jpg", image)}).status_code == 200


def test_uploads_are_not_written_to_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def rollover(file: Any) -> None:
        raise AssertionError("an upload went to a temporary file")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", rollover)
    one_line(client.post("/api/v1/search", files={"picture": ("a.jpg", bytes(5_000_000))}), 422)


def test_browsers_get_pages_for_errors(client: TestClient) -> None:
    answer = client.get("/search?q=e999999", headers=HTML)
    assert answer.status_code == 404
    assert "There is no entry 999999" in answer.text
    assert re.search(r'role="alert"', answer.text)
    refused = client.get("/", headers=HTML | {"host": "evil<b>.example"})
    assert refused.headers["content-type"].startswith("text/html")
    assert "<b>" not in refused.text
