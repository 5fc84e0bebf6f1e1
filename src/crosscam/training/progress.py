"""Progress bars of the Python functions, for those who ask for them; on standard error, gone when done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crosscam.data.loading import Progress
from crosscam.errors import ArgumentError
from crosscam.system.text import printable

if TYPE_CHECKING:
    from crosscam.training.callbacks import Listeners, StepReport

# True for a bar, False or None for silence, or a function that is called with (done, all).
ProgressOption = Progress | bool | None


@contextmanager
def reported(progress: ProgressOption, what: str) -> Iterator[Progress | None]:
    """What tells of the progress within the block; None for silence.

    Args:
        progress: True for a bar, False or None for none, or a function.
        what: beside the bar.
    Raises:
        ArgumentError: something else.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with _bars() as bars:
            task = bars.add_task(what, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total or None)
    elif callable(progress):
        yield progress
    else:
        raise ArgumentError(f"progress is {progress!r}. Expected True, False or a function of (done, all).")


@contextmanager
def training_reported(progress: bool) -> Iterator[Listeners]:
    """Listeners of a training: with ``progress``, a bar over all of it, and a line for each epoch and note."""
    from crosscam.training.callbacks import Listeners

    if not progress:
        yield Listeners()
        return
    with _bars() as bars:
        task = bars.add_task("training", total=None)

        def reading(done: int, total: int) -> None:
            bars.update(task, description="reading images", completed=done, total=total)

        def step(report: StepReport) -> None:
            done = (report.epoch - 1) * report.batches + report.batch
            described = f"epoch {report.epoch}/{report.epochs}, loss {report.loss:.2f}"
            bars.update(task, description=described, completed=done, total=report.epochs * report.batches)

        def epoch(record: Mapping[str, float]) -> None:
            scores = "".join(f", {name} {100 * record[name]:.1f} %" for name in ("mAP", "rank1") if name in record)
            note(f"epoch {record['epoch']:.0f}: loss {record['loss']:.3f}{scores}")

        def note(text: str) -> None:
            bars.console.print(printable(text), markup=False)

        yield Listeners(reading=reading, step=step, epoch=epoch, note=note)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import Progress as Bars

    return Bars(console=Console(stderr=True, highlight=False, soft_wrap=True), transient=True)
