"""Occluded-REID, Partial-REID, P-DukeMTMC-reID: queries hidden or cut off in part, whole people in the gallery."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.clothes_changes import NO_CAMERAS, read_identities
from crosscam.data.records import ReidDataset

WHOLE, OCCLUDED, PARTIAL = "whole_body_images", "occluded_body_images", "partial_body_images"

_NAME = re.compile(r"([0-9]+)_[0-9]+\.")
_DUKE_NAME = re.compile(r"([0-9]+)_")


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
    notes = [NO_CAMERAS]
    query = read_identities(root / (PARTIAL if partial else OCCLUDED), 1, _NAME, notes)
    gallery = read_identities(root / WHOLE, 2, _NAME, notes)
    return ReidDataset("partial-reid" if partial else "occluded-reid", root, (), query, gallery, notes=tuple(notes))


def is_p_dukemtmc(root: Path) -> bool:
    """Whether ``train`` and ``test`` both have ``occluded_body_images`` and ``whole_body_images``."""
    return all((root / subset / kind).is_dir() for subset in ("train", "test") for kind in (OCCLUDED, WHOLE))


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
        read_identities(root / subset / kind, camid, _DUKE_NAME, notes)
        for subset in ("train", "test")
        for kind, camid in ((OCCLUDED, 1), (WHOLE, 2))
    ]
    return ReidDataset("p-dukemtmc-reid", root, (*parts[0], *parts[1]), parts[2], parts[3], notes=tuple(notes))
