"""CUHK02: five pairs of cameras (``P1`` to ``P5``), in each the folders ``cam1`` and ``cam2``."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError

PAIRS = ("P1", "P2", "P3", "P4", "P5")
# People of different pairs are different people with the same numbers.
STEP = 10_000

_NAME = re.compile(r"([0-9]+)_")


def _base(root: Path) -> Path:
    return root / "Dataset" if (root / "Dataset" / "P5").is_dir() else root


def is_cuhk02(root: Path) -> bool:
    """Whether ``P1`` and ``P5`` have ``cam1`` and ``cam2``."""
    return all((_base(root) / pair / camera).is_dir() for pair in ("P1", "P5") for camera in ("cam1", "cam2"))


def read_cuhk02(root: Path) -> ReidDataset:
    """Read CUHK02 (Li and Wang, CVPR 2013): P1 to P4 train, P5 is tested, its first camera asks.

    A pid is the number in the file name plus 10,000 times the pair's; pair k has the cameras 2k - 1 and 2k. CUHK01's
    people are P1's.

    Args:
        root: the folder of the pairs, or the one of ``Dataset``.
    Raises:
        DataError: no images, or none with an identity in its name.
    """
    notes = ["A pid is the number in the file name plus 10,000 times the number of the pair of cameras."]
    subsets: dict[tuple[str, int], tuple[Sample, ...]] = {}
    for number, pair in enumerate(PAIRS, start=1):
        for camera in (1, 2):
            folder = _base(root) / pair / f"cam{camera}"
            if not folder.is_dir():
                notes.append(f"{folder.parent.name} has no folder {folder.name}.")
                continue
            found = read_named_images(folder, _parse_name, notes)
            camid = 2 * (number - 1) + camera
            subsets[pair, camera] = tuple(Sample(s.path, s.pid + STEP * number, camid) for s in found)
    train = tuple(s for (pair, _), samples in subsets.items() if pair != "P5" for s in samples)
    query, gallery = subsets["P5", 1], subsets["P5", 2]
    if not query or not gallery:
        raise DataError(f"No images of CUHK02's fifth pair in {root}. Unpack it again; see docs/datasets.md.")
    return ReidDataset("cuhk02", root, train, query, gallery, notes=tuple(notes))


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid = read_label(match[1]) if match else ""
    return (pid, 0) if isinstance(pid, int) and 0 < pid < STEP else None
