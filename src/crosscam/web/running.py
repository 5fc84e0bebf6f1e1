"""Starts the server, and ends it with the last answer."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from crosscam.errors import WebError
from crosscam.system.names import counted
from crosscam.web.app import create_app
from crosscam.web.connections import limited
from crosscam.web.service import Service
from crosscam.web.settings import Settings

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
    entries = counted(len(service.gallery), "entry", "entries")
    say(f"Serving {name} ({entries}) at http://{shown}:{port} until Ctrl-C. {uploads}".rstrip())
    if not settings.loopback:
        say("note: this is plain HTTP. Put a proxy with TLS before it, or tokens and pictures can be read on the way.")
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
