"""Who has logged in with a browser, and how often each client may ask."""

from __future__ import annotations

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

COOKIE = "crosscam_session"
SESSION_SECONDS = 12 * 3600
SESSIONS = 1_000
LONGEST_COOKIE = 8_000
CLIENTS = 10_000


class Sessions:
    """Who has logged in with a browser; lost when the server ends."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def begin(self, who: str) -> str:
        """A new session's name."""
        name = secrets.token_urlsafe(32)
        self._known[name] = (time.monotonic() + SESSION_SECONDS, who)
        while len(self._known) > SESSIONS:
            self._known.popitem(last=False)
        return name

    def who(self, name: str) -> str | None:
        """Whose session it is; None for an unknown or old one."""
        until, who = self._known.get(name, (0.0, ""))
        return who if until > time.monotonic() else None

    def end(self, name: str) -> None:
        """Forget a session."""
        self._known.pop(name, None)


def session_of(headers: Headers) -> str | None:
    """The session that a browser's cookie names."""
    text = headers.get("cookie", "")
    if len(text) > LONGEST_COOKIE:  # the parser takes its time over what no browser sends
        return None
    try:
        cookie = SimpleCookie(text)
    except CookieError:
        return None
    return cookie[COOKIE].value if COOKIE in cookie else None


class Rate:
    """So many per minute for each client, in a burst or spread.

    Args:
        per_minute: how many.
        clock: seconds, for tests.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._full = float(per_minute)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> int:
        """Take one; 0, or the seconds to wait where there is none."""
        now = self._clock()
        left = self._now(client, now)
        self._left[client] = (now, left - 1 if left >= 1 else left)
        self._left.move_to_end(client)
        while len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) * 60 / self._full))

    def empty(self, client: str) -> bool:
        """Whether there is none to take."""
        return self._now(client, self._clock()) < 1

    def _now(self, client: str, now: float) -> float:
        since, left = self._left.get(client, (now, self._full))
        return min(self._full, left + (now - since) * self._full / 60)
