"""What people said of entries, kept with the gallery: of matches (feedback), and of pairs (answers), as numbers alone.

A gallery without labels is calibrated from answers to "same person?" about pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

# Answers of either kind, before they become a calibration.
ENOUGH = 30


@dataclass(frozen=True)
class Judgment:
    """One answer about a match.

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

    @classmethod
    def read(cls, item: Any) -> Judgment:
        """From one item of the document."""
        return cls(str(item["query"]), int(item["entry"]), bool(item["same"]), str(item["who"]), str(item["when"]))

    @property
    def question(self) -> tuple[str, int]:
        """What was asked."""
        return self.query, self.entry

    @property
    def named(self) -> set[int]:
        """The entries that it names, as match or as query."""
        query = entry_of(self.query)
        return {self.entry} if query is None else {self.entry, query}


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

    @classmethod
    def read(cls, item: Any) -> Answer:
        """From one item of the document."""
        same = None if item["same"] is None else bool(item["same"])
        numbers = int(item["first"]), int(item["second"]), float(item["distance"])
        return cls(*numbers, same, str(item["who"]), str(item["when"]))

    @property
    def question(self) -> tuple[int, int]:
        """What was asked."""
        return self.first, self.second

    @property
    def named(self) -> set[int]:
        """The entries that it names."""
        return {self.first, self.second}


Said = TypeVar("Said", bound=Judgment | Answer)


@dataclass(frozen=True)
class Kept(Generic[Said]):
    """A gallery's document of what was said.

    Attributes:
        document: its name.
        limit: of very many the last ones are kept.
        kind: of an item.
    """

    document: str
    limit: int
    kind: type[Said]

    def read(self, document: Any) -> tuple[Said, ...]:
        """From the gallery's document; what is not of this form is left out."""
        return tuple(readable_items(document, self.kind.read))

    def write(self, said: Iterable[Said]) -> list[dict[str, Any]]:
        """For the gallery."""
        return [asdict(each) for each in said][-self.limit :]

    def pruned(self, document: Any, known: Callable[[list[int]], Iterable[int]]) -> list[dict[str, Any]] | None:
        """The document without what names entries that are not in the gallery.

        Args:
            document: as the gallery keeps it.
            known: those of some entries that are there.
        Returns:
            The new document; None where the old one can stay.
        """
        said = self.read(document)
        left = about_known(said, known)
        return self.write(left) if len(left) < len(said) else None


JUDGMENTS = Kept("feedback", 20_000, Judgment)
ANSWERS = Kept("answers", 5_000, Answer)


def readable_items(items: Any, read: Callable[[Any], Any]) -> Iterator[Any]:
    """The items of a list that can be read."""
    for item in items if isinstance(items, list) else []:
        try:
            yield read(item)
        except (TypeError, KeyError, ValueError, IndexError):
            continue


def about_known(said: Iterable[Said], known: Callable[[list[int]], Iterable[int]]) -> tuple[Said, ...]:
    """What names no entry that is forgotten; ``known`` gives those of some entries that are there."""
    said = tuple(said)
    named = {number for each in said for number in each.named}
    gone = named - set(known(sorted(named)))
    return tuple(each for each in said if not each.named & gone)


def with_new(said: Iterable[Said], new: Said, *, clear: bool = False) -> tuple[Said, ...]:
    """The new answer in the place of an older one to the same question, or that one taken back."""
    rest = tuple(each for each in said if each.question != new.question)
    return rest if clear else (*rest, new)


def entry_of(query: str) -> int | None:
    """The entry that a query's key names, None for uploads."""
    digits = query[1:]
    return int(digits) if query[:1] == "e" and digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def still_needed(answers: Iterable[Answer]) -> tuple[int, int]:
    """How many answers "same" and how many answers "other" are missing before there are enough."""
    given = [answer.same for answer in answers]
    return max(0, ENOUGH - given.count(True)), max(0, ENOUGH - given.count(False))
