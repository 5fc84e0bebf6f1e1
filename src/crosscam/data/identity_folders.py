"""Own data as a folder of images for each identity, perhaps below ``train``, ``query`` and ``gallery``."""

from __future__ import annotations

import os
from pathlib import Path

from crosscam.data.images import list_images, natural_key, path_key
from crosscam.data.market1501 import note_left_out
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.table import SPLITS, CamidRule, camids_by_rule, numbered
from crosscam.errors import DataError


def has_identity_folders(root: Path) -> bool:
    """Whether a subfolder, or a subfolder of ``train``, ``query`` or ``gallery``, holds images."""
    return root.is_dir() and any(
        list_images(folder)[0] for base in _bases(root).values() for folder in _subfolders(base)
    )


def read_identity_folders(root: Path, *, camids: CamidRule = None) -> ReidDataset:
    """Read a folder for each identity; without ``train``, ``query`` or ``gallery`` all images are for training.

    The folder names are the identities. Whole numbers from 1 are taken as they are, other names are numbered.

    Args:
        root: the folder of the folders.
        camids: the camera, see :func:`crosscam.data.table.camids_by_rule`; never guessed.
    Raises:
        DataError: no images, or ``camids`` is missing or does not fit.
    """
    notes: list[str] = []
    found: list[tuple[str, str, Path]] = []
    bases = _bases(root)
    for split, base in bases.items():
        for folder in _subfolders(base):
            images, others = list_images(folder)
            found += [(split, folder.name, path) for path in images]
            note_left_out(folder.name, "files that are no images", others, notes)
            note_left_out(folder.name, "folders inside an identity", _subfolders(folder), notes)
        images, others = list_images(base)
        note_left_out(base.name, "files that stand in no identity's folder", images + others, notes)
    if not found:
        raise DataError(f"No images in the subfolders of {root}. Expected a folder of images for each identity.")
    if "train" in bases and bases["train"] == root:
        notes.append("There are no folders train, query and gallery: every image is for training.")
    cameras = camids_by_rule([path for _, _, path in found], camids, root, notes)
    pids = _pids([name for _, name, _ in found], notes)
    subsets: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for (split, _, path), pid, camid in zip(found, pids, cameras, strict=True):
        subsets[split].append(Sample(path, pid, camid))
    train, query, gallery = (tuple(sorted(subsets[split], key=lambda s: path_key(s.path))) for split in SPLITS)
    return ReidDataset("folders", root, train, query, gallery, notes=tuple(notes))


def _pids(names: list[str], notes: list[str]) -> list[int]:
    throwaway: list[str] = []
    pids = numbered(names, "identities", throwaway)
    if min(pids) < 1:  # a folder called 0 is a person here, not a distractor
        pids = numbered([f"folder {name}" for name in names], "identities", throwaway)
    notes += throwaway
    return pids


def _bases(root: Path) -> dict[str, Path]:
    split_folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    return split_folders or {"train": root}


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural_key)]
