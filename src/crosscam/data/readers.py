"""Recognise a data set on disk and read it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from crosscam.data.market1501 import is_market_layout, read_market1501
from crosscam.data.records import ReidDataset
from crosscam.data.table import TABLE_SUFFIXES, CamidRule, read_table
from crosscam.errors import DataError


@dataclass(frozen=True)
class ReadOptions:
    """What a user may state about a data set; each reader takes some of it."""

    split: int | None = None
    protocol: str | None = None
    camids: CamidRule = None


@dataclass(frozen=True)
class Reader:
    """One kind of data set.

    Attributes:
        recognises: whether a folder or file is of this kind.
        read: reads it.
        takes: names of the options that ``read`` looks at; others are refused.
    """

    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], ReidDataset]
    takes: frozenset[str] = frozenset()


READERS: dict[str, Reader] = {
    "market1501": Reader(is_market_layout, lambda root, _: read_market1501(root)),
    "table": Reader(
        lambda path: path.is_file() and path.suffix.lower() in TABLE_SUFFIXES,
        lambda path, options: read_table(path, camids=options.camids),
        frozenset({"camids"}),
    ),
}


def recognise(path: Path) -> tuple[str, Path] | None:
    """Kind of a data set and the folder or file it stands in: ``path`` itself or one folder below.

    Raises:
        DataError: several data sets stand below ``path``.
    """
    for kind, reader in READERS.items():
        if reader.recognises(path):
            return kind, path
    if not path.is_dir():
        return None
    below = [
        (kind, child)
        for child in sorted(path.iterdir())
        if child.is_dir()
        for kind, reader in READERS.items()
        if reader.recognises(child)
    ]
    folders = {child for _, child in below}
    if len(folders) > 1:
        names = ", ".join(sorted(child.name for child in folders))
        raise DataError(f"{path} holds several data sets: {names}. Give the path of one.")
    return below[0] if below else None


def read_dataset(
    path: Path | str,
    *,
    kind: str | None = None,
    split: int | None = None,
    protocol: str | None = None,
    camids: CamidRule = None,
) -> ReidDataset:
    """Read a data set, whatever it is.

    Args:
        path: the unpacked folder, its parent, or a table.
        kind: one of ``READERS``; None recognises it.
        split: which of the random or numbered splits, for data sets that have several; the first by default.
        protocol: which of the published protocols, for data sets that have several.
        camids: the camera, for own data that does not say it: a number for all images, or a regular
            expression with one group over the file name.
    Raises:
        DataError: nothing there, of no known kind, or not as its kind should be.
        ValueError: an unknown kind, or an option that this kind does not have.
    """
    # Absolute and without "..": samples stay valid after a change of the working folder.
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise DataError(f"No data set at {path}. Check the path; see docs/datasets.md.")
    options = ReadOptions(split, protocol, camids)
    if kind is not None and kind not in READERS:
        raise ValueError(f"Unknown kind of data set {kind!r}. Expected one of {', '.join(READERS)}.")
    if kind is None or not READERS[kind].recognises(root):
        found = recognise(root)
        if found is None:
            raise DataError(
                f"{path} is no data set that crosscam knows. Expected one of {', '.join(READERS)}; "
                "see docs/datasets.md."
            )
        if kind is None:
            kind = found[0]
        root = found[1]
    for option in fields(options):
        if getattr(options, option.name) is not None and option.name not in READERS[kind].takes:
            raise ValueError(f"{option.name} means nothing for {kind} ({root}). Leave it out.")
    return READERS[kind].read(root, options)
