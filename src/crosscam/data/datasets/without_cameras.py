"""Datasets whose images tell no cameras: people in other clothes (LaST, Celeb-reID), and people half hidden.

Occluded-REID, Partial-REID and P-DukeMTMC-reID ask with people who are hidden or cut off in part; whole ones answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.datasets.market1501 import name_parser, note_left_out, read_named_images, without_unnamed_people
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import find_files, has, list_images
from crosscam.errors import ArgumentError, DataError

LAST_PROTOCOLS = ("test", "val")
NO_CAMERAS = "Camera 1 stands for the queries and camera 2 for the gallery; the dataset does not tell cameras."

WHOLE, OCCLUDED, PARTIAL = "whole_body_images", "occluded_body_images", "partial_body_images"

_IDENTITY = re.compile(r"([0-9]+)_")
_IDENTITY_NUMBER = re.compile(r"([0-9]+)_[0-9]+\.")
_CELEB_NAME = re.compile(r"([0-9]+)_[0-9]+_[0-9]+\.")


is_last = has("train", "test/query", "test/gallery", "val/query", "val/gallery")


def is_celeb_reid(root: Path) -> bool:
    """Whether ``train``, ``query`` and ``gallery`` begin with images such as ``12_3_0.jpg``."""
    return all(_begins(root / subset) for subset in ("train", "query", "gallery"))


def _begins(folder: Path) -> bool:
    images = list_images(folder)[0] if folder.is_dir() else []
    return bool(images) and _CELEB_NAME.match(images[0].name) is not None


def read_last(root: Path, *, protocol: str = "test") -> ReidDataset:
    """Read LaST (Shu et al., TCSVT 2022; images such as ``0001_..._1.jpg``, identity first, clothes last).

    Args:
        root: the folder of ``train``, ``val`` and ``test``.
        protocol: ``"test"`` or ``"val"``: which of them gives query and gallery.
    Raises:
        ValueError: an unknown protocol.
        DataError: no images, or none with an identity in its name.
    """
    if protocol not in LAST_PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for LaST. Expected one of {', '.join(LAST_PROTOCOLS)}.")
    notes = [NO_CAMERAS]
    train = _read_identities(root / "train", 1, _IDENTITY, notes)
    query = _read_identities(root / protocol / "query", 1, _IDENTITY, notes)
    gallery = _read_identities(root / protocol / "gallery", 2, _IDENTITY, notes)
    return _dataset("last" if protocol == "test" else "last-val", root, train, query, gallery, notes)


def read_celeb_reid(root: Path) -> ReidDataset:
    """Read Celeb-reID or Celeb-reID-light (Huang et al., TCSVT and IJCNN 2019; ``12_3_0.jpg``: identity, image).

    Args:
        root: the folder of ``train``, ``query`` and ``gallery``.
    Raises:
        DataError: no images, or none with an identity in its name.
    """
    notes = [NO_CAMERAS]
    train, query, gallery = (
        read_named_images(root / subset, name_parser(_CELEB_NAME, camid=camid), notes)
        for subset, camid in (("train", 1), ("query", 1), ("gallery", 2))
    )
    return _dataset("celeb-reid", root, train, query, gallery, notes)


def _read_identities(folder: Path, camid: int, name: re.Pattern[str], notes: list[str]) -> tuple[Sample, ...]:
    """The images of a folder and its folders; the one group of ``name`` finds the identity (DataError: in none)."""
    samples, strangers = [], []
    parse = name_parser(name, camid=camid)
    for path in find_files(folder).images:
        parsed = parse(path.name)
        if parsed is None:
            strangers.append(path)
        else:
            samples.append(Sample(path, *parsed))
    if not samples:
        raise DataError(f"No images named IDENTITY_NUMBER in {folder}. Unpack the dataset again; see docs/datasets.md.")
    note_left_out(folder.name, "images whose names give no identity", strangers, notes)
    return tuple(samples)


def _dataset(
    name: str, root: Path, train: Sequence[Sample], query: Sequence[Sample], gallery: Sequence[Sample], notes: list[str]
) -> ReidDataset:
    """Tested people get other numbers than those of the training, if any number stands for both."""
    kept = without_unnamed_people(tuple(train), notes)
    trained = {s.pid for s in kept}
    if trained & {s.pid for s in (*query, *gallery)}:
        step = max(trained)
        notes.append(f"A tested person's pid is the number in the file name plus {step}; training has others.")
        query, gallery = _moved(query, step), _moved(gallery, step)
        return ReidDataset(name, root, kept, tuple(query), tuple(gallery), notes=tuple(notes), renumbered=True)
    return ReidDataset(name, root, kept, tuple(query), tuple(gallery), notes=tuple(notes))


def _moved(samples: Sequence[Sample], step: int) -> list[Sample]:
    return [s if s.pid == DISTRACTOR_PID else Sample(s.path, s.pid + step, s.camid) for s in samples]


is_partial_reid = has(PARTIAL, WHOLE)


def is_occluded_reid(root: Path) -> bool:
    """Whether the folder has ``occluded_body_images`` and ``whole_body_images``, but no ``partial_body_images``."""
    return (root / OCCLUDED).is_dir() and (root / WHOLE).is_dir() and not (root / PARTIAL).is_dir()


def read_occluded(root: Path) -> ReidDataset:
    """Read Occluded-REID (Zhuo et al., ICME 2018) or Partial-REID (Zheng et al., ICCV 2015).

    Images such as ``001_03.tif`` stand in their folder or in one for each identity. Published results train on
    Market-1501. Queries are camera 1, the gallery is camera 2: the photographs do not tell theirs.

    Args:
        root: the folder of the folders.
    Raises:
        DataError: no images, or none with an identity in its name.
    """
    partial = (root / PARTIAL).is_dir()
    notes = [NO_CAMERAS]
    query = _read_identities(root / (PARTIAL if partial else OCCLUDED), 1, _IDENTITY_NUMBER, notes)
    gallery = _read_identities(root / WHOLE, 2, _IDENTITY_NUMBER, notes)
    return ReidDataset("partial-reid" if partial else "occluded-reid", root, (), query, gallery, notes=tuple(notes))


is_p_dukemtmc = has(*(f"{subset}/{kind}" for subset in ("train", "test") for kind in (OCCLUDED, WHOLE)))


def read_p_dukemtmc(root: Path) -> ReidDataset:
    """Read P-DukeMTMC-reID (Zhuo et al., ICME 2018): hidden people of ``test`` ask for whole ones.

    As in published results, the cameras of the names do not count: hidden people are camera 1, whole ones camera 2.

    Args:
        root: the folder of ``train`` and ``test``.
    Raises:
        DataError: no images, or none with an identity in its name.
    """
    notes = ["Camera 1 stands for hidden people and camera 2 for whole ones, as in published results."]
    parts = [
        _read_identities(root / subset / kind, camid, _IDENTITY, notes)
        for subset in ("train", "test")
        for kind, camid in ((OCCLUDED, 1), (WHOLE, 2))
    ]
    return ReidDataset("p-dukemtmc-reid", root, (*parts[0], *parts[1]), parts[2], parts[3], notes=tuple(notes))
