"""Texts in tables that people open with a spreadsheet, which runs what looks like a formula.

For exports and reports; tables of data sets are read by programs, and keep their cells as they are.
"""

from __future__ import annotations

import re

# Of other alphabets, spreadsheets take the wide forms for the same signs.
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
