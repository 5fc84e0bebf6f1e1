"""Unlabeled images: a file, a folder, or a table without identities."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from crosscam.data.datasets.camera_folders import tell_cameras
from crosscam.data.datasets.camera_rules import CamidRule
from crosscam.data.datasets.cells import COLUMNS, column_names
from crosscam.data.datasets.table import (
    cameras_of,
    check_once,
    check_there,
    image_cells,
    image_paths,
    is_table,
    root_of,
    times_and_tracks,
)
from crosscam.data.image_limits import foreign_fault, foreign_kind, tell_left_out
from crosscam.data.labels import is_missing
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import find_files, is_image_name, path_key
from crosscam.errors import DataError, UnusedOptionError

UNNAMED = "images"


def has_images(place: Path) -> bool:
    """Whether a place is an image, or a folder with images in it or in its folders."""
    return is_image_name(place.name) if place.is_file() else place.is_dir() and bool(find_files(place).images)


def find_images(place: Path) -> tuple[list[Path], list[str]]:
    """The images of a folder and all its folders in natural order, of a table, or the one image; and what was left out.

    Returns:
        the files, and sentences about others; see :func:`crosscam.data.image_limits.tell_left_out`.
    Raises:
        DataError: there are none, or a folder that cannot be read.
    """
    if is_table(place):
        told: list[str] = []
        cells = image_cells(place, told, ("path",))
        paths = image_paths(cells)
        check_there(cells, paths)
        return paths, told
    if place.is_file():
        kind = foreign_kind(place.name)
        if kind is not None:
            raise DataError(foreign_fault(str(place), kind))
        return [place], []
    if not place.is_dir():
        raise DataError(f"No file or folder {place}. Give an image or a folder of images.")
    found = find_files(place)
    told = tell_left_out(found.others, len(found.images))
    if not found.images:
        instead = [sentence.removeprefix("warning: ") for sentence in told if sentence.startswith("warning: ")]
        expected = "Expected files in .jpg, .png, .bmp, .webp or .tif."
        raise DataError(" ".join([f"No images in {place} or its folders.", *(instead or [expected])]))
    return found.images, told


def is_unlabeled_table(table: Path) -> bool:
    """Whether a table has no column ``pid``."""
    return "pid" not in column_names(table, COLUMNS)


def read_images(place: Path, *, camids: CamidRule = None, camera: str | None = None) -> ReidDataset:
    """Read images without labels: all are gallery, with pid 0.

    Args:
        place: an image; a folder, searched with all its folders; or a table ``path[,camid,camera,time,track]``, whose
            other columns are not used.
        camids: the camera, see :func:`crosscam.data.datasets.camera_rules.camids_by_rule`; by default as a table says,
            or by file names or by folders.
        camera: name or number of the one camera that took them all.
    Raises:
        DataError: no images; a table's cell that cannot be read.
        ValueError: a rule or a camera for a table that tells the cameras.
    """
    root, notes = Path(os.path.abspath(Path(place).expanduser())), list[str]()
    table = root if is_table(root) else None
    if table is not None:
        folder, samples = _of_table(table, camids, camera, notes)
    else:
        paths, left_out = find_images(root)
        notes += left_out
        folder = root.parent if root.is_file() else root
        samples = tell_cameras(paths, folder, camids, notes, camera=camera)
    gallery = tuple(sorted(samples, key=lambda s: path_key(s.path)))
    return ReidDataset(UNNAMED, folder, gallery=gallery, notes=tuple(notes), table=table)


def _of_table(table: Path, rule: CamidRule, camera: str | None, notes: list[str]) -> tuple[Path, list[Sample]]:
    cells = image_cells(table, notes, ("path", "camid", "camera", "time", "track"))
    # A column without a single camera tells none.
    blank = {name for name in ("camid", "camera") if all(map(is_missing, cells.columns.get(name, ())))}
    cells = replace(cells, columns={name: column for name, column in cells.columns.items() if name not in blank})
    paths = image_paths(cells)
    if {"camid", "camera"} & cells.columns.keys():
        if camera is not None:
            raise UnusedOptionError("camera", f"means nothing for {table}, which tells the cameras. Leave it out.")
        camids, names = cameras_of(cells, paths, rule, notes)
    else:
        told = tell_cameras(paths, table.parent, rule, notes, camera=camera)
        camids, names = [s.camid for s in told], [s.camera for s in told]
    nobody = [DISTRACTOR_PID] * len(paths)
    check_there(cells, paths)
    check_once(cells, ["gallery"] * len(paths), paths, nobody, camids)
    rows = zip(paths, nobody, camids, *times_and_tracks(cells), names, strict=True)
    return root_of(table, paths), [Sample(*row) for row in rows]
