"""Checks of a request's body before it is read."""

from __future__ import annotations

import re

import starlette.requests
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

CHARSETS = frozenset({"utf-8", "utf8", "iso-8859-1", "iso8859-1", "latin-1", "latin1", "us-ascii", "ascii"})
LONGEST_TYPE = 1_000
LONGEST_PART_HEADER = 8_000
_CHARSET = re.compile(r"charset[^=;]*=[\s\"']*([^\s\"';,]*)", re.IGNORECASE)


def type_fault(content_type: str) -> str | None:
    """Why a body of this type is refused; None where it is not.

    Python decodes dozens of charsets; some take time that grows with the square of the text, and some are no text at
    all. Browsers and programs send UTF-8.
    """
    if len(content_type) > LONGEST_TYPE:
        return f"The Content-Type is longer than {LONGEST_TYPE:,} characters."
    for found in _CHARSET.finditer(content_type):
        if found[1].lower() not in CHARSETS:
            return f"The charset {found[1][:40]!a} is not known here. Send UTF-8."
    return None


class StrictParser(MultiPartParser):
    """The parser of forms, with the same rule for each part, and in memory alone.

    Uploads stay in memory, which the guard bounds; larger ones would else be written to a temporary file.
    """

    spool_max_size = 1 << 31

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part's header."""
        super().on_header_field(data, start, end)
        self._check_length(self._current_partial_header_name)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part's header."""
        super().on_header_value(data, start, end)
        self._check_length(self._current_partial_header_value)

    def on_headers_finished(self) -> None:
        """All headers of a part; nothing of its data is read yet."""
        for name, value in self._current_part.item_headers:
            fault = type_fault(value.decode("latin-1")) if name == b"content-type" else None
            if fault:
                raise MultiPartException(fault)
        super().on_headers_finished()

    @staticmethod
    def _check_length(data: bytes) -> None:
        if len(data) > LONGEST_PART_HEADER:
            raise MultiPartException(f"A header of a part is longer than {LONGEST_PART_HEADER:,} bytes.")


def install() -> None:
    """Let every request's form be parsed by :class:`StrictParser`; the framework offers no other way to choose one."""
    starlette.requests.MultiPartParser = StrictParser  # type: ignore[attr-defined]


def fault_of(headers: Headers) -> str | None:
    """Why a request's body is refused before it is read; None where it is not."""
    types = headers.getlist("content-type")
    if len(types) > 1:
        return "There is more than one Content-Type."
    return type_fault(types[0]) if types else None
