"""Who is who: people made of tracks, the links between tracks, and what users decided about them.

Kept with the gallery as one document that names tracks and images by the numbers of entries alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Literal

from crosscam.errors import ArgumentError

# Decisions that are kept.
LIMIT = 5_000

Kind = Literal["confirm", "split", "merge", "apart"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class KeptTrack:
    """A track of a person.

    Attributes:
        person: number of the person.
        best: the entry whose image is the most typical of the track.
        entries: all its entries, rising; the first is the track's name here.
    """

    person: int
    best: int
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Evidence:
    """Why two tracks may show one person.

    Attributes:
        first, second: the tracks, by their first entries, the smaller first.
        probability: of one person, as it was when the tracks were compared.
        distance: of the tracks, see :class:`crosscam.gallery.judging.Judge`.
        alone: probability by that distance alone.
        gap: seconds from the end of the earlier track to the beginning of the later; None where a time is missing.
        usual: median and spread, in seconds, of the way between the two cameras; None where it is not known.
        rival: probability of the best other candidate that cannot be the same person as well; 0 if there is none.
        calibrated: whether the distance was judged by the gallery's calibration.
    """

    first: int
    second: int
    probability: float
    distance: float
    alone: float
    gap: float | None = None
    usual: tuple[float, float] | None = None
    rival: float = 0.0
    calibrated: bool = False


@dataclass(frozen=True)
class Decision:
    """What a user said about tracks.

    Attributes:
        kind: "confirm": ``tracks`` are one person. "merge": ``tracks`` and ``others`` are one person. "split" and
            "apart": none of ``tracks`` is the person of ``others``.
        tracks: by their first entries.
        others: the tracks that they are compared with.
        source: person that ``tracks`` were of.
        target: person that they are of since.
        who, when: by whom, and when (ISO 8601).
    """

    kind: Kind
    tracks: tuple[int, ...]
    others: tuple[int, ...]
    source: int
    target: int
    who: str
    when: str

    @property
    def same(self) -> bool:
        """Whether it says that tracks are one person."""
        return self.kind in ("confirm", "merge")

    def pairs(self) -> Iterator[Pair]:
        """The pairs of tracks that it is about."""
        both = (*self.tracks, *self.others)
        for a, b in combinations(both, 2) if self.same else product(self.tracks, self.others):
            yield min(a, b), max(a, b)


@dataclass(frozen=True)
class People:
    """All people of a gallery.

    Attributes:
        next: the number that the next new person gets; no number is given again.
        tracks: by their first entries.
        evidence: for pairs of tracks, the surest first.
        decisions: in their order.
    """

    next: int = 1
    tracks: Mapping[int, KeptTrack] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def of(self, person: int) -> tuple[int, ...]:
        """The tracks of a person, rising."""
        return tuple(sorted(name for name, track in self.tracks.items() if track.person == person))

    def decided(self) -> dict[Pair, Decision]:
        """The last decision about each pair of tracks."""
        return {pair: decision for decision in self.decisions for pair in decision.pairs()}

    # What users decide

    def confirm(self, person: int, who: str, when: str) -> People:
        """All tracks of a person are of one person."""
        mine = self._tracks_of(person)
        if len(mine) < 2:
            raise ArgumentError(f"Person {person} has one track, so that there is nothing to confirm.")
        return self._with(Decision("confirm", mine, (), person, person, who, when))

    def split(self, tracks: Iterable[int], who: str, when: str) -> People:
        """Some tracks of a person are another person, who gets a new number."""
        chosen = tuple(sorted(set(tracks)))
        people = {self._person_of(track) for track in chosen}
        if len(people) != 1:
            raise ArgumentError(f"Expected tracks of one person to split off, found tracks of {len(people)} people.")
        (person,) = people
        rest = tuple(track for track in self.of(person) if track not in chosen)
        if not rest:
            raise ArgumentError(f"Person {person} has no other tracks than these, so that there is nothing to split.")
        decision = Decision("split", chosen, rest, person, self.next, who, when)
        return replace(self._with(decision), next=self.next + 1)

    def merge(self, person: int, other: int, who: str, when: str) -> People:
        """Two people are one, who keeps the lower number."""
        target, source = sorted((person, other))
        if target == source:
            raise ArgumentError(f"Person {person} cannot be merged with itself. Give two people.")
        tracks, others = self._tracks_of(source), self._tracks_of(target)
        return self._with(Decision("merge", tracks, others, source, target, who, when))

    def apart(self, person: int, other: int, who: str, when: str) -> People:
        """Two people are two, whom nothing shall propose to merge."""
        if person == other:
            raise ArgumentError(f"Person {person} is one person. Give two.")
        tracks, others = self._tracks_of(person), self._tracks_of(other)
        return self._with(Decision("apart", tracks, others, person, other, who, when))

    def undo(self) -> People:
        """Without the last decision; its tracks go back to where they were."""
        if not self.decisions:
            raise ArgumentError("There is no decision to undo.")
        *rest, last = self.decisions
        back = replace(self, decisions=tuple(rest))
        if last.kind not in ("split", "merge"):
            return back
        return back._moved([name for name in last.tracks if self._is_of(name, last.target)], last.source)

    def _with(self, decision: Decision) -> People:
        changed = replace(self, decisions=(*self.decisions, decision)[-LIMIT:])
        return changed._moved(decision.tracks, decision.target) if decision.kind in ("split", "merge") else changed

    def _moved(self, names: Iterable[int], person: int) -> People:
        moved = {name: replace(self.tracks[name], person=person) for name in names}
        return replace(self, tracks={**self.tracks, **moved})

    def _is_of(self, name: int, person: int) -> bool:
        return name in self.tracks and self.tracks[name].person == person

    def _person_of(self, track: int) -> int:
        if track not in self.tracks:
            raise ArgumentError(f"No person has a track that begins with entry {track}.")
        return self.tracks[track].person

    def _tracks_of(self, person: int) -> tuple[int, ...]:
        found = self.of(person)
        if not found:
            raise ArgumentError(f"There is no person {person}.")
        return found


def without(people: People, gone: set[int]) -> People:
    """The people without forgotten entries; a track whose first entry is gone goes by its next one."""
    tracks: dict[int, KeptTrack] = {}
    names: dict[int, int] = {}
    for name, track in people.tracks.items():
        left = tuple(entry for entry in track.entries if entry not in gone)
        if left:
            names[name] = left[0]
            tracks[left[0]] = KeptTrack(track.person, left[0] if track.best in gone else track.best, left)
    evidence = [
        replace(e, first=names[e.first], second=names[e.second])
        for e in people.evidence
        if e.first in names and e.second in names
    ]
    decisions = []
    for d in people.decisions:
        mine, others = (tuple(names[n] for n in some if n in names) for some in (d.tracks, d.others))
        if mine and (others or (d.kind == "confirm" and len(mine) > 1)):
            decisions.append(replace(d, tracks=mine, others=others))
    return replace(people, tracks=tracks, evidence=tuple(map(_ordered, evidence)), decisions=tuple(decisions))


def renamed(people: People, tracks: Mapping[int, KeptTrack], names: Mapping[int, int]) -> People:
    """The people with other tracks; ``names`` tells how kept tracks are called now, where that has changed."""
    new = names.get
    evidence = [replace(e, first=new(e.first, e.first), second=new(e.second, e.second)) for e in people.evidence]
    decisions = [
        replace(d, tracks=tuple(new(n, n) for n in d.tracks), others=tuple(new(n, n) for n in d.others))
        for d in people.decisions
    ]
    return replace(people, tracks=tracks, evidence=tuple(map(_ordered, evidence)), decisions=tuple(decisions))


def _ordered(evidence: Evidence) -> Evidence:
    if evidence.first <= evidence.second:
        return evidence
    return replace(evidence, first=evidence.second, second=evidence.first)
