"""A folder that drawings fill: all of them are there, or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosscam.errors import DataError
from crosscam.system.files import is_unfinished, make_folder, unfinished_name
from crosscam.system.locks import FOLDER_LOCK, only_writer


@contextmanager
def drawn_folder(out: Path, what: str) -> Iterator[Path]:
    """A folder within ``out`` to draw into; at the end of the block what it holds is moved up, else removed.

    A part of a dataset would be read as a small one. ``out`` itself is not replaced: it may be a mount point.

    Args:
        out: empty or missing; what a killed call left is removed.
        what: is drawn, for messages.
    Raises:
        DataError: the folder is not empty, or cannot be written.
        BusyError: another process draws there.
    """
    _check_empty(out)
    with only_writer(out, folder=True):
        _check_empty(out)
        part = unfinished_name(out / "drawn")
        try:
            make_folder(part)
            yield part
            for each in sorted(part.iterdir()):
                each.rename(out / each.name)
        except OSError as error:
            raise DataError(f"Cannot write {what} to {out}: {error.strerror or error}. Nothing was drawn.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _check_empty(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or any(each.name != FOLDER_LOCK and not is_unfinished(each) for each in out.iterdir()):
        raise DataError(f"{out} exists and is not an empty folder. Give a new folder, or empty this one first.")
