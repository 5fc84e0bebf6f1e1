"""What people said of matches: the same person, or not. Kept with the gallery, as numbers of entries alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

DOCUMENT = "feedback"
LIMIT = 20_000


@dataclass(frozen=True)
class Judgment:
    """One answer.

    Attributes:
        query: key of the query; ``e12`` where entry 12 was searched with.
        entry: the entry that was judged.
        same: whether it shows the same person.
        who, when: by whom, and when (ISO 8601).
    """

    query: str
    entry: int
    same: bool
    who: str
    when: str


def read_judgments(document: Any) -> tuple[Judgment, ...]:
    """From the gallery's document; what is not of this form is left out."""
    found = []
    for item in document if isinstance(document, list) else []:
        try:
            same = bool(item["same"])
            found.append(Judgment(str(item["query"]), int(item["entry"]), same, str(item["who"]), str(item["when"])))
        except (TypeError, KeyError, ValueError):
            continue
    return tuple(found)


def as_document(judgments: Iterable[Judgment]) -> list[dict[str, Any]]:
    """For the gallery; of very many the last ones."""
    return [asdict(j) for j in judgments][-LIMIT:]


def with_judgment(judgments: Iterable[Judgment], new: Judgment, *, clear: bool = False) -> tuple[Judgment, ...]:
    """The new answer in the place of an older one to the same question, or that one taken back."""
    rest = tuple(j for j in judgments if (j.query, j.entry) != (new.query, new.entry))
    return rest if clear else (*rest, new)


def entry_of(query: str) -> int | None:
    """The entry that a query's key names, None for uploads."""
    digits = query[1:]
    return int(digits) if query[:1] == "e" and digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def named(judgments: Iterable[Judgment]) -> set[int]:
    """All entries that judgments name, as matches or as queries."""
    return {n for j in judgments for n in (j.entry, entry_of(j.query)) if n is not None}


def without(judgments: Iterable[Judgment], gone: set[int]) -> tuple[Judgment, ...]:
    """Those that do not name a forgotten entry."""
    return tuple(j for j in judgments if j.entry not in gone and entry_of(j.query) not in gone)


def pruned(document: Any, known: Callable[[list[int]], Iterable[int]]) -> list[dict[str, Any]] | None:
    """The document without what names entries that are not in the gallery.

    Args:
        document: as the gallery keeps it.
        known: those of some entries that are there.
    Returns:
        The new document; None where the old one can stay.
    """
    judgments = read_judgments(document)
    all_named = named(judgments)
    gone = all_named - set(known(sorted(all_named)))
    return as_document(without(judgments, gone)) if gone else None
