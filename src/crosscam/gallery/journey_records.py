"""Records of journeys: people, their tracks, what links them and what is proposed."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from crosscam.data.text_files import harmless
from crosscam.gallery.people import (
    Decision,
)
from crosscam.system.columns import Column, Columns, Tabular


@dataclass(frozen=True)
class TrackSeen:
    """One track of a person.

    Attributes:
        name: its first entry, by which decisions name it.
        camid, camera: where; ``camera`` is the name, or the number as a text.
        track: its name within the camera; None for a single picture.
        start, end: first and last time in seconds, None where no entry has one.
        entries: all its entries.
        best: the entry whose picture is the most typical.
    """

    name: int
    camid: int
    camera: str
    track: str | None
    start: float | None
    end: float | None
    entries: tuple[int, ...]
    best: int


@dataclass(frozen=True)
class Link:
    """Why two tracks are one person, or may be.

    Attributes:
        first, second: names of the tracks.
        probability: of one person; None where nothing but a decision holds them together.
        reasons: one short sentence each.
        decision: what a user said about the two last, None where nobody did.
    """

    first: int
    second: int
    probability: float | None
    reasons: tuple[str, ...]
    decision: Decision | None = None

    @property
    def confirmed(self) -> bool:
        """Whether a user said that the two are one person."""
        return self.decision is not None and self.decision.same


@dataclass(frozen=True)
class Person:
    """One person's journey.

    Attributes:
        number: of the person; it stays when tracks are added to the gallery.
        tracks: in the order of time.
        links: one for each track, None for the first: what links it to an earlier track.
    """

    number: int
    tracks: tuple[TrackSeen, ...]
    links: tuple[Link | None, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras in the order of the first visit."""
        return tuple(dict.fromkeys(track.camera for track in self.tracks))

    @property
    def confirmed(self) -> bool:
        """Whether a user confirmed every link."""
        return len(self.tracks) > 1 and all(link is None or link.confirmed for link in self.links)


@dataclass(frozen=True)
class Proposal:
    """Two people who are perhaps one; nothing merges them but a user.

    Attributes:
        first, second: numbers of the people.
        link: of the two tracks that speak for it.
    """

    first: int
    second: int
    link: Link


@dataclass(frozen=True)
class Journeys(Tabular):
    """People and their tracks; a row of a table is a track.

    Attributes:
        people: by number.
        proposals: the most probable first.
        decisions: what users said, in their order.
        unlinked: tracks of the gallery that no run of ``link`` has seen.
    """

    people: tuple[Person, ...]
    proposals: tuple[Proposal, ...]
    decisions: tuple[Decision, ...]
    unlinked: int

    def person(self, number: int) -> Person | None:
        """A person by number."""
        return next((person for person in self.people if person.number == number), None)

    def to_csv(self) -> str:
        """The rows as CSV, by person and time."""
        columns = self._columns()
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        rows = zip(*(column.values for column in columns.values()), strict=True)
        writer.writerows([harmless("" if value is None else value) for value in row] for row in rows)
        return out.getvalue()

    def _columns(self) -> Columns:
        rows = [(p.number, t, link) for p in self.people for t, link in zip(p.tracks, p.links, strict=True)]
        tracks, links = [track for _, track, _ in rows], [link for *_, link in rows]
        return {
            "person": Column("int", [number for number, *_ in rows]),
            "camera": Column("text", [track.camera for track in tracks]),
            "camid": Column("int", [track.camid for track in tracks]),
            "track": Column("text", [track.track for track in tracks]),
            "start": Column("float", [track.start for track in tracks]),
            "end": Column("float", [track.end for track in tracks]),
            "images": Column("int", [len(track.entries) for track in tracks]),
            "first": Column("int", [track.name for track in tracks]),
            "best": Column("int", [track.best for track in tracks]),
            "linked_to": Column(
                "int", [link and other_end(link, t.name) for t, link in zip(tracks, links, strict=True)]
            ),
            "probability": Column("float", [link and link.probability for link in links]),
            "confirmed": Column("int", [None if link is None else int(link.confirmed) for link in links]),
            "reasons": Column("text", [link and "; ".join(link.reasons) for link in links]),
        }


def other_end(link: Link, name: int) -> int:
    return link.second if link.first == name else link.first
