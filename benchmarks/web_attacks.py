"""Requests that are made to stop a server, for ``web_hostile.py``: while each goes on, others ask and are timed.

Every case leaves the server as it was; what is expected is that the health route answers within a second throughout,
that nothing is answered with 500 or more, and that those who have a token are served.
"""

from __future__ import annotations

import http.client
import io
import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

SLOW_HEADERS, SLOW_BODIES = 1200, 300
HELD_SECONDS = 14.0
HEADERS = ("Host", "Origin", "Referer", "Cookie", "Content-Type", "Content-Length", "Range", "Authorization", "Accept")
CHARSETS = ("punycode", "idna", "unicode_escape", "utf-7", "zip", "rot13", '"punycode"', "UTF-8; charset=zip")
PATHS = ("/", "/search", "/explain", "/entries", "/api/v1/search", "/api/v1/entries", "/login", "/export.csv", "/audit")
NAMES = ("q", "page", "camid", "track", "entry", "first", "head", "limit", "start", "next", "cam")
ODD = (
    "http://[",
    "http://[::1",
    "[",
    "]",
    "//",
    "\u00b2",
    "\u0663",
    "%ff",
    "%00",
    "%ed%a0%80",
    "nan",
    "inf",
    "-1",
    "1e400",
    "9" * 5000,
    "'",
    '"',
    "\\",
    '"\\' * 1500,
    ";" * 1500,
    "=" * 500,
    "a=" + "b" * 7000,
    "bytes=0-,1-2",
    "bytes=9-0",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x; charset=punycode",
    'text/plain; charset="utf-7"',
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "crosscam_session=\xff",
    "Bearer",
    "Bearer \xff",
    "Basic x",
)


@dataclass
class Watch:
    """The health route, asked again and again on connections of their own.

    Attributes:
        seconds: how long each answer took.
        lost: what came instead of an answer.
    """

    host: str
    port: int
    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _over: bool = False

    def ask(self) -> None:
        """Until it is over."""
        while not self._over:
            began = time.perf_counter()
            try:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
                connection.close()
                if answer.status != 200:
                    self.lost.append(str(answer.status))
            except OSError as error:
                self.lost.append(type(error).__name__)
            self.seconds.append(time.perf_counter() - began)
            time.sleep(0.05)


@contextmanager
def watched(host: str, port: int) -> Iterator[Watch]:
    """Watch for the length of a case."""
    watch = Watch(host, port)
    thread = threading.Thread(target=watch.ask)
    thread.start()
    try:
        yield watch
    finally:
        watch._over = True
        thread.join()


@dataclass
class Target:
    """The server.

    Attributes:
        host, port: where.
        token: of somebody who may ask.
        picture: an ordinary image.
        audit: the log.
    """

    host: str
    port: int
    token: str
    image: bytes
    audit: Path

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        """Status of an answer, 0 for none."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.token}"} | (headers or {}))
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def upload(self, image: bytes) -> tuple[int, float]:
        """Status and seconds of a search with an image."""
        head = b'--B\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        began = time.perf_counter()
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        status = self.ask("POST", "/api/v1/search", head + image + b"\r\n--B--\r\n", kind)
        return status, round(time.perf_counter() - began, 2)

    def raw(self, data: bytes, seconds: float = 20.0) -> int:
        """Status of what came back for some bytes, 0 for none."""
        with socket.create_connection((self.host, self.port), timeout=seconds) as connection:
            try:
                connection.sendall(data)
                words = connection.recv(64).split()
            except OSError:
                return 0
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def charsets(target: Target) -> dict[str, Any]:
    """Fields that Python's slower charsets would take minutes over, in the header of the body and of a part."""
    statuses: Counter[int] = Counter()
    for size in (300_000, 600_000):
        for charset in (
            "punycode",
            "idna",
            "unicode_escape",
            "utf-7",
            "zip",
            "rot13",
            '"punycode"',
            "UTF-8; charset=zip",
        ):
            for outside in (True, False):
                inner = b"" if outside else b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n"
                part = b'--xx\r\nContent-Disposition: form-data; name="token"\r\n' + inner + b"\r\n"
                body = part + b"a" * size + b"\r\n--xx--\r\n"
                kind = b"multipart/form-data; boundary=xx" + (b"; charset=" + charset.encode() if outside else b"")
                path = "/login" if outside else "/api/v1/search"
                who = "" if outside else f"\r\nAuthorization: Bearer {target.token}"
                head = f"POST {path} HTTP/1.1\r\nConnection: close\r\nHost: {target.host}{who}".encode()
                head += b"\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
                statuses[target.raw(head + body)] += 1
    return {"statuses": dict(statuses)}


def slow(target: Target, count: int, head: bytes) -> dict[str, Any]:
    """Connections that never finish; a token holder asks meanwhile."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files[1], 60_000), files[1]))
    held, served = [], Counter[int]()
    for _ in range(count):
        connection = socket.create_connection((target.host, target.port), timeout=10)
        connection.sendall(head)
        held.append(connection)
    until = time.perf_counter() + HELD_SECONDS
    while time.perf_counter() < until:
        served[target.ask("GET", "/api/v1/info")] += 1
        served[target.upload(target.image)[0]] += 1
        time.sleep(0.2)
    closed = sum(is_closed(connection) for connection in held)
    for connection in held:
        connection.close()
    return {"held": count, "closed by the server": closed, "token holders": dict(served)}


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def slow_headers(target: Target) -> dict[str, Any]:
    """Half a header on each of very many connections."""
    return slow(target, SLOW_HEADERS, f"GET /login HTTP/1.1\r\nHost: {target.host}\r\nX-a: ".encode())


def slow_bodies(target: Target) -> dict[str, Any]:
    """A login without a token, the body of which does not come."""
    head = f"POST /login HTTP/1.1\r\nHost: {target.host}\r\nContent-Length: 15000\r\n"
    return slow(target, SLOW_BODIES, head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=")


def images(target: Target) -> dict[str, Any]:
    """Small files that are long to decode, several at once, with ordinary uploads beside them."""
    bombs = list(bad_images())
    ordinary: list[tuple[int, float]] = []
    statuses: dict[str, tuple[int, float]] = {}

    def send(name: str, data: bytes) -> None:
        statuses[name] = target.upload(data)

    for name, data in bombs:
        thread = threading.Thread(target=send, args=(name, data))
        thread.start()
        time.sleep(0.1)
        while thread.is_alive():
            ordinary.append(target.upload(target.image))
            time.sleep(0.1)
        thread.join()
    slowest = max(seconds for _, seconds in ordinary)
    return {"answers": statuses, "ordinary": dict(Counter(s for s, _ in ordinary)), "slowest ordinary, s": slowest}


def bad_images() -> Iterator[tuple[str, bytes]]:
    """Names and files."""

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    black = Image.new("RGB", (4990, 4990))
    jpeg = saved(black, "JPEG", quality=10, progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    yield "JPEG of 2,000 scans", jpeg[:-2] + scan * 2000 + b"\xff\xd9"
    yield "JPEG of 60 scans", jpeg[:-2] + scan * 50 + b"\xff\xd9"
    tall = Image.fromarray(np.zeros((24_999_999, 1, 3), np.uint8))
    yield "PNG of 1 x 25 million", saved(tall, "PNG")
    yield "PNG of 25 million x 1", saved(tall.transpose(Image.Transpose.ROTATE_90), "PNG")
    yield "TIFF of 1 x 25 million", saved(tall, "TIFF", compression="tiff_deflate")
    for kind in ("PNG", "GIF", "WEBP"):
        yield f"{kind} of 25 million pixels", saved(black, kind)
    yield "PNG of 16 bits", saved(Image.fromarray(np.zeros((4990, 4990), np.uint16)), "PNG")


def wrong_tokens(target: Target) -> dict[str, Any]:
    """Guesses, and the right token behind the same address."""
    wrong = Counter(target.ask("GET", "/api/v1/info", headers={"Authorization": f"Bearer {n}"}) for n in range(60))
    return {"wrong": dict(wrong), "right": target.ask("GET", "/api/v1/info")}


def headers(target: Target, count: int = 1500, seed: int = 0) -> dict[str, Any]:
    """Values that no header and no query parameter should have, with a token and without."""
    chance = random.Random(seed)
    statuses: Counter[int] = Counter()
    for n in range(count):
        method, path = chance.choice(("GET", "POST", "HEAD")), chance.choice(PATHS)
        query = "&".join(f"{chance.choice(NAMES)}={chance.choice(ODD)}" for _ in range(chance.randrange(4)))
        line = f"{method} {path}?{query}".replace(" ", "%20").replace("%20", " ", 1) + " HTTP/1.1"
        sent = {"Host": target.host, "Connection": "close"}
        if n % 3:
            sent["Authorization"] = f"Bearer {target.token}"
        for _ in range(chance.randrange(1, 4)):
            sent[chance.choice(HEADERS)] = chance.choice(ODD)
        text = "\r\n".join([line, *(f"{name}: {value}" for name, value in sent.items())])
        statuses[target.raw(text.encode("utf-8", "surrogateescape") + b"\r\n\r\n", 1.0)] += 1
    return {"statuses": dict(sorted(statuses.items()))}


def moved_log(target: Target) -> dict[str, Any]:
    """The audit log renamed, and deleted, under the server."""
    found = {}
    target.audit.rename(target.audit.with_suffix(".old"))
    found["after it was renamed"] = search_is_logged(target)
    target.audit.unlink()
    found["after it was deleted"] = search_is_logged(target)
    return found


def search_is_logged(target: Target) -> str:
    """Whether a search is answered and in the log, or not answered."""
    status = target.ask("POST", "/api/v1/search", b"query=e1", {"Content-Type": "application/x-www-form-urlencoded"})
    lines = target.audit.read_text().count('"search"') if target.audit.exists() else 0
    return f"{status}, {lines} in the log"


CASES: dict[str, Callable[[Target], dict[str, Any]]] = {
    "charsets": charsets,
    "slow headers": slow_headers,
    "slow bodies": slow_bodies,
    "pictures": images,
    "headers and parameters": headers,
    "wrong tokens": wrong_tokens,
    "the log moved": moved_log,
}


def attack(address: str, token: str, image: bytes, audit: Path) -> tuple[dict[str, Any], list[str]]:
    """All cases: what each showed, and what is wrong with it."""
    parts = urlsplit(address)
    target = Target(parts.hostname or "", parts.port or 80, token, image, audit)
    target.upload(image)
    results: dict[str, Any] = {}
    faults: list[str] = []
    for name, case in CASES.items():
        with watched(target.host, target.port) as watch:
            found = case(target)
        health = {"asked": len(watch.seconds), "slowest, s": round(max(watch.seconds), 3), "lost": watch.lost[:5]}
        results[name] = found | {"health": health}
        print(f"{name}: {results[name]}", flush=True)
        if watch.lost or max(watch.seconds) > 1:
            faults.append(f"{name}: the health route took {max(watch.seconds):.2f} s, lost {watch.lost[:5]}")
        faults += [f"{name}: {fault}" for fault in faults_of(found)]
    return results, faults


def faults_of(found: dict[str, Any]) -> Iterator[str]:
    """What no case may show."""
    statuses = [*found.get("statuses", {}), *(status for status, _ in found.get("answers", {}).values())]
    if any(status >= 500 for status in statuses):
        yield f"answers above 499: {statuses}"
    for name in ("token holders", "ordinary"):
        if set(found.get(name, {})) - {200}:
            yield f"{name} were not served: {found[name]}"
    if found.get("right", 200) != 200:
        yield "the right token was refused"
    if "held" in found and found["closed by the server"] < found["held"]:
        yield f"{found['held'] - found['closed by the server']} connections are still held"
    for name in ("after it was renamed", "after it was deleted"):
        if found.get(name, "503, 0 in the log") not in ("200, 1 in the log", "503, 0 in the log"):
            yield f"{name}: {found[name]}"
