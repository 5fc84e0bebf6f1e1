"""Stands before every request: who asks, from where, how often and how much; and puts the security headers on answers.

Plain ASGI, so that a body that is too large is refused while it comes in, before it is parsed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import MutableMapping
from html import escape
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosscam.system.text import counted
from crosscam.web.clients import Rate, Sessions, session_of
from crosscam.web.content import fault_of
from crosscam.web.server_settings import Settings

NOBODY = "nobody"
LOGIN_BYTES = 20_000
LOGIN = "/login"
HEALTH = "/health"
SAFE = ("GET", "HEAD")
COSTLY_PAGES = ("/search", "/explain", "/export")
COSTLY_ENDS = ("/frame", "/clip")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With "no-referrer" browsers would send "Origin: null" with our own forms, and nobody could tell them from others'.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}(?:%[a-z0-9._-]{1,32})?\])(:[0-9]{0,5})?")
_ORIGIN = re.compile(r"https?://(.+)")


class RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


class Guard:
    """See above.

    Args:
        app: what to protect.
        settings: addresses, tokens and limits.
        sessions: of browsers that have logged in.
    """

    def __init__(self, app: ASGIApp, settings: Settings, sessions: Sessions) -> None:
        self.app, self.settings, self.sessions = app, settings, sessions
        self._costly, self._plain = Rate(settings.limits.rate), Rate(20 * settings.limits.rate)
        self.failures = Rate(settings.limits.failures)
        self._inside = self._unknown_inside = 0
        self._room, self._unknown_room = Room(settings.limits.upload_total), Room(settings.limits.upload_total // 16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        if scope["path"] == HEALTH and scope["method"] in SAFE:
            await answer.well(scope)
            return
        try:
            await self._admit(scope, receive, answer)
        except RefusedError as refused:
            await answer.refuse(scope, refused)
        except TimeoutError:
            await answer.refuse(scope, RefusedError(408, "The request took too long."))

    async def _admit(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(scope["method"], headers)
        who, client = self._who(scope, headers)
        self._check_rate(scope, client)
        fault = fault_of(headers)
        if fault:
            raise RefusedError(415, fault)
        scope.setdefault("state", {})["who"] = who
        if who == NOBODY:
            await self._let_in_unknown(scope, headers, receive, answer)
        else:
            await self._let_in(scope, headers, receive, answer)

    async def _let_in(self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer) -> None:
        limits = self.settings.limits
        if self._inside >= limits.waiting:
            raise RefusedError(429, "Too many requests at once. Try again in a moment.", {"retry-after": "2"})
        body = _Body(headers, receive, answer, limits.upload_bytes, self._room)
        self._inside += 1
        try:
            async with asyncio.timeout(limits.seconds):
                await self.app(scope, body, answer)
        finally:
            self._inside -= 1
            self._room.left += body.seen

    async def _let_in_unknown(self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer) -> None:
        """The login form, which takes a moment; it takes no room from those who have a token."""
        limits = self.settings.limits
        if self._unknown_inside >= max(1, limits.waiting // 8):
            raise RefusedError(429, "Too many logins at once. Try again in a moment.", {"retry-after": "2"})
        body = _Body(headers, receive, answer, LOGIN_BYTES, self._unknown_room)
        self._unknown_inside += 1
        try:
            async with asyncio.timeout(limits.head_seconds):
                await self.app(scope, body, answer)
        finally:
            self._unknown_inside -= 1
            self._unknown_room.left += body.seen

    def _check_host(self, headers: Headers) -> None:
        """A foreign name that points to this address is how a web page elsewhere reaches a server on loopback."""
        allowed = self.settings.allowed_hosts
        hosts = headers.getlist("host")
        found = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        name = found[1] if found else ""
        if not name or (allowed is not None and name not in allowed):
            raise RefusedError(
                400,
                "This server is not known by the name in the Host header. Call it by the address it printed, or start "
                "it with --host-name NAME.",
            )

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Pages of other sites may neither change anything nor embed images; programs send none of these headers."""
        site = headers.get("sec-fetch-site", "none")
        if method in SAFE:
            if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
                raise RefusedError(403, "Pages of other sites may not use this server.")
            return
        origin = headers.get("origin")
        own = _ORIGIN.fullmatch((origin or "").lower())
        foreign = origin is not None and (own is None or own[1] != headers["host"].lower())
        if foreign or site not in ("same-origin", "none"):
            raise RefusedError(403, "This request comes from a page of another site, and is refused.")

    def _who(self, scope: Scope, headers: Headers) -> tuple[str, str]:
        """Who asks, and the name under which their requests are counted."""
        address = scope["client"][0] if scope.get("client") else "unknown"
        if not self.settings.tokens:
            return "local", address
        given = headers.get("authorization", "")
        if given:
            kind, _, token = given.partition(" ")
            # The token comes first: whoever has the right one is not shut out by others behind the same address.
            holder = self.settings.holder_of(token.strip()) if kind.lower() == "bearer" else None
            if holder is None:
                if self.failures.take(address):
                    raise RefusedError(429, "Too many wrong tokens. Try again in a minute.", {"retry-after": "60"})
                raise RefusedError(401, "The token is wrong.", {"www-authenticate": "Bearer"})
            return holder, f"token {holder}"
        session = session_of(headers)
        holder = self.sessions.who(session) if session else None
        if holder is not None:
            return holder, f"token {holder}"
        if scope["path"] == LOGIN:
            return NOBODY, address
        if scope["method"] in SAFE and not is_api(scope) and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            target = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
            raise RefusedError(303, "Log in first.", {"location": f"{LOGIN}?next={target}"})
        raise RefusedError(
            401, "A token is needed: send 'Authorization: Bearer TOKEN'.", {"www-authenticate": "Bearer"}
        )

    def _check_rate(self, scope: Scope, client: str) -> None:
        path = scope["path"]
        costly = scope["method"] not in SAFE or path.startswith(COSTLY_PAGES) or path.endswith(COSTLY_ENDS)
        wait = (self._costly if costly else self._plain).take(client)
        if wait:
            raise RefusedError(
                429, f"Too many requests. Try again in {counted(wait, 'second')}.", {"retry-after": str(wait)}
            )


class _Answer:
    """``send``, with the security headers, and with a refusal in the place of an answer that was not begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.refusal: RefusedError | None = None

    async def __call__(self, message: Message) -> None:
        if self.refusal is not None and not self.begun:
            raise self.refusal
        if message["type"] == "http.response.start":
            self.begun = True
            present = {name for name, _ in message.get("headers", [])}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await self._send(message)

    async def well(self, scope: Scope) -> None:
        """Say that the server answers, which is all that a probe may know."""
        body = b'{"status": "ok"}\n'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": 200, "headers": headers})
        await self({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def refuse(self, scope: Scope, refused: RefusedError) -> None:
        """Answer with a refusal; where an answer has begun, it breaks off."""
        if self.begun:
            return
        self.refusal = None
        kind, body = error_body(scope, refused.status, refused.message)
        headers = {"content-type": kind, "content-length": str(len(body)), **refused.headers}
        if refused.status in (408, 413, 415):
            headers["connection"] = "close"
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refused.status, "headers": raw})
        await self({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class Room:
    """Bytes that bodies may still take in memory, over all requests."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Body:
    """``receive``, up to a number of bytes, and while there is room."""

    def __init__(self, headers: Headers, receive: Receive, answer: _Answer, limit: int, room: Room) -> None:
        self._receive, self._answer, self._limit, self._room = receive, answer, limit, room
        self.seen = 0
        stated = headers.get("content-length", "0")
        if not (stated.isascii() and stated.isdigit()) or len(stated) > 18 or int(stated) > limit:
            raise self._too_large()

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"The request is larger than {self._limit:,} bytes. Send smaller images.")

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.seen += size
            self._room.left -= size
            refusal = None
            if self.seen > self._limit:
                refusal = self._too_large()
            elif self._room.left < 0:
                refusal = RefusedError(
                    429, "Too much is uploaded at once. Try again in a moment.", {"retry-after": "2"}
                )
            if refusal:
                # Whoever parses the body may turn this error into its own; the answer is this one all the same.
                self._answer.refusal = refusal
                raise refusal
        return message


def is_api(scope: Scope | MutableMapping[str, Any]) -> bool:
    """Whether the path is of the REST API."""
    return str(scope["path"]).startswith("/api")


def error_body(scope: Scope | MutableMapping[str, Any], status: int, message: str) -> tuple[str, bytes]:
    """Content type and body of an error: one JSON line for programs, a plain page for browsers."""
    if is_api(scope) or "text/html" not in Headers(scope=scope).get("accept", ""):
        return "application/json", (json.dumps({"error": message, "status": status}) + "\n").encode()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<title>Not possible · crosscam</title><link rel="stylesheet" href="/static/style.css"></head><body><main>'
        f'<h1>That did not work</h1><p class="note" role="alert">{escape(message)}</p>'
        f'<p class="hint">Status {status}. <a href="/">Begin a search</a></p></main></body></html>'
    )
    return "text/html; charset=utf-8", page.encode()
