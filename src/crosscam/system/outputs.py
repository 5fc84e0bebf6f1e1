"""Places that a command will write to, tried before its work: hours of it must not end at a read-only folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from crosscam.errors import DataError
from crosscam.system.files import unfinished_name

_BLOCK = b"\0" * 4096


def check_file(path: Path | None) -> None:
    """Refuse the name of a file that could not be written; nothing is left behind.

    Args:
        path: the file that will be written; None for none.
    Raises:
        DataError: it is a folder or a device, its name is too long, or its folder cannot be made or written.
    """
    if path is None:
        return
    try:
        if os.path.lexists(path) and not path.is_file() and path.exists():
            what = "a folder" if path.is_dir() else "a device or a pipe"
            raise DataError(f"{path} is {what}. Expected the name of a file.")
        _try(path.parent, path.name)
    except OSError as error:
        raise _refusal(path, error) from error


def check_folder(path: Path | None) -> None:
    """Refuse the name of a folder that could not be made or written in; nothing is left behind.

    Args:
        path: the folder that files will be written to; None for none.
    Raises:
        DataError: it is a file, or it cannot be made or written.
    """
    if path is None:
        return
    try:
        _try(path, "x")
    except OSError as error:
        raise _refusal(path, error) from error


def _try(folder: Path, name: str) -> None:
    """Write a little beside a name, in the folder or the nearest one that is there."""
    there = Path(os.path.abspath(folder))
    while not os.path.lexists(there):
        # Tells of names that are too long.
        try:
            os.lstat(there)
        except FileNotFoundError:
            there = there.parent
    trial = unfinished_name(there / name)
    try:
        with open(trial, "xb") as file:
            file.write(_BLOCK)
    finally:
        with suppress(OSError):
            trial.unlink()


def _refusal(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be written: {error.strerror or error}. Nothing was done; choose another place.")
