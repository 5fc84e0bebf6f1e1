"""Folders and what lies in them. Links are followed once, loops end, and a folder that cannot be read is an error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from crosscam.data.images import is_folder, is_image_name, natural_key, path_key
from crosscam.errors import DataError


@dataclass(frozen=True)
class Found:
    """What lies in a folder and all its folders, in natural order.

    Attributes:
        pictures: image files, by suffix.
        others: all other files, hidden ones included.
    """

    pictures: list[Path]
    others: list[Path]


def find_files(root: Path) -> Found:
    """The files of a folder and all its folders.

    A folder that several links lead to is read once, by its own name if it lies in ``root`` itself.

    Raises:
        DataError: folders that cannot be read; each is named.
    """
    found = Found([], [])
    seen: set[tuple[int, int]] = set()
    unreadable: list[str] = []
    # Links are followed when all that is no link was walked, so that files have their own names.
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
                (found.pictures if is_image_name(entry.name) else found.others).append(place)
    if unreadable:
        raise DataError(
            f"{len(unreadable):,} folders in {root} cannot be read: {', '.join(sorted(unreadable))}. "
            "Check their permissions, or move them elsewhere."
        )
    for files in (found.pictures, found.others):
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
