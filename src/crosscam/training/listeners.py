"""What a training tells and hears: progress and notes, a request to stop, other work on the machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from crosscam.data.loading import Progress
from crosscam.system.cores import time_got

# Seconds within which a second request to stop is the first one, handed on.
PATIENCE = 1.0
# Less says nothing: a second of waiting is no news.
LEAST_SECONDS = 5.0
LEAST_SHARE = 0.6


@dataclass(frozen=True)
class StepReport:
    """Where a training stands, for a progress bar.

    Attributes:
        epoch, epochs: the current one, 1-based, and all.
        batch, batches: done in this epoch, and all.
        loss: of the last batch.
        images_per_second: since this process began the epoch.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Listeners:
    """Who is told what; all optional.

    Attributes:
        reading: (images done, all) while images are decoded.
        step: after each batch.
        epoch: the record of each epoch, as in ``metrics.jsonl``.
        note: a sentence that the user should read.
    """

    reading: Progress | None = None
    step: Callable[[StepReport], None] | None = None
    epoch: Callable[[Mapping[str, float]], None] | None = None
    note: Callable[[str], None] | None = None

    def tell(self, text: str | None) -> None:
        """Pass on a note, if there is one."""
        if self.note and text is not None:
            self.note(text)


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


class Neighbours:
    """Watches how much of the processor that it asks for this process gets; it says so once."""

    def __init__(self) -> None:
        self._before = time_got()
        self._told = False

    def noticed(self) -> str | None:
        """A sentence for the user the first time that far less came than was asked for; None otherwise."""
        now = time_got()
        if self._told or now is None or self._before is None:
            return None
        ran, waited = (b - a for a, b in zip(self._before, now, strict=True))
        if ran + waited < LEAST_SECONDS or ran >= LEAST_SHARE * (ran + waited):
            return None
        self._told = True
        share = 100 * ran / (ran + waited)
        fewer = " OMP_NUM_THREADS=1 may then be faster." if torch.get_num_threads() > 1 else ""
        return (
            f"Other work on this machine takes the processor: the training got {share:.0f} % of the time it asked for, "
            f"and lasts accordingly longer.{fewer}"
        )
