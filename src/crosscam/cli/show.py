"""What the commands show: tables and progress bars on a terminal, JSON for scripts."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from crosscam.cli.streams import drop_output
from crosscam.system.text import counted, printable

if TYPE_CHECKING:
    from crosscam.experiments.scoring import Scored
    from crosscam.training.callbacks import Listeners, StepReport


class _Console(Console):
    """A console whose reader may go away: rich would end the process."""

    def on_broken_pipe(self) -> None:
        """What nobody reads is dropped, and the work goes on."""
        if self.stderr:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        else:
            drop_output(BrokenPipeError())

    def print(self, *objects: Any, **how: Any) -> None:
        """See rich; a full disk under standard output is told at the end."""
        try:
            super().print(*objects, **how)
        except OSError as failure:
            if self.stderr:
                raise
            drop_output(failure)


SECONDS_BETWEEN_LINES = 30.0
# Progress and remarks go to standard error, so that standard output holds results alone.
OUT = _Console(highlight=False, soft_wrap=True)
ERR = _Console(stderr=True, highlight=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    show_text(json.dumps(value, indent=2) + "\n")


def show_text(text: str) -> None:
    """Print a finished text on standard output as it is, at once."""
    try:
        sys.stdout.write(printable(text))
        sys.stdout.flush()
    except OSError as failure:
        drop_output(failure)


def say(text: str) -> None:
    """Print a line of remark on standard error; the text is shown as it is."""
    ERR.print(printable(text), markup=False)


def print_plain(text: str) -> None:
    """Print a line on standard output as it is."""
    OUT.print(printable(text), markup=False)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, *, numbers: bool = True
) -> None:
    """Print a table on standard output; with ``numbers``, all but the first column are set to the right."""
    drawn = Table(title=None if title is None else printable(title), title_justify="left", header_style="bold")
    kept = _filled(columns, rows)
    for place in kept:
        drawn.add_column(columns[place], justify="right" if numbers and place else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(printable(row[place]) for place in kept))
    OUT.print(drawn)


def listing(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, *, right: Sequence[str] = ()
) -> None:
    """Print columns without a frame on standard output: no cell is ever cut or folded, however narrow the terminal.

    A column that may be long, such as a path, stands last; ``right`` are columns that are set to the right.
    """
    kept = _filled(columns, rows)
    lines = [[printable(line[place]).replace("\n", "\\n") for place in kept] for line in (columns, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if title is not None:
        print_plain(title)
    for number, line in enumerate(lines):
        cells = []
        for place, width, text in zip(kept, widths, line, strict=True):
            space = " " * (width - cell_len(text))
            cells.append(space + text if columns[place] in right else text + space)
        OUT.print(Text("  ".join(cells).rstrip(), style="" if number else "bold"))


def _filled(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Places of the columns that hold anything; of a table without rows, all."""
    return [k for k in range(len(columns)) if k == 0 or not rows or any(row[k] for row in rows)]


def fitting(
    heads: Sequence[str], rows: Sequence[Sequence[str]], expendable: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The columns that standard output is wide enough for; of the expendable ones, the first go first."""
    kept = list(range(len(heads)))
    widths = [max(len(text) for text in (head, *column)) for head, *column in zip(heads, *rows, strict=True)]
    for name in expendable:
        if sum(widths[k] + 3 for k in kept) < OUT.width:
            break
        kept = [k for k in kept if heads[k] != name]
    return [heads[k] for k in kept], [[row[k] for k in kept] for row in rows]


def score_table(scores: Sequence[Scored], title: str) -> None:
    """Print scores in per cent, with what they rest on beside and below them."""
    from crosscam.report.page import RANKED_BY

    rows = []
    for s in scores:
        ranks = [f"{100 * s.result.cmc_at(r):.1f}" if r <= len(s.result.cmc) else "-" for r in (1, 5, 10)]
        rows.append(
            [s.name, f"{100 * s.result.mAP:.1f}", *ranks, f"{100 * s.result.mINP:.1f}", "yes" if s.flip else "no"]
        )
    table(["%", "mAP", "rank-1", "rank-5", "rank-10", "mINP", "mirrored"], rows, title)
    first = scores[0]
    print_plain(
        f"{counted(first.result.num_queries, 'query')} counted, {first.result.num_skipped:,} without a match skipped; "
        f"{counted(len(first.gallery), f'gallery {first.unit}')}; {first.result.protocol} protocol, "
        f"{first.result.ap}-wise AP; data {first.data_fingerprint}."
    )
    for s in scores:
        if s.reranking:
            print_plain(f"{s.name}: {s.reranking}.")
    if RANKED_BY[first.distance]:
        print_plain(RANKED_BY[first.distance])


def pasteable(*words: object) -> str:
    """A command of crosscam as it can be pasted into the user's shell: quoted, and called as this one was."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        program = [sys.executable, "-m", "crosscam"]
    else:
        found = shutil.which("crosscam")
        same = found is not None and called.exists() and Path(found).samefile(called)
        program = ["crosscam" if same or called.stem != "crosscam" else str(called)]
    return shlex.join([*program, *map(str, words)])


def this_command() -> str:
    """The command that runs, for what tells where it comes from."""
    return shlex.join(["crosscam", *sys.argv[1:]])


class _Lines(Progress):
    """Progress without a terminal: a line every half minute, in a log file or a CI job."""

    def __init__(self) -> None:
        super().__init__(disable=True)
        self._said = time.monotonic()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Note the progress, and tell it if the last line is old enough."""
        super().update(task_id, **changes)
        task = self.tasks[self.task_ids.index(task_id)]
        if time.monotonic() - self._said < SECONDS_BETWEEN_LINES or not task.total:
            return
        self._said = time.monotonic()
        left = "" if task.time_remaining is None else f", {as_duration(task.time_remaining)} left"
        note = f"  {task.fields['note']}" if task.fields.get("note") else ""
        say(f"{task.description}: {task.completed:,.0f} of {task.total:,.0f}{left}{note}")


def as_duration(seconds: float) -> str:
    """For example ``45 s``, ``12 min`` or ``3 h 05 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def bars(quiet: bool = False) -> Iterator[Progress]:
    """Progress bars on standard error, gone when done; a line now and then where it is not a terminal."""
    if not quiet and not ERR.is_terminal:
        yield _Lines()
        return
    what, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=ERR, transient=True, disable=quiet) as progress:
        yield progress


def counting(progress: Progress, description: str) -> Callable[[int, int], None]:
    """A (done, all) listener that drives one bar."""
    task: list[TaskID] = []

    def update(done: int, total: int) -> None:
        if not task:
            task.append(progress.add_task(description, total=total, note=""))
        progress.update(task[0], completed=done, total=total)

    return update


def training_listeners(progress: Progress, quiet: bool = False) -> Listeners:
    """A bar over all batches of the training, and one line for each epoch."""
    from crosscam.training.callbacks import Listeners

    bar = progress.add_task("training", total=None, note="")

    def step(report: StepReport) -> None:
        progress.update(
            bar,
            description=f"epoch {report.epoch}/{report.epochs}",
            total=report.epochs * report.batches,
            completed=(report.epoch - 1) * report.batches + report.batch,
            note=f"loss {report.loss:.2f}  {report.images_per_second:.0f} images/s",
        )

    def epoch(record: Mapping[str, float]) -> None:
        scores = ""
        if "mAP" in record:
            scores = f"  mAP {100 * record['mAP']:.1f} %  rank-1 {100 * record['rank1']:.1f} %"
        if not quiet:
            say(
                f"epoch {record['epoch']:3.0f}  loss {record['loss']:8.3f}  "
                f"{record['images_per_second']:5.0f} images/s{scores}"
            )

    def note(text: str) -> None:
        if not quiet:
            say(f"note: {text}")

    return Listeners(reading=counting(progress, "reading images"), step=step, epoch=epoch, note=note)
