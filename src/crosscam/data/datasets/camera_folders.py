"""Own data in folders: for each identity, perhaps below ``train``, ``query`` and ``gallery``; or for each camera.

The camera of an image is as the user says, or by the files' names, or a folder for each; in it a folder for each
person, or unlabeled images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crosscam.data.datasets.camera_rules import CamidRule, camids_by_rule, names_by_rule
from crosscam.data.datasets.market1501 import note_junk, note_left_out
from crosscam.data.datasets.table import SPLITS
from crosscam.data.labels import are_named, note_spellings, numbered, read_label
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.data.walk import list_images, natural_key, path_key, subfolders
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import printable

# Market-1501, MARS and many trackers name an image's camera like this.
NAMED_CAMERA = re.compile(r"_c([0-9]+)")
SHOWN = 6


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
        camids: the camera, see :func:`crosscam.data.datasets.camera_rules.camids_by_rule`; never guessed.
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


def tell_cameras(
    paths: Sequence[Path], folder: Path, rule: CamidRule, notes: list[str], *, camera: str | None = None
) -> list[Sample]:
    """Which camera took each image, by number and, where it has one, by name.

    Args:
        paths: the images.
        folder: where they lie.
        rule: as in :func:`crosscam.data.datasets.camera_rules.camids_by_rule`; None looks for ``_c1``, ``_c2``, ...
            in every file name, then for a folder of each camera.
        notes: gets what was found, in a sentence.
        camera: name or number of the one camera that took them all; nothing else is looked at then.
    Raises:
        DataError: a rule that a file name does not follow.
        ValueError: both a rule and a camera, or a camera that is neither a name nor a number.
    """
    if camera is not None:
        if rule is not None:
            raise ArgumentError("--camera names the one camera of all images, --camids finds it. Give one of them.")
        names: list[str] = [camera] * len(paths)
        return _samples(paths, *_numbers(names))
    if rule is not None:
        said: list[str] = []
        camids = camids_by_rule(paths, rule, folder, said)
        notes += said
        return _samples(paths, camids, names_by_rule(paths, rule, camids, folder))
    if all(NAMED_CAMERA.search(path.name) for path in paths):
        camids = camids_by_rule(paths, NAMED_CAMERA.pattern, folder, notes)
        notes.append(f"Cameras by file names: {_some(map(str, sorted(set(camids))))}.")
        return _samples(paths, camids, {})
    names = camera_folders(paths, folder)
    camids, called = _numbers(names)
    spelled = sorted(set(names))
    note_spellings(spelled, [read_label(name) for name in spelled], "cameras", notes)
    if len(called) + len(set(camids) - set(called)) > 1:
        # By name alone: a gallery has numbers of its own for them.
        shown = _some(called.get(camid, str(camid)) for camid in sorted(set(camids)))
        notes.append(f"Each folder is a camera: {shown}.")
    else:
        notes.append(
            f"Nothing tells the cameras (--camids does), so all images count as of one, named after the folder: "
            f"{names[0]}."
        )
    return _samples(paths, camids, called)


def camera_folders(paths: Sequence[Path], folder: Path) -> list[str]:
    """The folder of each image that stands for its camera: the first below the folder that all of them share.

    So a camera may keep a folder for each day. Images that lie in the shared folder itself get its own name.
    """
    parents = [Path(os.path.abspath(path.parent)) for path in paths]
    shared = Path(os.path.commonpath(parents)) if parents else folder
    own = shared.name or folder.resolve().name or "folder"
    below = [parent.relative_to(shared).parts for parent in parents]
    return [printable(parts[0] if parts else own) for parts in below]


def _numbers(names: Sequence[str]) -> tuple[list[int], dict[int, str]]:
    """Cameras by number: whole numbers as they are, names from the next free number on; and the names by number.

    Raises:
        ValueError: a name that says that nothing is known, such as ``nan``.
    """
    try:
        labels = {name: read_label(name) for name in set(names)}
    except ArgumentError as error:
        raise ArgumentError(f"The name of a camera: {error}. Expected a name or a whole number.") from error
    numbers: dict[int | str, int] = {label: label for label in labels.values() if isinstance(label, int)}
    texts = sorted({label for label in labels.values() if isinstance(label, str)}, key=natural_key)
    called = dict(enumerate(texts, max((0, *numbers.values())) + 1))
    numbers |= {name: number for number, name in called.items()}
    return [numbers[labels[name]] for name in names], called


def _samples(paths: Sequence[Path], camids: Sequence[int], names: dict[int, str]) -> list[Sample]:
    return [
        Sample(path, DISTRACTOR_PID, camid, camera=names.get(camid)) for path, camid in zip(paths, camids, strict=True)
    ]


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    return ", ".join(listed[:SHOWN]) + (f", and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else "")


def has_camera_folders(root: Path) -> bool:
    """Whether a folder holds folders (cameras) of folders (people) of images, and no image lies outside of these."""
    if not root.is_dir() or list_images(root)[0]:
        return False
    cameras = subfolders(root)[0]
    people = [folder for camera in cameras for folder in subfolders(camera)[0]]
    return any(list_images(folder)[0] for folder in people) and not any(list_images(camera)[0] for camera in cameras)


def read_camera_folders(root: Path) -> ReidDataset:
    """Read a folder for each camera, in which a folder for each person; every image is for training.

    A person has the same folder name at every camera.

    Raises:
        DataError: no images, or more cameras than people, as where the folders stand the other way round.
    """
    notes: list[str] = []
    images: list[Path] = []
    for camera in subfolders(root)[0]:
        outside, others = list_images(camera)
        note_left_out(camera.name, "files that stand in no person's folder", outside + others, notes)
        for person in subfolders(camera)[0]:
            found, others = list_images(person)
            images += found
            note_left_out(f"{camera.name}/{person.name}", "files that are not images", others, notes)
            inside, again = subfolders(person)
            note_left_out(f"{camera.name}/{person.name}", "folders inside a person", inside + again, notes)
    if not images:
        raise DataError(f"No images in {root}. Expected a folder for each camera, in it a folder for each person.")
    names = [path.parent.name for path in images]
    pids = numbered(names, "identities", notes, lambda place: str(images[place].parent))
    # One folder stands for all of a camera, so that one camera alone is not taken for several.
    cameras = {path.parent.parent for path in images}
    if len(cameras) > len(set(pids)):
        raise DataError(
            f"{root} has {len(cameras):,} folders with {len(set(pids)):,} names of folders in them. Expected a folder "
            "for each camera, in it a folder for each person. Where each outer folder is a person, move their images "
            "into it, and tell the cameras by --camids."
        )
    placed = _by_camera(images, notes)
    samples = [
        Sample(s.path, pid, s.camid, camera=s.camera) for s, pid in zip(placed, pids, strict=True) if pid >= JUNK_PID
    ]
    notes.append(f"The folders in them are people: {len(set(pids)):,}. Every image is for training.")
    train = tuple(sorted(samples, key=lambda s: path_key(s.path)))
    return ReidDataset("cameras", root, train, notes=tuple(notes), renumbered=are_named(names))


def _by_camera(images: list[Path], notes: list[str]) -> list[Sample]:
    # The person's folder is left out of the path, so that what is left ends with the camera's.
    told = tell_cameras(
        [path.parent.parent / path.name for path in images], images[0].parent.parent.parent, None, notes
    )
    return [Sample(path, s.pid, s.camid, camera=s.camera) for path, s in zip(images, told, strict=True)]
