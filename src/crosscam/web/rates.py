"""How often one client may ask: buckets that fill evenly over time."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000


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
