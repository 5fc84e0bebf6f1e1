"""Progress bars of the Python functions, on request; on standard error, gone when done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crosscam.errors import ArgumentError

# Called with (done, all).
Progress = Callable[[int, int], None]
# True for a bar, False or None for silence, or a function that is called with (done, all).
ProgressOption = Progress | bool | None


@contextmanager
def reported(progress: ProgressOption, what: str) -> Iterator[Progress | None]:
    """What tells of the progress of ``what`` within the block; None for silence, ArgumentError for another option."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with bars() as shown:
            task = shown.add_task(what, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total or None)
    elif callable(progress):
        yield progress
    else:
        raise ArgumentError(f"progress is {progress!r}. Expected True, False or a function of (done, all).")


def bars() -> Any:
    """rich's progress bars on standard error."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    return Bars(console=Console(stderr=True, highlight=False, soft_wrap=True), transient=True)
