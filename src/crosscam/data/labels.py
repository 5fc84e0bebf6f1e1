"""Identities and cameras: the one reading of cells, folder and file names, and Python arrays.

A label is a whole number, however it is written (``7``, ``007``, ``7.0``), or a name. Numbers below 1 keep their
meaning (:mod:`crosscam.data.records`), names are numbered, and what says that nothing is known (``nan``, ``None``) is
refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.data.walk import natural_key
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted, first_few

What = Literal["identities", "cameras"]
_ONE: dict[What, str] = {"identities": "identity", "cameras": "camera"}

# What pandas, R and databases write where a value is missing.
_MISSING = frozenset({"", "nan", "NaN", "NAN", "-nan", "-NaN", "None", "none", "NONE", "null", "Null", "NULL"}) | {
    *("NA", "N/A", "n/a", "<NA>", "NaT", "#N/A", "#NA", "#NULL!", "undefined")
}
_WHOLE = re.compile(r"([+-]?)([0-9]+)(\.0*)?")
# With the sign in the exponent, as numpy and pandas write floats; 2e10 is a name.
_SCIENTIFIC = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?[eE][+-][0-9]{1,3}")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
LARGEST = 2**63 - 1
# Above this, neighboring whole numbers are one and the same float.
LARGEST_FLOAT = 2**53


def largest_whole(digits: int) -> int:
    """The largest whole number that a float of so many binary digits tells from its neighbors.

    A float of 64 bits has 53 digits, one of 32 bits 24, one of 16 bits 11, and a bfloat16 8.
    """
    return LARGEST_FLOAT if digits >= 53 else 2**digits - 1


def is_missing(cell: str) -> bool:
    """Whether a cell says that nothing is known."""
    return cell.strip() in _MISSING


def same_spelling(text: str) -> str:
    """A name without spaces around it, with the characters that two programs write alike (Unicode's NFC).

    File names of a Mac spell ``ü`` as ``u`` and two dots, keyboards as one character.
    """
    return unicodedata.normalize("NFC", text.strip())


def read_label(text: str) -> int | str:
    """The label that a cell or a name spells: a whole number of at most 63 bits, or the name.

    >>> read_label("007"), read_label("-1.0"), read_label("zoe"), read_label("1.5")
    (7, -1, 'zoe', '1.5')

    Raises:
        ValueError: nothing is known, it is infinite, or it was written as a float that cannot hold it.
    """
    cell = same_spelling(text)
    if cell in _MISSING:
        raise ArgumentError(f"{cell!r} says that it is not known" if cell else "it is empty")
    if _INFINITE.fullmatch(cell):
        raise ArgumentError(f"{cell!r} is not a number of a person or camera")
    whole, scientific = _WHOLE.fullmatch(cell), _SCIENTIFIC.fullmatch(cell)
    if whole is None and scientific is None:
        return cell
    if whole is not None:
        sign, spelled, point = whole.groups()
        digits = spelled.lstrip("0") or "0"
        # Python refuses to turn thousands of digits into a number, and they are a name anyway.
        value = int(sign + digits) if len(digits) <= 20 else LARGEST + 1
        name = sign.replace("+", "") + digits
    else:
        exact = Decimal(cell)
        if exact != exact.to_integral_value():
            return cell
        value, point, name = int(exact), ".", cell
    if point and abs(value) > LARGEST_FLOAT:
        raise ArgumentError(
            f"{cell!r} was saved as a float, which does not tell such large numbers apart; save it whole"
        )
    return value if abs(value) <= LARGEST else name


def numbered(
    values: Sequence[str],
    what: What,
    notes: list[str],
    where: Callable[[int], str] = lambda place: f"value {place + 1}",
    column: str | None = None,
    instead: str = "",
) -> list[int]:
    """Numbers of identities or cameras: whole numbers as they are, names in natural order, with a note.

    With names among them, all identities but -1 (junk) and 0 (distractor) are numbered from 1. Cameras with numbers
    keep these, as a gallery does, and names get the next ones. Two spellings of one number are one label, with a note.

    Args:
        values: cells or names.
        what: what they tell, for the notes.
        notes: gets the sentences.
        where: tells the user where the value of a place stands.
        column: what the values are called in messages; ``pid`` or ``camid`` by default.
        instead: another way out of a missing value, a sentence for the message.
    Raises:
        DataError: a value that is missing or no number that can be kept; the message says where.
    """
    name = column or {"identities": "pid", "cameras": "camid"}[what]
    labels = [_read_at(value, name, where, place, instead) for place, value in enumerate(values)]
    note_spellings(values, labels, what, notes)
    if all(isinstance(label, int) for label in labels):
        return [int(label) for label in labels]
    kept = {label for label in labels if isinstance(label, int) and (label < 1 or what == "cameras")}
    names = sorted(set(labels) - kept, key=lambda label: natural_key(str(label)))
    number: dict[int | str, int] = {label: label for label in kept}
    number |= {name: i for i, name in enumerate(names, start=max((0, *kept)) + 1)}
    # Cameras keep their names, by which a gallery gives them numbers of its own.
    shown = ", ".join(f"{name} = {number[name]}" if what == "identities" else str(name) for name in names[:5])
    told = f"Names of {counted(len(names), _ONE[what])}" + ", numbered" * (what == "identities")
    notes.append(f"{told}: {shown}{', ...' if len(names) > 5 else ''}.")
    return [number[label] for label in labels]


def label_names(values: Sequence[str], numbers: Sequence[int]) -> dict[int, str]:
    """Names by number, of what :func:`numbered` gave another number than it spells."""
    spelled = dict(zip(numbers, values, strict=True))
    return {number: same_spelling(text) for number, text in spelled.items() if read_label(text) != number}


def are_named(values: Iterable[str]) -> bool:
    """Whether :func:`numbered` numbers these identities or cameras itself: some are not whole numbers."""
    return any(isinstance(read_label(value), str) for value in set(values))


def is_name(text: str) -> bool:
    """Whether a text names something: it is neither missing nor a number."""
    with suppress(ValueError):
        return isinstance(read_label(text), str)
    return False


def _read_at(value: str, name: str, where: Callable[[int], str], place: int, instead: str) -> int | str:
    try:
        return read_label(value)
    except ValueError as error:
        if is_missing(value):
            told = f" ({error})" if value.strip() else ""
            way = f"Fill it in; crosscam never guesses it.{instead and ' '}{instead}"
            raise DataError(f"{where(place)}: no {name}{told}. {way}") from error
        raise DataError(f"{where(place)}: {name}: {error}. Expected a whole number or a name.") from error


def note_spellings(values: Sequence[str], labels: Sequence[int | str], what: What, notes: list[str]) -> None:
    """Tell in ``notes`` which labels are spelled in several ways."""
    spellings: dict[int | str, set[str]] = {}
    for value, label in zip(values, labels, strict=True):
        spellings.setdefault(label, set()).add(value.strip())
    several = [" = ".join(sorted(texts, key=natural_key)) for texts in spellings.values() if len(texts) > 1]
    if several:
        notes.append(f"{counted(len(several), _ONE[what])} spelled in several ways; each is one: {first_few(several)}.")


def whole_number(value: object, name: str) -> int:
    """One identity or camera that a program gives, as a number of at most 63 bits and a sign.

    Raises:
        ValueError: it is missing, fractional, too large, or no number.
    """
    if isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} is {value}. Expected a whole number.")
    if isinstance(value, int | np.integer):
        number = int(value)
        if not -LARGEST - 1 <= number <= LARGEST:
            raise ArgumentError(f"{name} is {number}. Expected a whole number of at most 63 bits and a sign.")
        return number
    if isinstance(value, float | np.floating):
        most = largest_whole(np.finfo(type(value)).nmant + 1)
        value = float(value)
        if not np.isfinite(value) or value != np.floor(value):
            raise ArgumentError(f"{name} is {value}. Expected a whole number.")
        if abs(value) > most:
            raise ArgumentError(
                f"{name} is {value}: a float does not tell such large numbers apart. Give whole numbers."
            )
        return int(value)
    raise ArgumentError(
        f"{name} is {value!r}, of the type {type(value).__name__}. Expected whole numbers; number the identities and "
        "cameras first."
    )


def whole_numbers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Identities or cameras that a program gives, of any shape, as int64; whole floats are whole numbers.

    Raises:
        ValueError: a value that is missing, fractional or too large, with its place; or not numbers at all.
    """
    if np.ma.is_masked(values):
        raise ArgumentError(f"{name} is masked in places: nothing is known there. Leave these rows out.")
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind == "i":
        return array.astype(np.int64)
    if array.dtype.kind == "u" and array.max(initial=0) <= LARGEST:
        return array.astype(np.int64)
    if array.size == 0:
        return np.empty(array.shape, np.int64)
    if array.dtype.kind == "f":
        exact, most = array.astype(np.float64), largest_whole(np.finfo(array.dtype).nmant + 1)
        # NaN and infinity fail one of these.
        if bool(((exact == np.floor(exact)) & (np.abs(exact) <= most)).all()):
            return exact.astype(np.int64)
    elif array.dtype.kind not in "uO":
        raise ArgumentError(
            f"{name} holds {array.dtype}. Expected whole numbers; number the identities and cameras first."
        )
    flat = [whole_number(value, f"{name}[{place}]") for place, value in enumerate(array.ravel())]
    return np.array(flat, np.int64).reshape(array.shape)
