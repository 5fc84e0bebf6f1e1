"""Text that others wrote or mistyped: names of files, the nearest known name, and JSON that may be damaged."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crosscam.errors import ArgumentError


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON; also where lists are nested so deep that Python gives up, and numbers have thousands
            of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ArgumentError("it is nested too deep") from error


def is_unicode(text: str | Path) -> bool:
    """Whether a text can be kept as UTF-8; a file name need not be."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str | Path) -> str:
    r"""A text as UTF-8 can hold it: bytes of a file name that are not UTF-8 are spelled as ``\xff``."""
    if is_unicode(text):
        return str(text)
    try:
        data = str(text).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character of UTF-16, which no file name of Linux gives
        data = str(text).encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"Did you mean NAME? "`` with the nearest known name; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {near[0]}? " if near else ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """``"1 camera"``, ``"1,200 cameras"``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
