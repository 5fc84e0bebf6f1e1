"""Whom a number names in a gallery: cameras by their names, and people of several datasets kept apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crosscam.data.labels import same_spelling
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import natural_key
from crosscam.errors import ArgumentError, DataError
from crosscam.gallery.camera_names import renamed
from crosscam.gallery.entries import Where, name_of
from crosscam.gallery.interface import Gallery
from crosscam.system.text import counted, printable

# The document that says whether crosscam numbered the identities of a gallery.
NUMBERING = "numbering"
OURS = "crosscam"


def kept_name(path: Path) -> str:
    """The path of an image as a gallery keeps it."""
    return printable(name_of(os.path.abspath(path)))


def _called(camera: str) -> str:
    return printable(same_spelling(camera))


def number_cameras(gallery: Gallery, samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the numbers that their cameras have in a gallery, as far as their cameras have names.

    A name that the gallery does not know gets the next free number; unless images of this camera are there already,
    from when the gallery did not keep names: these give the number, and get the name.

    Args:
        gallery: opened for writing.
        samples: their ``camid`` counts where they have no ``camera``.
    """
    names = {_called(s.camera) for s in samples if s.camera is not None}
    numbers = {name: camid for camid, name in gallery.camera_names().items()}
    new = sorted(names - numbers.keys(), key=natural_key)
    if new:
        taken = {camid for camid, _ in gallery.info().cameras}
        unnamed = Where(camids=tuple(taken - set(numbers.values())))
        numbers |= _name_older(gallery, samples, set(new), unnamed) if unnamed.camids else {}
        new = [name for name in new if name not in numbers]
        taken |= set(numbers.values()) | {s.camid for s in samples if s.camera is None}
        numbers |= {name: number for number, name in enumerate(new, max((0, *taken)) + 1)}
    return [s if s.camera is None else replace(s, camid=numbers[_called(s.camera)]) for s in samples]


def _name_older(gallery: Gallery, samples: Sequence[Sample], new: set[str], where: Where) -> dict[str, int]:
    """Name the cameras of images that are there already without a name, and give their numbers."""
    unnamed = {e.path: e.camid for e in gallery.entries(where)}
    found: dict[str, set[int]] = {}
    for s in samples:
        path, name = kept_name(s.path), _called(s.camera or "")
        if name in new and path in unnamed:
            found.setdefault(name, set()).add(unnamed[path])
    numbers = {name: min(camids) for name, camids in found.items() if len(camids) == 1}
    several = {camid for camid in numbers.values() if list(numbers.values()).count(camid) > 1}
    numbers = {name: camid for name, camid in numbers.items() if camid not in several}
    if numbers:
        gallery.name_cameras({camid: name for name, camid in numbers.items()})
    return numbers


def still_numbered(gallery: Gallery, some: Sequence[Sample], cameras: Sequence[Sample]) -> list[Sample]:
    """Some numbered samples; numbered again where another program has since used such a number or name.

    Args:
        gallery: opened for writing.
        some: of :func:`number_cameras`.
        cameras: a sample of each camera of that call.
    """
    planned = [(s.camid, _called(s.camera)) for s in cameras if s.camera is not None]
    try:
        renamed(gallery.camera_names(), planned, replace=False)
    except ArgumentError:
        return number_cameras(gallery, [*some, *cameras])[: len(some)]
    return list(some)


def keep_cameras_apart(gallery: Gallery, samples: Sequence[Sample]) -> None:
    """Refuse images whose cameras have numbers of their own, where the gallery gave such a number to a name.

    Args:
        gallery: where they are to go.
        samples: what is to be added; the numbers are the source's own, and not those that a user gave for this gallery.
    Raises:
        DataError: a number would stand for two cameras.
    """
    names = gallery.camera_names()
    shared = sorted({s.camid for s in samples if s.camera is None and s.camid in names})
    if not shared:
        return
    known = gallery.known_paths({kept_name(s.path) for s in samples if s.camid in shared})
    if all(kept_name(s.path) in known for s in samples if s.camera is None and s.camid in shared):
        return
    raise DataError(
        f"Camera {shared[0]} of these images would be {names[shared[0]]!r} of the gallery, where names got numbers. "
        "They were not added. Say which camera took them: --camera NAME, a folder for each camera, or names in the "
        "table."
    )


def keep_people_apart(gallery: Gallery, dataset: ReidDataset, samples: Sequence[Sample]) -> None:
    """Refuse images whose identity has the number of somebody else in the gallery, as far as that can be told.

    Whole numbers of two datasets are taken as they are: they name the same people. Names have no number of their own:
    each dataset numbers them from 1. So where either side's identities were numbered by crosscam, a number may come
    again only for the images of this dataset that the gallery has already. The gallery keeps no names for that,
    which ``forget`` would have to find.

    Args:
        gallery: opened for writing.
        dataset: where the images are from.
        samples: what is to be added.
    Raises:
        DataError: a number would stand for two people; nothing was added.
    """
    numbered_here = gallery.document(NUMBERING) == OURS
    if not (dataset.renumbered or numbered_here):
        return
    own = {(kept_name(s.path), s.pid) for subset in dataset.subsets.values() for s in subset}
    others = {e.pid for e in gallery.entries() if e.pid is not None and (e.path, e.pid) not in own}
    shared = sorted(pid for pid in others & {s.pid for s in samples} if pid > DISTRACTOR_PID)
    if shared:
        first = ", ".join(map(str, shared[:3])) + (", ..." if len(shared) > 3 else "")
        why = (
            f"the identities of {dataset.name} have no numbers of their own and were numbered by crosscam"
            if dataset.renumbered
            else "the gallery's identities were names that crosscam numbered"
        )
        raise DataError(
            f"{counted(len(shared), 'identity')} would get numbers of others in the gallery ({first}): {why}. Nothing "
            "was added. Write one table in which every person of both has a whole number of their own, or add the "
            "images with --unlabelled."
        )
    if dataset.renumbered and not numbered_here:
        gallery.set_document(NUMBERING, OURS)
