"""Folders and what lies in them: images by name, in natural order.

Links are followed once, loops end, and a folder that cannot be read is an error.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crosscam.errors import DataError
from crosscam.system.text import counted

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# Folders that cannot be read: so many are named.
NAMED = 5
NaturalKey = tuple[tuple[str | tuple[int, str], ...], str]


def natural_key(text: str) -> NaturalKey:
    """Sort key that puts ``img2`` before ``img10``; equal texts alone are equal."""
    parts = re.split(r"0*([0-9]+)", text)
    # A number by its length and then its digits: Python refuses to make one of thousands of digits.
    return tuple((len(part), part) if i % 2 else part for i, part in enumerate(parts)), text


def path_key(path: Path) -> NaturalKey:
    """The order in which all samples of a dataset stand: natural, by path."""
    return natural_key(path.as_posix())


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name; hidden files are not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link that leads in a circle is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def has(*names: str) -> Callable[[Path], bool]:
    """What recognizes a folder that has all of these files and folders."""
    return lambda root: all((root / name).exists() for name in names)


def within(root: Path, name: str) -> Path:
    """The folder of that name in a folder, or else the folder itself."""
    return root / name if (root / name).is_dir() else root


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder, without its subfolders, in natural order.

    Returns:
        the image files, by suffix; and all other files, hidden ones included.
    """
    images: list[Path] = []
    others: list[Path] = []
    with os.scandir(folder) as entries:
        names = sorted((e.name for e in entries if not is_folder(e)), key=natural_key)
    for name in names:
        (images if is_image_name(name) else others).append(folder / name)
    return images, others


@dataclass(frozen=True)
class Found:
    """What lies in a folder and all its folders, in natural order.

    Attributes:
        images: image files, by suffix.
        others: all other files, hidden ones included.
    """

    images: list[Path]
    others: list[Path]


def find_files(root: Path) -> Found:
    """The files of a folder and all its folders.

    A folder that several links lead to is read once, by its own name if it lies in ``root`` itself.

    Raises:
        DataError: folders that cannot be read; the first of them are named.
    """
    found = Found([], [])
    seen: set[tuple[int, int]] = set()
    unreadable: list[str] = []
    # Links are followed after everything else was walked, so that files have their own names.
    waiting, links = [root], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda e: natural_key(e.name))
        except OSError as error:
            unreadable.append(f"{folder} ({error.strerror or error})")
            continue
        for entry in listed:
            place = folder / entry.name
            if is_folder(entry):
                (links if entry.is_symlink() else waiting).append(place)
            else:
                (found.images if is_image_name(entry.name) else found.others).append(place)
    if unreadable:
        named = sorted(unreadable)[:NAMED] + ([f"and {len(unreadable) - NAMED:,} more"] if unreadable[NAMED:] else [])
        raise DataError(
            f"{counted(len(unreadable), 'folder')} in {root} cannot be read: {', '.join(named)}. "
            "Check their permissions, or move them elsewhere."
        )
    for files in (found.images, found.others):
        files.sort(key=path_key)
    return found


def subfolders(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders in a folder, hidden ones apart, in natural order.

    Returns:
        each folder once, by its own name rather than a link's; and the links that lead to one of these again, or back
        to the folder itself.
    Raises:
        OSError: it cannot be read.
    """
    with os.scandir(folder) as entries:
        named = [(e.is_symlink(), e.name) for e in entries if is_folder(e) and not e.name.startswith(".")]
    kept: list[Path] = []
    again: list[Path] = []
    seen = {_identity(folder)}
    for _, name in sorted(named, key=lambda pair: (pair[0], natural_key(pair[1]))):
        place = folder / name
        identity = _identity(place)
        (again if identity in seen else kept).append(place)
        seen.add(identity)
    return sorted(kept, key=lambda place: natural_key(place.name)), again


def _identity(folder: Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def file_key(path: Path) -> tuple[int, int] | Path:
    """The same for two paths of one file, by whatever links; the path itself where no file is there."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    return (found.st_dev, found.st_ino)


def copies_between(groups: Sequence[Iterable[Path]]) -> list[tuple[Path, Path]]:
    """Files with the bytes of a file of an earlier group, each behind that file; what cannot be read is left out."""
    sizes: dict[Path, int] = {}  # of files that are not empty
    owners: dict[int, set[int]] = defaultdict(set)
    files = [(number, path) for number, group in enumerate(groups) for path in group]
    for number, path in files:
        with suppress(OSError):
            if size := path.stat().st_size:
                sizes[path] = size
                owners[size].add(number)
    found: list[tuple[Path, Path]] = []
    first: dict[bytes, tuple[int, Path]] = {}
    for number, path in files:
        # Files of a size that one group alone has need not be read.
        if path in sizes and len(owners[sizes[path]]) > 1:
            with suppress(OSError):
                owner, twin = first.setdefault(hashlib.sha256(path.read_bytes()).digest(), (number, path))
                if owner != number:
                    found.append((twin, path))
    return found
