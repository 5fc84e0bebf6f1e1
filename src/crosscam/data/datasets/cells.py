"""Cells of a table, each column as texts, with the line of the file where each row begins."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscam.data.labels import LARGEST_FLOAT, largest_whole
from crosscam.data.text_files import read_text, refuse_names
from crosscam.errors import DataError
from crosscam.system import needed
from crosscam.system.text import counted, reason_of

# Of a table of images. A constant column "protocol" is written only where the ranking protocol is not the usual one.
COLUMNS = ("path", "pid", "camid", "split", "time", "track", "camera", "protocol")
# Columns that may hold numbers which floats of few digits do not tell apart.
NUMBERS = ("pid", "camid", "camera", "time")
_SEP = re.compile(r'"?sep=([,;\t|])"?\r?\n', re.IGNORECASE)


@dataclass(frozen=True)
class Cells:
    """What stands in a table.

    Attributes:
        path: the file.
        columns: the cells of each column that was wanted, by its name in small letters; spaces as they are.
        lines: where each row begins: the file's line, or the row of a Parquet file; both from 1.
        unused: names of the other columns.
        comments: lines that begin with #; they are not rows.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: Sequence[int]
    unused: tuple[str, ...] = ()
    comments: int = 0

    def where(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, {self.place(row)}"

    def place(self, row: int) -> str:
        """The same without the file."""
        kind = "row" if self.path.suffix.lower() == ".parquet" else "line"
        return f"{kind} {self.lines[row]}"


def read_cells(path: Path, wanted: Collection[str]) -> Cells:
    """Read the wanted columns of a .csv, .tsv or .parquet file.

    Raises:
        DataError: it cannot be read, is empty, names a column twice, or has a row of another length.
    """
    return _read_parquet(path, wanted) if path.suffix.lower() == ".parquet" else _read_csv(path, wanted)


def column_names(path: Path, wanted: Collection[str]) -> list[str]:
    """Names of a table's columns in small letters, of its header alone; none where :func:`read_cells` would fail."""
    if path.suffix.lower() == ".parquet":
        pyarrow, parquet = _pyarrow(f"Reading {path}")
        with suppress(OSError, ValueError, pyarrow.ArrowException):
            return [name.strip().lower() for name in parquet.read_schema(path).names]
        return []
    text, delimiter = _text_and_delimiter(path, wanted)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with suppress(csv.Error):
        header = next((cells for cells in rows if _is_row(cells) and not cells[0].startswith("#")), [])
        return [name.strip().lower() for name in header]
    return []


def write_cells(path: Path, suffix: str, columns: Mapping[str, list[object]]) -> None:
    """Write columns so that :func:`read_cells` gives the same cells.

    Raises:
        DataError: Parquet without pyarrow, or with texts that are not UTF-8.
    """
    if suffix == ".parquet":
        pyarrow, parquet = _pyarrow(f"Writing {path}")
        parquet.write_table(pyarrow.table(dict(columns)), path)
        return
    # A carriage return in a name would end the row unless it is quoted.
    odd = any("\r" in cell for cells in columns.values() for cell in cells if isinstance(cell, str))
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(
            file,
            delimiter="\t" if suffix == ".tsv" else ",",
            lineterminator="\n",
            quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL,
        )
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def refuse_for_parquet(texts: Sequence[str]) -> None:
    """Refuse, before the work, texts that Parquet cannot hold (DataError: texts that are not UTF-8)."""
    refuse_names(texts, "Parquet", "Write .csv or .npz, or rename the files.")


def _read_csv(path: Path, wanted: Collection[str]) -> Cells:
    text, delimiter = _text_and_delimiter(path, wanted)
    rows: list[tuple[int, list[str]]] = []
    comments, ended = 0, 0
    # Strictly: a quotation mark that is never closed would swallow the rows behind it in silence.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            line, ended = ended + 1, reader.line_num
            # A path may begin with #, too: what has all cells is a row.
            if cells and cells[0].startswith("#") and (not rows or len(cells) != len(rows[0][1])):
                comments += 1
            elif _is_row(cells):
                rows.append((line, cells))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a table: {error}.") from error
    if not rows:
        raise DataError(f"{path} is empty. Expected a header path,pid,camid[,split,time,track].")
    header = _header(path, rows[0][1])
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            found, expected = counted(len(cells), "value"), counted(len(header), "column")
            raise DataError(f"{path}, line {line}: {found} for {expected} ({listed(header)}).")
    columns = {name: [cells[i] for _, cells in rows[1:]] for i, name in enumerate(header) if name in wanted}
    unused = tuple(name for name in header if name not in wanted)
    return Cells(path, columns, [line for line, _ in rows[1:]], unused, comments)


def _is_row(cells: Sequence[str]) -> bool:
    return bool(cells) and (len(cells) > 1 or bool(cells[0].strip()))


def _text_and_delimiter(path: Path, wanted: Collection[str]) -> tuple[str, str]:
    """A table's text, and its separator. A first line ``sep=;``, as for Excel, says it, and is blank then."""
    text = read_text(path)
    stated = _SEP.match(text)
    if stated is not None:
        return f"\n{text[stated.end() :]}", stated[1]
    return text, _delimiter(path, text, wanted)


def _delimiter(path: Path, text: str, wanted: Collection[str]) -> str:
    """What separates the columns: as the suffix says, unless the header has known columns by another sign alone.

    Spreadsheet programs write semicolons where the comma stands in numbers.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    header = next(lines, "")

    def known(sign: str) -> int:
        return len({name.strip().strip('"').lower() for name in header.split(sign)} & {*wanted, *COLUMNS})

    best = max((usual, ",", ";", "\t"), key=known)
    return best if known(best) > max(1, known(usual)) else usual


def listed(names: Sequence[str]) -> str:
    """Names of columns in one line, for messages."""
    text = " ".join(",".join(names).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def _header(path: Path, names: Sequence[str]) -> list[str]:
    header = [name.strip().lower() for name in names]
    if len(set(header)) < len(header):
        raise DataError(f"{path} names a column twice: {listed(header)}.")
    return header


def _pyarrow(what: str) -> tuple[Any, Any]:
    said = f"{what} needs pyarrow: pip install 'crosscam[data]'."
    return needed("pyarrow", said), needed("pyarrow.parquet", said)


def _read_parquet(path: Path, wanted: Collection[str]) -> Cells:
    pyarrow, parquet = _pyarrow(f"Reading {path}")
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        header = _header(path, names)
        chosen = [(key, name) for key, name in zip(header, names, strict=True) if key in wanted]
        table = file.read(columns=[name for _, name in chosen])
        columns = {key: [_text(value) for value in table.column(name).to_pylist()] for key, name in chosen}
        _refuse_short_floats(path, {key: table.column(name) for key, name in chosen if key in NUMBERS})
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {reason_of(error)}.") from error
    unused = tuple(key for key in header if key not in wanted)
    return Cells(path, columns, range(1, file.metadata.num_rows + 1), unused)


def _refuse_short_floats(path: Path, columns: Mapping[str, Any]) -> None:
    """Refuse numbers that were saved as floats of 32 or 16 bits and are too large for them: two people would be one."""
    for name, column in columns.items():
        digits = {"float": 24, "halffloat": 11}.get(str(column.type), 53)
        for row, value in enumerate(column.to_pylist() if digits < 53 else [], start=1):
            if value is not None and largest_whole(digits) < abs(float(value)) < math.inf:
                raise DataError(
                    f"{path}, row {row}: {name} {float(value):.0f} was saved as a float of few digits ({column.type}), "
                    "which does not tell such large numbers apart. Save it whole."
                )


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_FLOAT:
        # A column of whole numbers with a gap is stored as floats.
        return str(int(value))
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
