"""QMUL GRID: 250 people at eight underground cameras, 775 strangers in the gallery, ten published splits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import ArgumentError, DataError

PARTITIONS = "features_and_partitions.mat"

_NAME = re.compile(r"([0-9]+)_([0-9]+)_")


def is_grid(root: Path) -> bool:
    """Whether the folder has ``probe``, ``gallery`` and ``features_and_partitions.mat``."""
    return (root / PARTITIONS).is_file() and (root / "probe").is_dir() and (root / "gallery").is_dir()


def read_grid(root: Path, *, split: int = 0) -> ReidDataset:
    """Read GRID (Loy et al., CVPR 2009; images such as ``0001_1_25023_116_79_85_200.jpeg``: identity, camera).

    Half of the people train, by the split that comes with the data; the others' images in ``probe`` ask, and
    ``gallery`` answers, with identity 0 for strangers.

    Args:
        root: the folder of ``probe`` and ``gallery``.
        split: which of the published splits, from 0.
    Raises:
        ValueError: no such split.
        DataError: no images, no scipy, or a file of splits that is another.
    """
    notes: list[str] = []
    probe = read_named_images(root / "probe", _parse_name, notes)
    gallery = read_named_images(root / "gallery", _parse_name, notes)
    trained = _trained(root / PARTITIONS, split)
    notes.append(f"Split {split}: {len(trained)} identities train, the others are tested.")
    return ReidDataset(
        "grid",
        root,
        train=tuple(s for s in (*probe, *gallery) if s.pid in trained),
        query=_without(probe, trained),
        gallery=_without(gallery, trained),
        notes=tuple(notes),
    )


def _trained(path: Path, split: int) -> set[int]:
    try:
        import scipy.io
    except ImportError as error:
        raise DataError(f"Reading {path} needs scipy: pip install 'crosscam[data]'.") from error
    try:
        splits = scipy.io.loadmat(path)["trainIdxAll"].ravel()
        # Each split is a structure; its third field holds the numbers of the people who train.
        people = [{int(pid) for pid in np.ravel(s.ravel()[0][2])} for s in splits]
    except Exception as error:
        raise DataError(f"{path} does not hold GRID's splits ({type(error).__name__}). Unpack it again.") from error
    if not 0 <= split < len(people):
        raise ArgumentError(f"split={split}: GRID has the splits 0 to {len(people) - 1}.")
    return people[split]


def _without(samples: tuple[Sample, ...], pids: set[int]) -> tuple[Sample, ...]:
    return tuple(s for s in samples if s.pid not in pids)


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid, camid = (read_label(match[1]), read_label(match[2])) if match else ("", "")
    return (pid, camid) if isinstance(pid, int) and isinstance(camid, int) else None
