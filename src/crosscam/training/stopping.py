"""Being asked to stop: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C or SIGTERM is only noted; another one, a second later or more, stops at once.

    Gives a function that tells whether a stop was asked for. Outside the main thread it always says no, since signals
    cannot be heard there.
    """
    asked: list[float] = []

    def note(number: int, frame: object) -> None:
        del number, frame
        now = time.monotonic()
        # torchrun hands on a Ctrl-C that its processes have heard already.
        if asked and now - asked[0] >= PATIENCE:
            raise KeyboardInterrupt
        asked.append(now)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
