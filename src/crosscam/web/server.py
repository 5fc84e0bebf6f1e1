"""The server: its start, its end with the last answer, and limits on connections.

The guard stands before requests, and a connection that never finishes its headers is none yet. So the limits are here,
at the protocol: a time from the connection, or from the end of the last answer, to the end of the headers; and a number
of connections, in all and for each address. Where there are too many, the one that has waited longest without a request
is closed in favour of the new one, so that a client that only holds connections open does not shut others out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from crosscam.errors import WebError
from crosscam.system.text import counted
from crosscam.web.app import create_app
from crosscam.web.server_settings import Limits, Settings
from crosscam.web.service import Service

SPARE_FILES = 128
"""Files that the server needs beside its connections: the gallery, the log, pipes."""


class Connections:
    """The open connections of a server.

    Args:
        limits: see there.
    """

    def __init__(self, limits: Limits) -> None:
        self.seconds = limits.head_seconds
        self._each = limits.connections_each
        self._most = min(limits.connections, most_files() - SPARE_FILES)
        # In the order in which they began to wait.
        self._waiting: dict[LimitedProtocol, None] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count.total()

    def admit(self, connection: LimitedProtocol) -> bool:
        """Count a new connection; False where it cannot be had."""
        mine = self._count[connection.address] >= self._each
        if mine or len(self) >= self._most:
            oldest = next((c for c in self._waiting if not mine or c.address == connection.address), None)
            if oldest is None:
                return False
            oldest.give_up()
        self._count[connection.address] += 1
        self.wait(connection)
        return True

    def wait(self, connection: LimitedProtocol) -> None:
        """The connection has no request now."""
        self._waiting[connection] = None

    def work(self, connection: LimitedProtocol) -> None:
        """The connection has a request now."""
        self._waiting.pop(connection, None)

    def leave(self, connection: LimitedProtocol) -> None:
        """The connection is closed."""
        self.work(connection)
        self._count[connection.address] -= 1
        if self._count[connection.address] <= 0:
            del self._count[connection.address]


class LimitedProtocol(H11Protocol):
    """A connection within :class:`Connections`, which a subclass names as ``all``."""

    all: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = ""
        self._admitted = False
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and start the clock."""
        super().connection_made(transport)
        self.address = network_of(self.client[0] if self.client else "")
        self._admitted = self.all.admit(self)
        if not self._admitted:
            transport.abort()
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        super().connection_lost(exc)
        self._stop_clock()
        if self._admitted:
            self._admitted = False
            self.all.leave(self)

    def handle_events(self) -> None:
        """Stop the clock when the headers of a request are complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._stop_clock()
            self.all.work(self)

    def on_response_complete(self) -> None:
        """Start the clock for the next request, however much of this one's body is still to come."""
        if self._admitted and not self.transport.is_closing():
            self._start_clock()
            self.all.wait(self)
        super().on_response_complete()

    def give_up(self) -> None:
        """Close it without an answer: it has not asked for anything."""
        self._stop_clock()
        if self._admitted:
            self._admitted = False
            self.all.leave(self)
        if self.transport is not None and not self.transport.is_closing():
            if self.conn.our_state is not h11.ERROR:
                self.conn.send_failed()
            self.transport.abort()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(self.all.seconds, self.give_up)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def limited(limits: Limits) -> type[LimitedProtocol]:
    """The protocol of one server."""
    return type("Protocol", (LimitedProtocol,), {"all": Connections(limits)})


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, which one household has to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def most_files() -> int:
    """Raise the number of files that this process may have open to the most it can be, and give that."""
    try:
        import resource
    except ImportError:  # not on this system, which has no such limit
        return 1 << 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS says "unlimited" and refuses it
            pass
    return 1 << 16 if soft == resource.RLIM_INFINITY else max(SPARE_FILES + 16, int(soft))


BACKLOG = 1024


def run_server(service: Service, settings: Settings, name: str, say: Callable[[str], None], uploads: str = "") -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        service: the gallery, opened.
        settings: where and for whom.
        name: what pages call the gallery.
        say: told the address, once requests are taken.
        uploads: a sentence on the network that describes uploads, which is told with the address.
    Raises:
        WebError: the address or port cannot be had.
    """
    listening = bind(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        create_app(service, settings, name),
        http=limited(settings.limits),
        ws="none",
        log_level="warning",
        access_log=False,
        # Anybody could claim another address in these headers.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=10,
        backlog=BACKLOG,
    )
    entries = counted(len(service.gallery), "entry")
    say(f"Serving {name} ({entries}) at http://{shown}:{port} until Ctrl-C. {uploads}".rstrip())
    if not settings.loopback:
        say("note: this is plain HTTP. Put a proxy with TLS before it, or tokens and images can be read on the way.")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        WebError: the address or port cannot be had.
    """
    # Larger numbers would silently be taken modulo 65536.
    if not 0 <= port <= 65535:
        raise WebError(f"There is no port {port}. Choose one from 0 to 65535; 0 takes a free one.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WebError(
            f"Cannot listen on {host}, port {port} ({reason}). Choose another with --port or --host."
        ) from error
    return listening
