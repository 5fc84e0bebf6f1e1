"""LaST and Celeb-reID: people in other clothes, of whom no camera is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.datasets.market1501 import note_left_out, read_named_images, without_unnamed_people
from crosscam.data.labels import read_label
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import find_files, list_images
from crosscam.errors import ArgumentError, DataError

LAST_PROTOCOLS = ("test", "val")
NO_CAMERAS = "Camera 1 stands for the queries and camera 2 for the gallery; the data set does not tell cameras."

_LAST_NAME = re.compile(r"([0-9]+)_")
_CELEB_NAME = re.compile(r"([0-9]+)_[0-9]+_[0-9]+\.")


def is_last(root: Path) -> bool:
    """Whether the folder has ``train``, and ``test`` and ``val`` with ``query`` and ``gallery``."""
    tested = (root / subset / kind for subset in LAST_PROTOCOLS for kind in ("query", "gallery"))
    return (root / "train").is_dir() and all(folder.is_dir() for folder in tested)


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
    train = read_identities(root / "train", 1, _LAST_NAME, notes)
    query = read_identities(root / protocol / "query", 1, _LAST_NAME, notes)
    gallery = read_identities(root / protocol / "gallery", 2, _LAST_NAME, notes)
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
        read_named_images(root / subset, lambda name, camid=camid: _celeb(name, camid), notes)  # type: ignore[misc]
        for subset, camid in (("train", 1), ("query", 1), ("gallery", 2))
    )
    return _dataset("celeb-reid", root, train, query, gallery, notes)


def _celeb(name: str, camid: int) -> tuple[int, int] | None:
    match = _CELEB_NAME.match(name)
    pid = read_label(match[1]) if match else ""
    return (pid, camid) if isinstance(pid, int) else None


def read_identities(folder: Path, camid: int, name: re.Pattern[str], notes: list[str]) -> tuple[Sample, ...]:
    """The images of a folder and its folders, whose names begin with the identity.

    Args:
        folder: where they are.
        camid: the camera that stands for the folder.
        name: its one group finds the identity.
        notes: what was left out is added.
    Raises:
        DataError: no image with an identity in its name.
    """
    samples, strangers = [], []
    for path in find_files(folder).pictures:
        match = name.match(path.name)
        pid = read_label(match[1]) if match else ""
        if isinstance(pid, int) and pid >= DISTRACTOR_PID:
            samples.append(Sample(path, pid, camid))
        else:
            strangers.append(path)
    if not samples:
        raise DataError(
            f"No images named IDENTITY_NUMBER in {folder}. Unpack the data set again; see docs/datasets.md."
        )
    note_left_out(folder.name, "images whose names give no identity", strangers, notes)
    return tuple(samples)


def _dataset(
    name: str,
    root: Path,
    train: Sequence[Sample],
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    notes: list[str],
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
