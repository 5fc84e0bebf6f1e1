"""Own data as a table: CSV, TSV or Parquet with the columns ``path,pid,camid[,split,time,track]``."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from crosscam.data.images import natural_key, path_key
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, RankingProtocol, ReidDataset, Sample
from crosscam.errors import DataError
from crosscam.system.files import write_atomically

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
SPLITS = ("train", "query", "gallery")
CamidRule = int | str | None

# A constant column "protocol" is written only where the ranking protocol is not the usual one.
_COLUMNS = ("path", "pid", "camid", "split", "time", "track", "protocol")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_Columns = dict[str, list[str]]


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
    columns = _read_columns(path)
    notes: list[str] = []
    for name in ("path", "pid"):
        if name not in columns:
            raise DataError(
                f"{path} has no column {name!r}. Expected path,pid,camid[,split,time,track], "
                f"found {','.join(columns) or 'nothing'}."
            )
    if not columns["path"]:
        raise DataError(f"{path} has no rows. Expected one row for each image.")
    unused = [name for name in columns if name not in _COLUMNS]
    if unused:
        notes.append(f"Columns not used: {', '.join(unused)}.")
    paths = [_image_path(path, row, value) for row, value in enumerate(columns["path"])]
    pids = numbered(_filled(path, columns, "pid"), "identities", notes)
    samples = zip(paths, pids, _camids(path, columns, paths, camids, notes), *_times_tracks(path, columns), strict=True)
    splits = _splits(path, columns, notes)
    subsets: dict[str, list[Sample]] = defaultdict(list)
    for split, fields in zip(splits, samples, strict=True):
        subsets[split].append(Sample(*fields))
    _check_pids(path, subsets)
    if not any(p.is_file() for p in (paths[0], paths[-1])):
        raise DataError(f"{path} names {paths[0]}, which does not exist. Paths count from the table's folder.")
    train, query, gallery = (tuple(sorted(subsets[name], key=lambda s: path_key(s.path))) for name in SPLITS)
    return ReidDataset(path.stem, _root(path, paths), train, query, gallery, _protocol(path, columns), tuple(notes))


def write_table(dataset: ReidDataset, path: Path) -> None:
    """Save a data set as a table that :func:`read_table` reads back with the same samples.

    Image paths are written relative to the table's folder. A kill at any instant leaves no half a table.

    Raises:
        ValueError: a suffix other than .csv, .tsv or .parquet.
        DataError: the table cannot be written, for example because the disk is full.
    """
    path = Path(os.path.abspath(path))
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"A table is saved as {', '.join(TABLE_SUFFIXES)}; found {path.name!r}.")
    samples = [(split, s) for split, subset in dataset.subsets.items() for s in subset]
    columns: dict[str, list[object]] = {
        "path": [_relative(s.path, path.parent) for _, s in samples],
        "pid": [s.pid for _, s in samples],
        "camid": [s.camid for _, s in samples],
        "split": [split for split, _ in samples],
    }
    if any(s.time is not None for _, s in samples):
        columns["time"] = [s.time for _, s in samples]
    if any(s.track is not None for _, s in samples):
        columns["track"] = [s.track for _, s in samples]
    if dataset.protocol != "market1501":
        columns["protocol"] = [dataset.protocol] * len(samples)
    write_atomically(path, lambda part: _write_columns(part, path.suffix.lower(), columns), error=DataError)


def numbered(values: Sequence[str], what: str, notes: list[str]) -> list[int]:
    """Whole numbers as they are; any other values numbered from 1 in natural order, with a note."""
    if all(_INTEGER.fullmatch(v) for v in values):
        return [int(v) for v in values]
    names = sorted(set(values), key=natural_key)
    number = {name: i for i, name in enumerate(names, start=1)}
    shown = ", ".join(f"{name} = {i}" for name, i in list(number.items())[:5])
    notes.append(f"{len(names):,} {what} have names and were numbered: {shown}{', ...' if len(names) > 5 else ''}.")
    return [number[v] for v in values]


def camids_by_rule(paths: Sequence[Path], rule: CamidRule, where: Path, notes: list[str]) -> list[int]:
    """Camera of each image as the user states it.

    Args:
        paths: the images.
        where: what lacks the cameras, for the message.
        notes: gets a sentence where cameras have names and were numbered.
        rule: a number if one camera took all images, or a regular expression whose one group finds the camera
            in the file name.
    Raises:
        DataError: no rule, or a file name without a match.
        ValueError: not a regular expression with exactly one group.
    """
    if rule is None:
        raise DataError(
            f"{where} does not say which camera took an image. State it: camids=0 (--camids 0) if one camera took all, "
            "a regular expression with one group over the file name, such as camids='_c([0-9]+)', or, in a table, a "
            "column camid."
        )
    if isinstance(rule, str) and _INTEGER.fullmatch(rule):  # as a command line gives it
        rule = int(rule)
    if isinstance(rule, int):
        return [rule] * len(paths)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ValueError(f"camids={rule!r} is not a regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ValueError(f"camids={rule!r} has {pattern.groups} groups. Expected one, around the camera.")
    found = [match[1] if (match := pattern.search(path.name)) else None for path in paths]
    lost = [path for path, camera in zip(paths, found, strict=True) if camera is None]
    if lost:
        raise DataError(
            f"camids={rule!r} finds no camera in {len(lost):,} of {len(paths):,} file names, such as {lost[0].name}."
        )
    return numbered([camera or "" for camera in found], "cameras", notes)


def _line(row: int) -> str:
    return f"line {row + 2}"  # the header is line 1


def _filled(path: Path, columns: Mapping[str, list[str]], name: str) -> list[str]:
    for row, value in enumerate(columns[name]):
        if not value:
            raise DataError(f"{path}, {_line(row)}: no {name}. Fill it in; crosscam never guesses it.")
    return columns[name]


def _image_path(table: Path, row: int, value: str) -> Path:
    if not value or "\0" in value:
        raise DataError(f"{table}, {_line(row)}: no image path.")
    return Path(os.path.abspath(table.parent / value))


def _camids(path: Path, columns: _Columns, paths: Sequence[Path], rule: CamidRule, notes: list[str]) -> list[int]:
    if "camid" not in columns:
        return camids_by_rule(paths, rule, path, notes)
    if rule is not None:
        raise ValueError(f"{path} has a camid column already. Remove it, or leave camids out.")
    return numbered(_filled(path, columns, "camid"), "cameras", notes)


def _times_tracks(path: Path, columns: _Columns) -> tuple[list[float | None], list[str | None]]:
    count = len(columns["path"])
    times: list[float | None] = []
    for row, value in enumerate(columns.get("time", [""] * count)):
        try:
            time = float(value) if value else None
        except ValueError:
            time = math.nan
        if time is not None and not math.isfinite(time):
            raise DataError(f"{path}, {_line(row)}: time {value!r}. Expected seconds, or nothing.")
        times.append(time)
    return times, [value or None for value in columns.get("track", [""] * count)]


def _splits(path: Path, columns: _Columns, notes: list[str]) -> list[str]:
    if "split" not in columns:
        notes.append("The table has no split column: every image is for training. `crosscam data holdout` cuts a test.")
        return ["train"] * len(columns["path"])
    splits = [value.lower() for value in columns["split"]]
    for row, value in enumerate(splits):
        if value not in SPLITS:
            raise DataError(f"{path}, {_line(row)}: split {value!r}. Expected train, query or gallery.")
    return splits


def _check_pids(path: Path, subsets: Mapping[str, Iterable[Sample]]) -> None:
    for split, samples in subsets.items():
        for s in samples:
            if s.pid < JUNK_PID or (split != "gallery" and s.pid in (JUNK_PID, DISTRACTOR_PID)):
                raise DataError(
                    f"{path}: {s.path.name} in {split} has pid {s.pid}. Number identities from 1: "
                    "0 is a distractor and -1 junk, both for the gallery only."
                )


def _protocol(path: Path, columns: _Columns) -> RankingProtocol:
    values = set(columns.get("protocol", ["market1501"]))
    for protocol in get_args(RankingProtocol):
        if values == {protocol}:
            found: RankingProtocol = protocol
            return found
    raise DataError(
        f"{path}: protocol {', '.join(sorted(values))}. Expected one of "
        f"{', '.join(get_args(RankingProtocol))}, the same in every line."
    )


def _root(table: Path, paths: Sequence[Path]) -> Path:
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


def _read_columns(path: Path) -> _Columns:
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = [line for line in csv.reader(file, delimiter=delimiter) if line]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}.") from error
    if not lines:
        raise DataError(f"{path} is empty. Expected a header path,pid,camid[,split,time,track].")
    header = [name.strip().lower() for name in lines[0]]
    if len(set(header)) < len(header):
        raise DataError(f"{path} names a column twice: {','.join(header)}.")
    for row, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise DataError(f"{path}, {_line(row)}: {len(line)} values for {len(header)} columns ({','.join(header)}).")
    return {name: [line[i].strip() for line in lines[1:]] for i, name in enumerate(header)}


def _read_parquet(path: Path) -> _Columns:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"Reading {path} needs pyarrow: pip install 'crosscam[data]'.") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error
    return {name.lower(): [_text(v) for v in table.column(name).to_pylist()] for name in table.column_names}


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # A column of whole numbers with a gap is stored as floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _write_columns(path: Path, suffix: str, columns: Mapping[str, list[object]]) -> None:
    if suffix == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise DataError(f"Writing {path} needs pyarrow: pip install 'crosscam[data]'.") from error
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)
        return
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
