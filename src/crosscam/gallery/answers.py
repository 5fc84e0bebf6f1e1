"""Answers of people to "same person?" about pairs of entries; a gallery without labels is calibrated from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

DOCUMENT = "answers"
LIMIT = 5_000
# Of either kind, before the answers become a calibration.
ENOUGH = 30


@dataclass(frozen=True)
class Answer:
    """One answer about two entries.

    Attributes:
        first, second: the entries, the smaller id first.
        distance: between their descriptors.
        same: whether they show one person; None where somebody was unsure.
        who, when: by whom, and when (ISO 8601).
    """

    first: int
    second: int
    distance: float
    same: bool | None
    who: str
    when: str


def read_answers(document: Any) -> tuple[Answer, ...]:
    """From the gallery's document; what is not of this form is left out."""
    found = []
    for item in document if isinstance(document, list) else []:
        try:
            same = None if item["same"] is None else bool(item["same"])
            numbers = int(item["first"]), int(item["second"]), float(item["distance"])
            found.append(Answer(*numbers, same, str(item["who"]), str(item["when"])))
        except (TypeError, KeyError, ValueError):
            continue
    return tuple(found)


def as_document(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """For the gallery; of very many the last ones."""
    return [asdict(answer) for answer in answers][-LIMIT:]


def with_answer(answers: Iterable[Answer], new: Answer) -> tuple[Answer, ...]:
    """The new answer in the place of an older one about the same pair."""
    return (*(a for a in answers if (a.first, a.second) != (new.first, new.second)), new)


def without(answers: Iterable[Answer], gone: set[int]) -> tuple[Answer, ...]:
    """Those that do not name a forgotten entry."""
    return tuple(a for a in answers if a.first not in gone and a.second not in gone)


def still_needed(answers: Iterable[Answer]) -> tuple[int, int]:
    """How many answers "same" and how many answers "other" are missing before there are enough."""
    given = [answer.same for answer in answers]
    return max(0, ENOUGH - given.count(True)), max(0, ENOUGH - given.count(False))


def pruned(document: Any, known: Callable[[list[int]], Iterable[int]]) -> list[dict[str, Any]] | None:
    """The document without answers about entries that are not in the gallery.

    Args:
        document: as the gallery keeps it.
        known: those of some entries that are there.
    Returns:
        The new document; None where the old one can stay.
    """
    answers = read_answers(document)
    named = {n for answer in answers for n in (answer.first, answer.second)}
    gone = named - set(known(sorted(named)))
    return as_document(without(answers, gone)) if gone else None
