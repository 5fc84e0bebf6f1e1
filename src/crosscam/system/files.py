"""Files and folders that are whole or not there: made beside their place, flushed to disk, and moved into it.

Places that a command will write to are tried before its work (:func:`check_file`, :func:`check_folder`). The name of an
unfinished one is drawn at random, so that two writers never share one. What a kill leaves of them is removed by
:func:`clear_unfinished`, which the holder of the place's lock may call.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crosscam.errors import CrosscamError, DataError, StorageError
from crosscam.system.text import printable

NEXT_STEP = "Free some space, or choose another place."
Stamp = tuple[int, int, int]
GONE: Stamp = (-1, -1, -1)
_UNFINISHED = re.compile(r"(.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, at any depth, which ``Path.mkdir`` does not; OSError if that fails."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(folder)  # before anything is made: the whole name may be too long
    missing = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = above.parent
    for each in (*reversed(missing), folder):
        each.mkdir(exist_ok=True)


def write_atomically(
    path: Path,
    write: Callable[[Path], None] | str,
    *,
    next_step: str = NEXT_STEP,
    error: type[CrosscamError] = StorageError,
) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to disk and move it into place; its folder is made.

    A kill at any instant leaves what stood at ``path`` before, or the whole new file.

    Args:
        write: fills the file whose path it is given; or its text, in UTF-8; file names in it need not be UTF-8.
        next_step: last sentence of the error: what the user can do.
    Raises:
        StorageError: or ``error``: the disk is full or cannot be written; what stood at ``path`` is untouched.
    """
    temporary = unfinished_name(path)
    try:
        make_folder(path.parent)
        # Some writers make files for their owner alone; ours are as readable as any new file of this user's.
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        if isinstance(write, str):
            temporary.write_text(printable(write), encoding="utf-8")
        else:
            write(temporary)
        temporary.chmod(mode)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except Exception as failure:
        if system_error(failure) is None:
            raise
        raise cannot_write(path, failure, next_step, error) from failure
    finally:
        with suppress(OSError):
            temporary.unlink()


def copy_bytes(source: Path, target: Path) -> None:
    """Copy what a file holds, for :func:`write_atomically`."""
    # Not shutil.copyfile: onto a full disk this raises the system's own error.
    with open(source, "rb") as read, open(target, "wb") as write:
        shutil.copyfileobj(read, write)


@contextmanager
def folder_in_place(
    folder: Path, *, next_step: str = NEXT_STEP, error: type[CrosscamError] = StorageError
) -> Iterator[Path]:
    """A folder to fill, moved to ``folder`` (missing or empty) if the block ends well, else removed."""
    unfinished = unfinished_name(folder)
    try:
        make_folder(unfinished)
        yield unfinished
        if folder.is_dir():
            folder.rmdir()  # Windows moves no folder onto another, not even an empty one.
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except OSError as failure:
        raise cannot_write(folder, failure, next_step, error) from failure
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def clear_unfinished(place: Path, *, folder: bool = False) -> None:
    """Remove what killed writers left of a file, or in a ``folder``. Only the holder of its lock may call this."""
    for left in (place if folder else place.parent).iterdir():
        match = _UNFINISHED.fullmatch(left.name)
        if match is None or not (folder or match[1] == place.name):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def is_unfinished(path: Path) -> bool:
    """Whether a path has a name of :func:`unfinished_name`."""
    return _UNFINISHED.fullmatch(path.name) is not None


def unfinished_name(path: Path) -> Path:
    """A name beside ``path`` that no other writer uses, on this machine or another: NAME.123456789abc.tmp."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def cannot_write(
    path: Path, failure: BaseException, next_step: str = NEXT_STEP, error: type[CrosscamError] = StorageError
) -> CrosscamError:
    """What to raise where a file cannot be written, most often for want of space."""
    told = system_error(failure) or failure
    reason = " ".join(str(getattr(told, "strerror", None) or told).split())
    return error(f"Cannot write {path} ({reason}). What stood there is untouched. {next_step}")


def system_error(failure: BaseException) -> OSError | None:
    """The system's own error behind a failure: some writers raise another one while they close their file."""
    found: BaseException | None = failure
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder to disk, where the system can (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def stamp_of(path: Path) -> Stamp:
    """Bytes, and the times in nanoseconds when the content and when the file itself changed last.

    Copies carry the time of the content along (``cp -p``, ``rsync -t``), and it can be set to anything; the other one
    is the system's. :data:`GONE` where there is no file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return GONE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


_BLOCK = b"\0" * 4096


def check_file(path: Path | None) -> None:
    """Refuse (DataError) the name of a file that could not be written; nothing is left behind. None for no file."""
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
    """Refuse (DataError) the name of a folder that could not be made or written in; nothing is left behind."""
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
