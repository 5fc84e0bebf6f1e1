"""Journeys as one self-contained page: each person over the cameras, with pictures, times, and reasons of links."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from crosscam.gallery.interface import Gallery
from crosscam.gallery.journey_records import Journeys, Link, Person, Proposal, TrackSeen
from crosscam.gallery.journeys import in_percent
from crosscam.report.camera_graph import camera_graph
from crosscam.report.hits import when
from crosscam.report.journey_view import duration, gap_before, several_days, timeline, times_of, ways_of
from crosscam.report.shell import html_page, origin_html, table_html, write_page
from crosscam.system.text import counted

# Pictures of one track that are shown, the most typical first.
PICTURES = 4
PICTURES_AT_ONCE = 512


def write_journeys(path: Path, gallery: Gallery, found: Journeys, name: str) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        gallery: opened; it has the small pictures.
        found: its journeys.
        name: what the page calls the gallery; no path.
    Raises:
        StorageError: the file cannot be written.
    """
    write_page(path, render_journeys(found, pictures_of(gallery, found), name, gallery.model.name))


def pictures_of(gallery: Gallery, found: Journeys) -> dict[int, bytes]:
    """The small pictures that the page shows, by entry."""
    shown = [entry for person in found.people for track in person.tracks for entry in shown_of(track)]
    pictures: dict[int, bytes] = {}
    for first in range(0, len(shown), PICTURES_AT_ONCE):
        part = shown[first : first + PICTURES_AT_ONCE]
        pictures |= {n: data for n, data in zip(part, gallery.thumbnails(part), strict=True) if data is not None}
    return pictures


def shown_of(track: TrackSeen) -> tuple[int, ...]:
    """The entries of a track that are shown: the most typical one, then the others in their order."""
    return (track.best, *(entry for entry in track.entries if entry != track.best))[:PICTURES]


def render_journeys(found: Journeys, pictures: Mapping[int, bytes], name: str, model: str) -> str:
    """The page as text.

    Args:
        found: people and proposals.
        pictures: JPEG pictures by entry; where there is none, an empty frame stands.
        name: of the gallery.
        model: name of its network.
    """
    view = _View(found, pictures)
    travelled = [person for person in found.people if len(person.cameras) > 1]
    others = [person for person in found.people if len(person.cameras) == 1]
    sections: dict[str, tuple[str, str]] = {}
    if travelled or not others:
        none = '<p class="empty">Nobody was found at more than one camera.</p>'
        sections["people"] = ("People at several cameras", "".join(map(view.person, travelled)) or none)
    if found.proposals:
        sections["unsure"] = ("Unsure: one person or two?", view.proposals())
    if others:
        sections["others"] = ("People at one camera", "".join(map(view.person, others)))
    ways = ways_of(found.people)
    if ways:
        rows = [(way.start, way.end, f"{way.people:,}", duration(way.seconds), way.when) for way in ways]
        heads = ("from", "to", "times walked", "usual time", "left at")
        table = table_html(heads, rows, "Table of ways between cameras")
        graph = camera_graph(ways)
        drawing = f'<div class="scroll" tabindex="0" role="region" aria-label="Cameras">{graph}</div>' if graph else ""
        sections["ways"] = ("Ways between cameras", drawing + table)
    sections["origin"] = ("Where this comes from", origin_html(_origin(found, name, model), _NOTES))
    several = f"{len(travelled):,} of them at more than one camera"
    subtitle = f"{counted(len(found.people), 'person', 'people')}, {several}; {counted(view.tracks, 'track')}."
    return html_page("journeys", f"Journeys in {name}", subtitle, sections, styles=("journeys.css",))


_NOTES = (
    "A probability is one of a model of distances and times, not a promise. A link is a hint, not an identification.",
    "Pictures are the best crops of each track, the most typical first. Times are in UTC where they are dates.",
)


def _origin(found: Journeys, name: str, model: str) -> dict[str, str]:
    left = f"; {counted(found.unlinked, 'track')} not linked yet" if found.unlinked else ""
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gallery": name + left,
        "network": model,
        "decisions": f"{len(found.decisions):,} by people; they overrule what was computed",
    }


@dataclass(frozen=True)
class _View:
    """HTML of people and proposals."""

    found: Journeys
    pictures: Mapping[int, bytes]

    @property
    def tracks(self) -> int:
        return sum(len(person.tracks) for person in self.found.people)

    def person(self, person: Person) -> str:
        """One person: a timeline, then the tracks in the order of time."""
        dated = several_days(person)
        start = person.tracks[0].start
        day = "" if start is None or dated else f", {when(start).partition(' ')[0]}"
        facts = f"{counted(len(person.tracks), 'track')} at {', '.join(person.cameras)}{day}"
        said = ' <span class="verdict same">confirmed</span>' if person.confirmed else ""
        steps = "".join(self._step(person, place, dated) for place in range(len(person.tracks)))
        label = f"Timeline of person {person.number}"
        line = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{timeline(person)}</div>'
        return (
            f'<article class="journey" id="person-{person.number}" aria-labelledby="person-{person.number}-name">'
            f'<h3 id="person-{person.number}-name">Person {person.number}</h3>'
            f'<p class="facts">{escape(facts)}{said}{self._perhaps(person)}</p>'
            f'{line if len(person.tracks) > 1 else ""}<ol class="steps">{steps}</ol></article>'
        )

    def _perhaps(self, person: Person) -> str:
        """Whom the person perhaps is, too."""
        words = ""
        for proposal in self.found.proposals:
            if person.number in (proposal.first, proposal.second):
                other = proposal.second if proposal.first == person.number else proposal.first
                words += (
                    f'<br><span class="verdict unsure">unsure</span> perhaps also <a href="#person-{other}">person '
                    f"{other}</a>, {escape(in_percent(proposal.link.probability or 0.0))}"
                )
        return words

    def _step(self, person: Person, place: int, dated: bool) -> str:
        track, link = person.tracks[place], person.links[place]
        gap = gap_before(person, place)
        lines = [f"<b>{escape(track.camera)}</b>", escape(times_of(track, dated)), escape(gap)]
        caption = "<br>".join(line for line in (*lines, counted(len(track.entries), "picture")) if line)
        shown = "".join(
            self._picture(entry, f"Person {person.number} at camera {track.camera}, picture {n}")
            for n, entry in enumerate(shown_of(track), 1)
        )
        doubtful = link is not None and not link.confirmed and link.probability is None
        return (
            f'<li class="step wide{" doubtful" if doubtful else ""}"><div class="crops">{shown}</div>'
            f'<p class="caption">{caption}</p>{"" if link is None else _link_html(link)}</li>'
        )

    def proposals(self) -> str:
        """The pairs of people who are perhaps one."""
        return f'<ul class="pairs">{"".join(map(self._proposal, self.found.proposals))}</ul>'

    def _proposal(self, proposal: Proposal) -> str:
        sides = ""
        for number, name in _sides(self.found, proposal):
            person = self.found.person(number)
            track = next(track for track in person.tracks if track.name == name) if person else None
            if track is not None:
                alt = f"Person {number} at camera {track.camera}"
                caption = (
                    f'<a href="#person-{number}">person {number}</a><br>{escape(track.camera)}<br>'
                    f"{escape(times_of(track, True))}"
                )
                sides += (
                    f'<figure class="step">{self._picture(track.best, alt)}<figcaption class="caption">{caption}'
                    "</figcaption></figure>"
                )
        return (
            f'<li><div class="doubt">{sides}<div class="says">{_link_html(proposal.link, sure=False)}</div></div></li>'
        )

    def _picture(self, entry: int, alt: str) -> str:
        data = self.pictures.get(entry)
        if data is None:
            return f'<span class="frame" role="img" aria-label="{escape(alt)}: no picture kept"></span>'
        kind = "webp" if data[8:12] == b"WEBP" else "jpeg"
        encoded = base64.b64encode(data).decode()
        return f'<span class="frame"><img src="data:image/{kind};base64,{encoded}" alt="{escape(alt)}"></span>'


def _sides(found: Journeys, proposal: Proposal) -> list[tuple[int, int]]:
    """Both people of a proposal with the track that speaks for it."""
    names = {proposal.link.first, proposal.link.second}
    sides = []
    for number in (proposal.first, proposal.second):
        person = found.person(number)
        sides += [(number, track.name) for track in (person.tracks if person else ()) if track.name in names]
    return sides


def _link_html(link: Link, sure: bool = True) -> str:
    """How probable a link is, and why it was made."""
    if link.confirmed:
        chip = '<span class="verdict same">confirmed</span>'
    elif link.probability is None or not sure:
        chip = '<span class="verdict unsure">unsure</span>'
    else:
        chip = '<span class="verdict same">same</span>'
    if link.probability is not None and not link.confirmed:
        chip += f' <span class="chance">{escape(in_percent(link.probability))}</span>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in link.reasons)
    return f'<p class="caption">{chip}</p>' + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
