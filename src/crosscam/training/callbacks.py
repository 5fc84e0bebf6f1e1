"""What a training tells and hears: progress and notes, a request to stop, ``metrics.jsonl``, TensorBoard."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from crosscam.errors import CheckpointError, TrainingError
from crosscam.recipes.checkpoint import RESUME, write_atomically
from crosscam.system.cores import time_got
from crosscam.system.files import cannot_write
from crosscam.system.progress import Progress, bars
from crosscam.system.text import is_unicode, parse_json, printable

# Seconds within which a second request to stop is the first one, handed on.
PATIENCE = 1.0
# With less processor time the share means nothing.
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
def training_reported(progress: bool) -> Iterator[Listeners]:
    """Listeners of a training: with ``progress``, a bar over all of it, and a line for each epoch and note."""
    if not progress:
        yield Listeners()
        return
    with bars() as shown:
        task = shown.add_task("training", total=None)

        def reading(done: int, total: int) -> None:
            shown.update(task, description="reading images", completed=done, total=total)

        def step(report: StepReport) -> None:
            done = (report.epoch - 1) * report.batches + report.batch
            described = f"epoch {report.epoch}/{report.epochs}, loss {report.loss:.2f}"
            shown.update(task, description=described, completed=done, total=report.epochs * report.batches)

        def epoch(record: Mapping[str, float]) -> None:
            scores = "".join(f", {name} {100 * record[name]:.1f} %" for name in ("mAP", "rank1") if name in record)
            note(f"epoch {record['epoch']:.0f}: loss {record['loss']:.3f}{scores}")

        def note(text: str) -> None:
            shown.console.print(printable(text), markup=False)

        yield Listeners(reading=reading, step=step, epoch=epoch, note=note)


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


class Neighbors:
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


METRICS = "metrics.jsonl"
Record = Mapping[str, float]


class Logbook:
    """Appends one record an epoch.

    Args:
        folder: the run folder.
        keep_epochs: epochs of an interrupted training that stay; later lines are taken out, since they come again.
    """

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / METRICS
        kept = [r for r in read_history(folder) if r["epoch"] <= keep_epochs]
        write_atomically(self.path, "".join(json.dumps(r) + "\n" for r in kept))
        self._board: Any = None
        # TensorBoard takes no path that is not UTF-8; all that it shows is in metrics.jsonl, too.
        if find_spec("tensorboard") and is_unicode(folder):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=keep_epochs + 1)

    def write(self, record: Record) -> None:
        """Append one epoch; it is on the disk when this returns.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(dict(record)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error, RESUME, TrainingError) from error
        if self._board is not None:
            for name, value in record.items():
                self._board.add_scalar(name, value, record["epoch"])
            self._board.flush()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """The epochs of a run folder, oldest first; a last line that a kill left torn is dropped.

    Raises:
        CheckpointError: a line in the middle is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Remove it; only its curve is lost.") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
            record["epoch"] + 0
            records.append(record)
        except (ValueError, TypeError, LookupError) as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}, line {number} is damaged ({error}). Take the line out.") from error
    return records
