"""Text that people write: lists of images, tables, token files.

UTF-8 with or without a byte order mark, or UTF-16 or UTF-32 with one. Only ``\\n`` and ``\\r\\n`` end a line, since a
file name may hold any other character. Bytes that are not UTF-8 stay what they are (surrogates), since file names need
not be.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from crosscam.errors import DataError
from crosscam.system.text import counted, first_few, is_unicode, printable

# UTF-32's mark begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LIST_SUFFIX = ".txt"


def is_list(path: Path) -> bool:
    """Whether the path is a file with the suffix of a list of images, in any case."""
    return path.suffix.lower() == LIST_SUFFIX and path.is_file()


def read_text(path: Path) -> str:
    """The text of a file, without its byte order mark.

    Raises:
        DataError: it cannot be read, or it is UTF-16 without a mark, or no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    mark, encoding = next((pair for pair in _MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} begins as {encoding} but is not: {error.reason}. Save it as UTF-8.") from error
    if "\0" in text:
        raise DataError(
            f"{path} holds zero bytes: it is not text, or it is UTF-16 without a byte order mark. Save it as UTF-8."
        )
    return text


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1, without their ends.

    Raises:
        DataError: as :func:`read_text`.
    """
    lines = (line.removesuffix("\r") for line in read_text(path).split("\n"))
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def read_rows(path: Path, expected: str) -> list[dict[str, str]]:
    """The lines of a small CSV table below its first, by the names of the columns.

    Args:
        path: the table.
        expected: what it should hold, as a sentence for messages.
    Raises:
        DataError: it cannot be read, a column is named twice, or a line has another number of cells.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read ({error}). {expected}") from error
    names = list(reader.fieldnames or ())
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a column twice: {','.join(names)}. {expected}")
    for number, row in enumerate(rows, 2):
        # "10,5" with a comma for the decimal point would count as ten seconds.
        if None in row or None in row.values():
            raise DataError(f"{path}, line {number}: another number of cells than in the first line. {expected}")
    return rows


def path_in(folder: Path, name: str, *, exact: bool = False) -> Path:
    """The file that a line or a cell names; spaces around the name count if a file is called so.

    Args:
        folder: where paths count from.
        name: the line or cell.
        exact: whether a name that is nowhere keeps its spaces.
    """
    whole, trimmed = folder / name, folder / name.strip()
    if name == name.strip() or os.path.lexists(whole):
        return whole
    return whole if exact and not os.path.lexists(trimmed) else trimmed


def refuse_names(names: Iterable[str | Path], what: str, instead: str) -> None:
    """Refuse file names that are not UTF-8, where what is written can hold no others.

    Args:
        names: paths and other texts.
        what: what cannot hold them.
        instead: the next step.
    Raises:
        DataError: some names; the message has their number and the first ones.
    """
    wrong = [printable(name) for name in names if not is_unicode(name)]
    if wrong:
        shown = first_few(wrong)
        raise DataError(f"{counted(len(wrong), 'name')} not in UTF-8, and {what} cannot hold that: {shown}. {instead}")


# Of other alphabets, spreadsheets take the wide forms for the same signs.
# Texts in tables that people open with a spreadsheet, which runs what looks like a formula. For exports and reports;
# tables of datasets are read by programs, and keep their cells as they are.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"[\s\x00-\x1f\u200b-\u200f\ufeff\"']*[{_SIGNS};|%\t\r\n]")
# Where the system's separator is a semicolon or a tab, a cell ends there, and the next one begins.
_WITHIN = re.compile(rf"([;\t\r\n|][\s\"]*)(?=[{_SIGNS}])")


def harmless(value: object) -> object:
    """A cell that a spreadsheet shows and does not run: texts that could be formulas get an apostrophe; None is empty.

    Numbers stay numbers, also those that come as texts.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or _is_number(value):
        return value
    within = _WITHIN.sub(r"\1'", value)
    return f"'{within}" if _FORMULA.match(value) else within


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", text) is not None
