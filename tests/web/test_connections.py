"""Connections that say nothing, and too many of them; a server on a free port of this machine."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from crosscam.web.app import create_app
from crosscam.web.server import SPARE_FILES, Connections, bind, limited, most_files, network_of
from crosscam.web.server_settings import Limits, Settings, digest
from crosscam.web.service import Service

TOKEN = "0123456789abcdef0123"
Start = Callable[[Limits], int]


@pytest.fixture
def start(service: Service) -> Iterator[Start]:
    """Starts a server with limits; its port."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def begin(limits: Limits) -> int:
        settings = Settings(tokens={digest(TOKEN): "anna"}, limits=limits)
        listening = bind("127.0.0.1", 0)
        app = create_app(service, settings, "people.gallery")
        server = uvicorn.Server(uvicorn.Config(app, http=limited(limits), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread, listening))
        port: int = listening.getsockname()[1]
        return port

    yield begin
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


def ask(port: int, path: str = "/health") -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
    status = connection.getresponse().status
    connection.close()
    return status


@contextmanager
def held(port: int, count: int, text: bytes = b"GET / HTTP/1.1\r\nX-a: ") -> Iterator[list[socket.socket]]:
    """Connections that have sent a part of a request."""
    found = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]
    try:
        for connection in found:
            connection.sendall(text)
        yield found
    finally:
        for connection in found:
            connection.close()


def closed_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the server closes a connection, whatever it answers before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_headers_have_a_time(start: Start) -> None:
    port = start(Limits(head_seconds=0.5))
    with held(port, 3) as connections, held(port, 2, b"") as silent:
        for _ in range(8):  # a byte now and then does not help
            for connection in connections:
                try:
                    connection.sendall(b"x")
                except OSError:
                    break
            time.sleep(0.1)
        assert all(closed_within(c, 2) for c in [*connections, *silent])
    assert ask(port, "/api/v1/info") == 200


def test_the_time_runs_again_after_an_answer(start: Start) -> None:
    port = start(Limits(head_seconds=0.5))
    whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with held(port, 1, whole + b"GET /health HTTP/1.1\r\nX-a: ") as (connection,):
        assert closed_within(connection, 3)
    # A body that does not come after a refusal holds nothing either.
    early = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000\r\n\r\nab"
    with held(port, 1, early) as (connection,):
        assert connection.recv(12) == b"HTTP/1.1 401"
        assert closed_within(connection, 3)


def test_requests_take_longer_than_headers_may(start: Start) -> None:
    port = start(Limits(head_seconds=0.3))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = b"query=e1"
    head = {"authorization": f"Bearer {TOKEN}", "content-type": "application/x-www-form-urlencoded"}
    connection.putrequest("POST", "/api/v1/search")
    for name, value in (head | {"content-length": str(len(body))}).items():
        connection.putheader(name, value)
    connection.endheaders()
    time.sleep(1)
    connection.send(body)
    assert connection.getresponse().status == 200
    connection.close()


def test_whoever_holds_connections_shuts_nobody_out(start: Start) -> None:
    port = start(Limits(connections_each=20, head_seconds=30))
    with held(port, 60) as connections:
        for _ in range(5):
            assert ask(port, "/api/v1/info") == 200
        assert sum(closed_within(c, 0.05) for c in connections) >= 40
    assert ask(port) == 200


def test_a_login_has_little_time_and_room(start: Start) -> None:
    port = start(Limits(head_seconds=0.5, waiting=16))
    head = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with held(port, 20, head + b"Content-Length: 900\r\n\r\ntoken=") as connections:
        assert ask(port, "/api/v1/info") == 200
        assert all(closed_within(c, 4) for c in connections)
    with held(port, 1, head + b"Content-Length: 900000\r\n\r\ntoken=") as (connection,):
        assert connection.recv(12) == b"HTTP/1.1 413"


class Silent:
    """Takes the place of a connection."""

    def __init__(self, every: Connections, address: str) -> None:
        self.all, self.address, self.open = every, address, True

    def give_up(self) -> None:
        """As the real one does."""
        self.open = False
        self.all.leave(self)  # type: ignore[arg-type]


def test_the_one_that_waits_longest_goes_first() -> None:
    every = Connections(Limits(connections=3, connections_each=2))
    a, b, c, d = (Silent(every, name) for name in "aabc")
    assert every.admit(a)  # type: ignore[arg-type]
    assert every.admit(b)  # type: ignore[arg-type]
    every.work(a)  # type: ignore[arg-type]
    assert every.admit(c)  # type: ignore[arg-type]
    assert every.admit(d)  # type: ignore[arg-type]
    assert (a.open, b.open, c.open, d.open) == (True, False, True, True)
    for one in (c, d):
        every.work(one)  # type: ignore[arg-type]
    assert not every.admit(Silent(every, "d"))  # type: ignore[arg-type]
    assert len(every) == 3


def test_addresses_that_are_one() -> None:
    assert network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("testclient") == "testclient"


def test_files_are_as_many_as_may_be() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        most = most_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
        assert most > SPARE_FILES
        assert Connections(Limits(connections=10**9))._most == most - SPARE_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_the_call_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    assert most_files() == 1 << 16
