"""Conditions that nothing in a gallery can fulfill: a misspelled one must not look like an answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crosscam.errors import GalleryError
from crosscam.gallery.entries import Where
from crosscam.system.text import FIRST_DATE, counted

if TYPE_CHECKING:
    from crosscam.gallery.interface import Gallery

NOUNS = {"pids": "identity", "camids": "camera number", "tracks": "track"}
# Before all times.
ANY_TIME = -1e300


def unknown_in(gallery: Gallery, where: Where) -> str:
    """What a condition names that no entry has, excluded or not, in one sentence; empty where there is nothing."""
    ids = {*(where.ids or ()), *(where.not_ids or ())}
    lost = ids - set(gallery.ids(Where(ids=tuple(ids)))) if ids else set()
    if lost:
        return f"There is no entry {min(lost)}; it may have been forgotten."
    for name, noun in NOUNS.items():
        values = (*(getattr(where, name) or ()), *(getattr(where, f"not_{name}") or ()))
        for value in dict.fromkeys(values):
            alone: dict[str, Any] = {name: (value,)}
            if not _any_entry(gallery, Where(**alone)):
                return f"No entry has the {noun} {value!r}."
    times = [time for time in (where.time_from, where.time_to) if time is not None]
    if len(times) == 2 and times[0] > times[1]:
        return f"No time is from {times[0]:.15g} to {times[1]:.15g} s, which is earlier."
    if times and len(gallery):
        if not _any_entry(gallery, Where(time_from=ANY_TIME)):
            return "No entry has a time, so none is within any span of time."
        if max(times) >= FIRST_DATE and not _any_entry(gallery, Where(time_from=FIRST_DATE)):
            return "No entry has a date: their times count from the first frame of a video."
    return ""


def _any_entry(gallery: Gallery, where: Where) -> bool:
    # One entry is enough: a large gallery may have a million of that camera.
    return bool(gallery.entries(where, limit=1))


def without_time(gallery: Gallery) -> str:
    """What to say of entries that never expire by their time; empty where all have one."""
    count = len(gallery) - len(gallery.ids(Where(time_from=ANY_TIME)))
    return f" {counted(count, 'entry has')} no time and never expire by it." if count else ""


def refuse_unknown(gallery: Gallery, where: Where) -> None:
    """Refuse what no entry has: it would seem to be forgotten, or kept, and be there still, or gone.

    Raises:
        GalleryError: an entry, identity, camera or track that no entry has; times that are not dates.
    """
    unknown = unknown_in(gallery, where)
    if unknown:
        raise GalleryError(f"{unknown} Nothing was forgotten; check it. A search shows the numbers of entries.")
    refuse_undated(gallery, where)


def refuse_undated(gallery: Gallery, where: Where) -> None:
    """Refuse to take times that count from the first frame of a video for dates of 1970, which are older than any age.

    Raises:
        GalleryError: the condition ends at a date and chooses entries with such times.
    """
    if where.time_to is None or where.time_to < FIRST_DATE or (where.time_from or 0.0) >= FIRST_DATE:
        return
    undated = gallery.ids(replace(where, time_to=math.nextafter(FIRST_DATE, -math.inf)))
    if undated:
        raise GalleryError(
            f"{counted(len(undated), 'entry has')} a time that is not a date, such as entry "
            f"{undated[0]}: it counts from the first frame of a video. Nothing was forgotten. Count their age from "
            "their addition, or choose entries by number, track or camera."
        )
