"""File names as text: they need not be UTF-8, but what is shown and what most files hold is."""

from __future__ import annotations

from pathlib import Path


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
