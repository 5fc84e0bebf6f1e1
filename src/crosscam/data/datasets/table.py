"""Own data as a table: CSV, TSV or Parquet with the columns ``path,pid,camid[,split,time,track]``."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from crosscam.data.datasets.camera_rules import CamidRule, camids_by_rule, names_by_rule
from crosscam.data.datasets.cells import COLUMNS, Cells, listed, read_cells, refuse_for_parquet, write_cells
from crosscam.data.labels import are_named, is_missing, is_name, label_names, numbered, same_spelling
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, RankingProtocol, ReidDataset, Sample
from crosscam.data.text_files import path_in
from crosscam.data.walk import path_key
from crosscam.errors import ArgumentError, DataError, UnusedOptionError
from crosscam.system.files import write_atomically
from crosscam.system.text import FIRST, LAST, date_of, is_unicode, printable, read_date

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
SPLITS = ("train", "query", "gallery")

# Texts that name people and cameras.
LABELS = ("pid", "camid", "camera")
FOR_UNLABELED = "gallery add, extract, adapt, data doctor."


def is_table(path: Path) -> bool:
    """Whether the path is a file with the suffix of a table."""
    return path.is_file() and path.suffix.lower() in TABLE_SUFFIXES


def read_table(path: Path, *, camids: CamidRule = None) -> ReidDataset:
    """Read a table of images.

    Paths count from the table's folder. Whole numbers are taken as they are; other identities and cameras
    are numbered from 1 in sorted order, with a note. Without a ``split`` column every image is for training.

    Args:
        path: the .csv, .tsv or .parquet file.
        camids: needed where the table has no ``camid`` column, see :func:`camids_by_rule`.
    Raises:
        DataError: a missing column or value, an unknown split, or no row; the message gives the line.
    """
    notes: list[str] = []
    cells = image_cells(path, notes)
    columns = cells.columns
    if "pid" not in columns:
        raise DataError(f"{_lacks(cells, 'pid')} Unlabeled images: {FOR_UNLABELED}")
    paths = image_paths(cells)
    instead = f"Unlabeled images need no column pid: {FOR_UNLABELED}"
    pids = numbered(columns["pid"], "identities", notes, cells.where, instead=instead)
    camids_found, cameras = cameras_of(cells, paths, camids, notes)
    samples = list(zip(paths, pids, camids_found, *times_and_tracks(cells), cameras, strict=True))
    splits = _splits(cells, notes)
    _check_pids(cells, splits, pids)
    check_once(cells, splits, paths, pids, camids_found)
    subsets: dict[str, list[Sample]] = defaultdict(list)
    for split, fields in zip(splits, samples, strict=True):
        subsets[split].append(Sample(*fields))
    check_there(cells, paths)
    train, query, gallery = (tuple(sorted(subsets[name], key=lambda s: path_key(s.path))) for name in SPLITS)
    root, named = root_of(path, paths), are_named(columns["pid"])
    return ReidDataset(path.stem, root, train, query, gallery, _protocol(cells), tuple(notes), named, table=path)


def image_cells(table: Path, notes: list[str], wanted: Sequence[str] = COLUMNS) -> Cells:
    """The cells of a table of images; ``notes`` gets what of it is not used.

    Raises:
        DataError: no column ``path``, or no rows; as :func:`crosscam.data.datasets.cells.read_cells`.
    """
    cells = read_cells(table, wanted)
    if "path" not in cells.columns:
        raise DataError(_lacks(cells, "path"))
    if not cells.columns["path"]:
        raise DataError(f"{table} has no rows. Expected one row for each image.")
    if cells.unused:
        notes.append(f"Columns not used: {', '.join(cells.unused)}.")
    _refuse_other_encodings(cells)
    if cells.comments:
        notes.append(f"Lines that begin with # (not rows): {cells.comments:,}.")
    return cells


def _refuse_other_encodings(cells: Cells) -> None:
    """Paths may hold any bytes, as file names may; a person or a camera would be two."""
    for name in LABELS:
        column = cells.columns.get(name, [])
        wrong = {text for text in set(column) if not is_unicode(text)}
        if wrong:
            row = next(row for row, text in enumerate(column) if text in wrong)
            raise DataError(
                f"{cells.where(row)}: {name} {printable(column[row])!r} is not in UTF-8. Save the table as UTF-8 (in a "
                "spreadsheet: CSV UTF-8)."
            )


def image_paths(cells: Cells) -> list[Path]:
    """The image of each row; DataError for a row without one."""
    return [_image_path(cells, row, value) for row, value in enumerate(cells.columns["path"])]


def check_there(cells: Cells, paths: Sequence[Path]) -> None:
    """Refuse (DataError) a table whose paths lead nowhere, by its first and last row."""
    if not any(p.is_file() for p in (paths[0], paths[-1])):
        why = "is a folder" if paths[0].is_dir() else "does not exist"
        raise DataError(f"{cells.path} names {paths[0]}, which {why}. Paths count from the table's folder.")


def _lacks(cells: Cells, name: str) -> str:
    return (
        f"{cells.path} has no column {name!r}. Expected path,pid,camid[,split,time,track,camera], "
        f"found {listed((*cells.columns, *cells.unused)) or 'nothing'}."
    )


def write_table(dataset: ReidDataset, path: Path) -> None:
    """Save a dataset as a table that :func:`read_table` reads back with the same samples.

    Image paths are written relative to the table's folder. A kill at any instant leaves no half a table.

    Raises:
        ValueError: a suffix other than .csv, .tsv or .parquet.
        DataError: the table cannot be written, for example because the disk is full.
    """
    path = Path(os.path.abspath(path))
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise ArgumentError(f"A table is saved as {', '.join(TABLE_SUFFIXES)}; found {path.name!r}.")
    samples = [(split, s) for split, subset in dataset.subsets.items() for s in subset]
    lost = next((s for _, s in samples if s.track and is_missing(s.track)), None)
    if lost is not None:
        raise DataError(
            f"{lost.path} has a track whose name is blank or says that there is none ({lost.track!r}). A table cannot "
            "hold it."
        )
    if path.suffix.lower() == ".parquet":
        refuse_for_parquet([text for _, s in samples for text in (str(s.path), s.track or "")])
    columns: dict[str, list[object]] = {
        "path": [_relative(s.path, path.parent) for _, s in samples],
        "pid": [s.pid for _, s in samples],
        "camid": [s.camid for _, s in samples],
        "split": [split for split, _ in samples],
    }
    for name in ("time", "track", "camera"):
        values: list[object] = [getattr(s, name) for _, s in samples]
        if any(value is not None for value in values):
            columns[name] = values
    if dataset.protocol != "market1501":
        columns["protocol"] = [dataset.protocol] * len(samples)
    write_atomically(path, lambda part: write_cells(part, path.suffix.lower(), columns), error=DataError)


def _image_path(cells: Cells, row: int, value: str) -> Path:
    if not value.strip() or "\0" in value:
        raise DataError(f"{cells.where(row)}: no image path.")
    return Path(os.path.abspath(path_in(cells.path.parent, value, exact=True)))


def cameras_of(
    cells: Cells, paths: Sequence[Path], rule: CamidRule, notes: list[str]
) -> tuple[list[int], list[str | None]]:
    """Number and name of each image's camera; a column camera holds names, of cameras that camid numbers or of all."""
    column = next((name for name in ("camid", "camera") if name in cells.columns), None)
    if column is not None and rule is not None:
        raise UnusedOptionError(
            "camids", f"means nothing for {cells.path}, which has a {column} column. Leave one out."
        )
    if column is None:
        camids = camids_by_rule(paths, rule, cells.path, notes)
        return camids, _each(camids, names_by_rule(paths, rule, camids, cells.path))
    camids = numbered(cells.columns[column], "cameras", notes, cells.where, column)
    names = label_names(cells.columns[column], camids)
    if column == "camid" and "camera" in cells.columns:
        texts = map(same_spelling, cells.columns["camera"])
        given = {(n, text) for n, text in zip(camids, texts, strict=True) if not is_missing(text)}
        one_to_one = len({n for n, _ in given}) == len({text for _, text in given}) == len(given)
        if one_to_one and all(is_name(text) for _, text in given):
            names |= dict(given)
        else:
            notes.append("The column camera is not used: its texts do not name the cameras of camid one to one.")
    return camids, _each(camids, names)


def _each(camids: Sequence[int], names: Mapping[int, str]) -> list[str | None]:
    return [names.get(camid) for camid in camids]


def times_and_tracks(cells: Cells) -> tuple[list[float | None], list[str | None]]:
    """Time in seconds and track of each row, None where there is none (DataError: a time that is none)."""
    nothing = [""] * len(cells.columns["path"])
    times: list[float | None] = []
    given = ["" if is_missing(value) else value.strip() for value in cells.columns.get("time", nothing)]
    row = next((row for row, value in enumerate(given) if date_of(value)), None)
    # Beside other numbers such a number is seconds; beside dates, or alone, it may be one.
    if row is not None and not any(_is_seconds(value) for value in given if not date_of(value)):
        raise DataError(f"{cells.where(row)}: time {given[row]} may be a date or seconds. Write {date_of(given[row])}.")
    for row, value in enumerate(given):
        try:
            time = _time(value) if value else None
        except (ValueError, OverflowError):
            time = math.nan
        if time is not None and not FIRST <= time < LAST:  # milliseconds are of later years
            raise DataError(f"{cells.where(row)}: time {value!r}. Expected seconds, an ISO date, or nothing.")
        times.append(time)
    return times, [None if is_missing(value) else value.strip() for value in cells.columns.get("track", nothing)]


def _is_seconds(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _time(cell: str) -> float:
    """Seconds, or an ISO date in seconds of the Unix epoch."""
    try:
        return float(cell)
    except ValueError:
        return read_date(cell)


def _splits(cells: Cells, notes: list[str]) -> list[str]:
    if "split" not in cells.columns:
        notes.append("The table has no split column: every image is for training. `crosscam data holdout` cuts a test.")
        return ["train"] * len(cells.columns["path"])
    splits = [value.strip().lower() for value in cells.columns["split"]]
    for row, value in enumerate(splits):
        if value not in SPLITS:
            raise DataError(f"{cells.where(row)}: split {value!r}. Expected train, query or gallery.")
    return splits


def _check_pids(cells: Cells, splits: Sequence[str], pids: Sequence[int]) -> None:
    for row, (split, pid) in enumerate(zip(splits, pids, strict=True)):
        if pid < JUNK_PID or (split != "gallery" and pid in (JUNK_PID, DISTRACTOR_PID)):
            raise DataError(
                f"{cells.where(row)}: pid {pid} in {split}. Number identities from 1: "
                "0 is a distractor and -1 junk, both for the gallery only."
            )


def check_once(
    cells: Cells, splits: Sequence[str], paths: Sequence[Path], pids: Sequence[int], camids: Sequence[int]
) -> None:
    """An image counts once in a subset, and shows one person at one camera."""
    rows: dict[tuple[str, Path], int] = {}
    seen: dict[Path, int] = {}
    for row, (split, path, pid, camid) in enumerate(zip(splits, paths, pids, camids, strict=True)):
        before = rows.setdefault((split, path), row)
        other = seen.setdefault(path, row)
        if before != row:
            raise DataError(
                f"{cells.where(row)}: {path} stands in {cells.place(before)} already. Expected each image once in a "
                "subset, or it counts double; remove one of the two."
            )
        if pids[other] != pid:
            raise DataError(f"{cells.where(row)}: {path} has another pid in {cells.place(other)}. Decide who it is.")
        if camids[other] != camid:
            raise DataError(
                f"{cells.where(row)}: {path} has another camera in {cells.place(other)}. Decide which took it, or a "
                "query finds itself."
            )


def _protocol(cells: Cells) -> RankingProtocol:
    values = {value.strip() for value in cells.columns.get("protocol", ["market1501"])}
    for protocol in get_args(RankingProtocol):
        if values == {protocol}:
            found: RankingProtocol = protocol
            return found
    raise DataError(
        f"{cells.path}: protocol {', '.join(sorted(values))}. Expected one of "
        f"{', '.join(get_args(RankingProtocol))}, the same in every line."
    )


def root_of(table: Path, paths: Sequence[Path]) -> Path:
    """The table's folder, or else the common folder, so that fingerprints hold for a copy elsewhere."""
    if all(p.is_relative_to(table.parent) for p in paths):
        return table.parent
    try:
        return Path(os.path.commonpath([p.parent for p in paths]))
    except ValueError:  # several drives
        return table.parent


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
