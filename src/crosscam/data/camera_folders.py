"""Own data by camera: a folder for each camera, with a folder for each person in it, or with unlabelled pictures."""

from __future__ import annotations

import os
from pathlib import Path

from crosscam.data.cameras import tell_cameras
from crosscam.data.foreign import foreign_fault, foreign_kind, tell_left_out
from crosscam.data.images import is_image_name, list_images, path_key
from crosscam.data.labels import are_named, numbered
from crosscam.data.market1501 import note_left_out
from crosscam.data.records import JUNK_PID, ReidDataset, Sample
from crosscam.data.table import CamidRule
from crosscam.data.walk import find_files, subfolders
from crosscam.errors import DataError

UNNAMED = "pictures"


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
            note_left_out(f"{camera.name}/{person.name}", "files that are no images", others, notes)
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


def has_pictures(place: Path) -> bool:
    """Whether a place is a picture, or a folder with pictures in it or in its folders."""
    return is_image_name(place.name) if place.is_file() else place.is_dir() and bool(find_files(place).pictures)


def find_pictures(place: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder and all its folders in natural order, or the one picture; and what was left out.

    Returns:
        the files, and sentences about others; see :func:`crosscam.data.foreign.tell_left_out`.
    Raises:
        DataError: there are none, or a folder that cannot be read.
    """
    if place.is_file():
        kind = foreign_kind(place.name)
        if kind is not None:
            raise DataError(foreign_fault(str(place), kind))
        return [place], []
    if not place.is_dir():
        raise DataError(f"No file or folder {place}. Give a picture or a folder of pictures.")
    found = find_files(place)
    told = tell_left_out(found.others, len(found.pictures))
    if not found.pictures:
        instead = [sentence.removeprefix("warning: ") for sentence in told if sentence.startswith("warning: ")]
        expected = "Expected files in .jpg, .png, .bmp, .webp or .tif."
        raise DataError(" ".join([f"No pictures in {place} or its folders.", *(instead or [expected])]))
    return found.pictures, told


def read_pictures(place: Path, *, camids: CamidRule = None, camera: str | None = None) -> ReidDataset:
    """Read a picture, or a folder of pictures of nobody known: all are gallery, with pid 0.

    Args:
        place: a picture, or a folder, searched with all its folders.
        camids: the camera, see :func:`crosscam.data.table.camids_by_rule`; by default by file names or by folders.
        camera: name or number of the one camera that took them all.
    Raises:
        DataError: no pictures.
    """
    root = Path(os.path.abspath(place))
    paths, notes = find_pictures(root)
    samples = tell_cameras(paths, root.parent if root.is_file() else root, camids, notes, camera=camera)
    notes.append("Nobody is named on the pictures.")
    gallery = tuple(sorted(samples, key=lambda s: path_key(s.path)))
    return ReidDataset(UNNAMED, root.parent if root.is_file() else root, gallery=gallery, notes=tuple(notes))
