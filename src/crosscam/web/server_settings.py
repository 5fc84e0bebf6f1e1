"""What a server may do and for whom: addresses, tokens, limits."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crosscam.data.text_files import read_lines
from crosscam.errors import DataError, WebError

LEAST_TOKEN = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one request, one client and all of them may ask for.

    Attributes:
        upload_bytes: of one request's body.
        upload_total: of all bodies that are in memory at once.
        images: in one request.
        pixels: of one image, read off its header before it is decoded.
        hits: the farthest rank that can be asked for.
        rate: searches, changes and explanations per minute for each client; pages and thumbnails twenty times that.
        failures: wrong tokens per minute for each address.
        waiting: requests in the house at once, over all clients.
        connections: open at once, over all clients.
        connections_each: likewise, of one address (of IPv6: of one network of 64 bits).
        head_seconds: from the connection, or the end of the last answer, to the end of a request's headers; and for a
            login.
        decode_seconds: to decode the images of one request.
        decoders: processes that decode.
        seconds: for one request.
        queries: uploaded queries kept in memory, the least recently used going first.
        query_seconds: how long an unused one is kept.
    """

    upload_bytes: int = 16_000_000
    upload_total: int = 256_000_000
    images: int = 8
    pixels: int = 25_000_000
    hits: int = 1_000
    rate: int = 240
    failures: int = 10
    waiting: int = 512
    connections: int = 4096
    connections_each: int = 512
    head_seconds: float = 10.0
    decode_seconds: float = 15.0
    decoders: int = 2
    seconds: float = 120.0
    queries: int = 500
    query_seconds: float = 8 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server is reached.

    Attributes:
        host: the address it is bound to.
        port: likewise.
        tokens: SHA-256 of each token, to the name of whom it was given to; empty only on loopback.
        host_names: further names by which browsers may call it, beside ``host``.
        limits: see there.
        videos: whether frames and clips of watched videos are shown.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    tokens: Mapping[str, str] = field(default_factory=dict)
    host_names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    videos: bool = True

    def __post_init__(self) -> None:
        if not self.loopback and not self.tokens:
            raise WebError(
                f"Serving on {self.host} needs a token, because others can reach it. Write one to a file, for example "
                "with 'openssl rand -hex 16 > token', and give --token-file token; or serve on 127.0.0.1."
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names that a Host header may have; None for any, where it listens on all addresses and tokens protect it."""
        if self.host in ("0.0.0.0", "::", "") and not self.host_names:
            return None
        own = f"[{self.host}]" if ":" in self.host else self.host
        loopback = LOOPBACK_NAMES if self.loopback else ()
        return frozenset(name.lower() for name in (own, *loopback, *self.host_names))

    def holder_of(self, token: str) -> str | None:
        """To whom a token was given; None for a wrong one."""
        found = None
        given = digest(token)
        # All are compared, each in constant time, so that the time tells nothing.
        for known, name in self.tokens.items():
            if hmac.compare_digest(known, given):
                found = name
        return found


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def digest(token: str) -> str:
    """SHA-256 of a token, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(file: Path) -> dict[str, str]:
    """Tokens of a file, one a line: ``TOKEN``, or ``NAME TOKEN`` to tell people apart in the audit log.

    Raises:
        WebError: the file cannot be read, or a token is too short.
    """
    try:
        lines = read_lines(file)
    except DataError as error:
        raise WebError(f"{str(error).rstrip('.')}. Expected a text file with one token a line.") from error
    tokens: dict[str, str] = {}
    for number, line in lines:
        words = line.split()
        if not words or line.startswith("#"):
            continue
        name, token = words if len(words) == 2 else ("token", words[0])
        if len(words) > 2 or len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token) or not _NAME.fullmatch(name):
            raise WebError(
                f"Line {number} of {file} is not a token. Expected 'TOKEN' or 'NAME TOKEN', the token of at least "
                f"{LEAST_TOKEN} characters, for example of 'openssl rand -hex 16'."
            )
        tokens[digest(token)] = name
    if not tokens:
        raise WebError(f"{file} holds no token. Expected at least one line, for example of 'openssl rand -hex 16'.")
    return tokens
