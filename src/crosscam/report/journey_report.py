"""Journeys as one self-contained page: each person over the cameras, with images, times, and reasons of links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import Journeys
from crosscam.report.hits import image_uri
from crosscam.report.journey_view import camera_graph, person_view, proposal_view, ways_of
from crosscam.report.shell import fragment, html_page, origin_html, write_page
from crosscam.system.text import counted

IMAGES_AT_ONCE = 512


def write_journeys(path: Path, gallery: Gallery, found: Journeys, name: str) -> None:
    """Write the page; StorageError if that fails.

    Args:
        gallery: opened; it has the small images.
        name: what the page calls the gallery; no path.
    """
    write_page(path, render_journeys(found, images_of(gallery, found), name, gallery.model.name))


def images_of(gallery: Gallery, found: Journeys) -> dict[int, bytes]:
    """The small images that the page shows, by entry."""
    shown = _shown(found)
    images: dict[int, bytes] = {}
    for first in range(0, len(shown), IMAGES_AT_ONCE):
        part = shown[first : first + IMAGES_AT_ONCE]
        images |= {n: data for n, data in zip(part, gallery.thumbnails(part), strict=True) if data is not None}
    return images


def render_journeys(found: Journeys, images: Mapping[int, bytes], name: str, model: str) -> str:
    """The page as text; ``images`` are JPEG by entry, an empty frame stands where there is none."""
    travelled = [person_view(found, person) for person in found.people if len(person.cameras) > 1]
    others = [person_view(found, person) for person in found.people if len(person.cameras) == 1]
    shown = {entry: image_uri(images.get(entry)) for entry in _shown(found)}
    sections: dict[str, tuple[str, Markup]] = {}
    if travelled or not others:
        people = fragment("journeys.html", "people", views=travelled, images=shown)
        sections["people"] = ("People at several cameras", people)
    if found.proposals:
        views = [proposal_view(found, proposal) for proposal in found.proposals]
        unsure = fragment("journeys.html", "proposals", views=views, images=shown)
        sections["unsure"] = ("Unsure: one person or two?", unsure)
    if others:
        sections["others"] = ("People at one camera", fragment("journeys.html", "people", views=others, images=shown))
    ways = ways_of(found.people)
    if ways:
        drawn = fragment("journeys.html", "ways", ways=ways, graph=camera_graph(ways))
        sections["ways"] = ("Ways between cameras", drawn)
    sections["origin"] = ("Where this comes from", origin_html(_origin(found, name, model), _NOTES))
    several = f"{len(travelled):,} of them at more than one camera"
    tracks = sum(len(person.tracks) for person in found.people)
    subtitle = f"{counted(len(found.people), 'person')}, {several}; {counted(tracks, 'track')}."
    return html_page("journeys", f"Journeys in {name}", subtitle, sections, styles=("journeys.css",))


def _shown(found: Journeys) -> list[int]:
    return [entry for person in found.people for step in person_view(found, person).steps for entry in step.shown]


_NOTES = (
    "A probability is one of a model of distances and times, not a promise. A link is a hint, not an identification.",
    "Images are the best crops of each track, the most typical first. Times are in UTC where they are dates.",
)


def _origin(found: Journeys, name: str, model: str) -> dict[str, str]:
    left = f"; {counted(found.unlinked, 'track')} not linked yet" if found.unlinked else ""
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gallery": name + left,
        "network": model,
        "decisions": f"{len(found.decisions):,} by people; they overrule what was computed",
    }
