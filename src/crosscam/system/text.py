"""Text that others wrote or mistyped: names of files, the nearest known name, times, and JSON that may be damaged."""

from __future__ import annotations

import difflib
import json
import math
import re
import time as clock
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crosscam.errors import ArgumentError


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError if it is none, is nested too deep, or has numbers of thousands of digits."""
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


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_few(texts: Sequence[str]) -> str:
    """``"a, b, c, ..."``: at most three of them."""
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"Did you mean NAME? "`` with the nearest known name; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {near[0]}? " if near else ""


def counted(count: int, what: str) -> str:
    """``"1 camera"``, ``"1,200 cameras"``; a verb may follow the noun: ``"1 pair is"``, ``"2 pairs are"``."""
    if count == 1:
        return f"1 {what}"
    noun, _, verb = what.rpartition(" ")
    if verb in _VERBS:
        return f"{count:,} {_plural(noun)} {_VERBS[verb]}"
    return f"{count:,} {_plural(what)}"


def _plural(noun: str) -> str:
    if noun.endswith("person"):
        return noun.removesuffix("person") + "people"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun.removesuffix("y") + "ies"
    return noun + ("es" if noun.endswith(("x", "tch")) else "s")


_VERBS = {"is": "are", "has": "have", "stands": "stand"}

# The times that a date can tell: of the years 1 to 9999.
FIRST, LAST = -62_135_596_800, 253_402_300_800
# Seconds from this on are dates: seconds from the first frame of a video stay below ten years.
FIRST_DATE = 3e8
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"\s*((?:[0-9]+(?:\.[0-9]+)?\s*[smhdw]\s*)+)")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}")
# A day with an offset and no time.
_OFFSET_ALONE = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}\s*[+-][0-9:]+")


def on_one_clock(one: float, other: float) -> bool:
    """Whether two times can be compared: both are dates, or both count from the first frame of a video."""
    return (one >= FIRST_DATE) == (other >= FIRST_DATE)


def read_span(text: str) -> float:
    """``"30d"`` or ``"1h30m"`` in seconds; ValueError for anything but numbers with units."""
    match = _SPAN.fullmatch(text)
    if not match:
        raise ArgumentError(
            f"{text!r} is not a time span. Expected a number and s, m, h, d or w, such as 30d or 1h30m."
        )
    return sum(float(number) * SECONDS[unit] for number, unit in _PIECE.findall(match[1]))


def read_date(text: str, *, end: bool = False) -> float:
    """An ISO 8601 date, or date and time, in seconds of the Unix epoch; UTC where it says no other offset.

    For example ``2026-11-24``, ``2026-11-24 08:30`` or ``2026-11-24T08:30:00+01:00``; with ``end`` a date alone is the
    last instant of that day instead of the first. ValueError: another form, or no such day.
    """
    word = text.strip()
    # Of milliseconds Python reads a year and an hour, and of a day with an offset a time of that day.
    if (word.isdecimal() and len(word) != 8) or _OFFSET_ALONE.fullmatch(word):
        raise ArgumentError(f"{word} is not a date")
    moment = datetime.fromisoformat(word[:-1] + "+00:00" if word[-1:] in ("Z", "z") else word)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if end and _DAY.fullmatch(word):
        return math.nextafter((moment + timedelta(days=1)).timestamp(), -math.inf)
    return moment.timestamp()


def date_of(text: str) -> str:
    """``2026-11-24`` for ``20261124``, with hours for ``202611240830``, which are seconds too; empty for all others."""
    with suppress(ValueError):
        if text.isdecimal() and len(text) in (8, 12, 14):
            moment = datetime.fromisoformat(f"{text[:8]}T{text[8:]}" if text[8:] else text)
            if 1900 <= moment.year < 2100:
                return str(moment if text[8:] else moment.date())
    return ""


def read_time(text: str, option: str, *, end: bool = False, now: float | None = None, spans: bool = True) -> float:
    """A time that a user gives: seconds, a date, or how long ago it was, such as ``2h``; else a ValueError.

    Args:
        option: where it was given, for the message.
        end: as in :func:`read_date`.
        now: what ``2h`` counts back from, seconds of the Unix epoch; the present by default.
        spans: False where the same text must always be the same time.
    """
    # A number is seconds, but nobody means the 23rd of August 1970 by 20261124.
    word = text.strip()
    if day := date_of(word):
        raise ArgumentError(f"{option}: {word} may be a date or seconds. Write {day}, or {word}.0 for seconds.")
    with suppress(ValueError):
        seconds = float(text)
        if FIRST <= seconds < LAST:
            return seconds
    if spans and _SPAN.fullmatch(text):
        return (clock.time() if now is None else now) - read_span(text)
    try:
        return read_date(text, end=end)
    except (ValueError, OverflowError) as error:
        span = "; a span before now, 2h;" if spans else ","
        raise ArgumentError(
            f"{option}: {text!r} is not a valid time. Expected a date, 2026-11-24 or '2026-11-24 08:30' (UTC) or with "
            f"an offset, 2026-11-24T08:30+01:00{span} or seconds."
        ) from error
