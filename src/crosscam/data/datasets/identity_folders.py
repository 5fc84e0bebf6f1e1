"""Own data as a folder of images for each identity, perhaps below ``train``, ``query`` and ``gallery``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosscam.data.datasets.market1501 import note_junk, note_left_out
from crosscam.data.datasets.table import SPLITS, CamidRule, camids_by_rule, names_by_rule
from crosscam.data.labels import are_named, numbered, read_label
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.data.walk import list_images, path_key, subfolders
from crosscam.errors import DataError


def has_identity_folders(root: Path) -> bool:
    """Whether a subfolder, or a subfolder of ``train``, ``query`` or ``gallery``, holds images."""
    return root.is_dir() and any(
        list_images(folder)[0] for base in _bases(root).values() for folder in subfolders(base)[0]
    )


def read_identity_folders(root: Path, *, camids: CamidRule = None) -> ReidDataset:
    """Read a folder for each identity; without ``train``, ``query`` or ``gallery`` all images are for training.

    The folder names are the identities. Whole numbers from 1 are taken as they are, other names are numbered. A folder
    -1 is junk, which only the gallery keeps. A folder 0 holds distractors where the gallery alone has one; else it is a
    person.

    Args:
        root: the folder of the folders.
        camids: the camera, see :func:`crosscam.data.datasets.table.camids_by_rule`; never guessed.
    Raises:
        DataError: no images, or ``camids`` is missing or does not fit.
    """
    notes: list[str] = []
    found: list[tuple[str, str, Path]] = []
    bases = _bases(root)
    for split, base in bases.items():
        folders, again = subfolders(base)
        note_left_out(base.name, "links to a folder that is read already", again, notes)
        for folder in folders:
            images, others = list_images(folder)
            found += [(split, folder.name, path) for path in images]
            note_left_out(folder.name, "files that are not images", others, notes)
            inside, loops = subfolders(folder)
            note_left_out(folder.name, "folders inside an identity", inside + loops, notes)
        images, others = list_images(base)
        note_left_out(base.name, "files that stand in no identity's folder", images + others, notes)
    if not found:
        raise DataError(f"No images in the subfolders of {root}. Expected a folder of images for each identity.")
    if "train" in bases and bases["train"] == root:
        notes.append("There are no folders train, query and gallery: every image is for training.")
    cameras = camids_by_rule([path for _, _, path in found], camids, root, notes)
    pids, named = _pids([split for split, _, _ in found], [path for _, _, path in found], notes)
    subsets: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    junk = []
    called = names_by_rule([path for _, _, path in found], camids, cameras, root)
    for (split, _, path), pid, camid in zip(found, pids, cameras, strict=True):
        if pid == JUNK_PID and split != "gallery":
            junk.append(path)
        else:
            subsets[split].append(Sample(path, pid, camid, camera=called.get(camid)))
    note_left_out("train and query", "images in a folder -1 (junk)", junk, notes)
    train, query, gallery = (tuple(sorted(subsets[split], key=lambda s: path_key(s.path))) for split in SPLITS)
    note_junk(gallery, notes)
    return ReidDataset("folders", root, train, query, gallery, notes=tuple(notes), renumbered=named)


def _pids(splits: Sequence[str], paths: Sequence[Path], notes: list[str]) -> tuple[list[int], bool]:
    """The identities' numbers, and whether they are ours."""
    names, where = [path.parent.name for path in paths], lambda place: str(paths[place].parent)
    said: list[str] = []
    pids, named = numbered(names, "identities", said, where), are_named(names)
    people = {pid for pid, split in zip(pids, splits, strict=True) if split != "gallery"}
    if any(pid < JUNK_PID or (pid == DISTRACTOR_PID and pid in people) for pid in pids):
        # A folder called 0 is a person here, as in exports that count from 0.
        labels = [read_label(name) for name in names]
        said = said[:1] if len(set(names)) > len(set(labels)) else []  # on names spelled in several ways
        folders = [str(label) if label == JUNK_PID else f"folder {label}" for label in labels]
        pids, named = numbered(folders, "identities", said, where), True
    notes += said
    return pids, named


def _bases(root: Path) -> dict[str, Path]:
    split_folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    return split_folders or {"train": root}
