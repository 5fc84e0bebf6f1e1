"""Occluded-REID and Partial-REID: people who are partly hidden or cut off ask, whole people answer; nobody trains."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.market1501 import note_left_out
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.walk import find_files
from crosscam.errors import DataError

WHOLE, OCCLUDED, PARTIAL = "whole_body_images", "occluded_body_images", "partial_body_images"

_NAME = re.compile(r"([0-9]+)_[0-9]+\.")


def is_partial_reid(root: Path) -> bool:
    """Whether the folder has ``partial_body_images`` and ``whole_body_images``."""
    return (root / PARTIAL).is_dir() and (root / WHOLE).is_dir()


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
    notes = ["Camera 1 stands for the queries and camera 2 for the gallery; the data set does not tell cameras."]
    query = _read_folder(root / (PARTIAL if partial else OCCLUDED), 1, notes)
    gallery = _read_folder(root / WHOLE, 2, notes)
    return ReidDataset("partial-reid" if partial else "occluded-reid", root, (), query, gallery, notes=tuple(notes))


def _read_folder(folder: Path, camid: int, notes: list[str]) -> tuple[Sample, ...]:
    found = find_files(folder)
    samples, strangers = [], []
    for path in found.pictures:
        match = _NAME.match(path.name)
        pid = read_label(match[1]) if match else ""
        if isinstance(pid, int) and pid > 0:
            samples.append(Sample(path, pid, camid))
        else:
            strangers.append(path)
    if not samples:
        raise DataError(
            f"No images named IDENTITY_NUMBER in {folder}. Unpack the data set again; see docs/datasets.md."
        )
    note_left_out(folder.name, "images whose names give no identity", strangers, notes)
    return tuple(samples)
