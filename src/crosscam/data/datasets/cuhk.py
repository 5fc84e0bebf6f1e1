"""CUHK01, CUHK02 and the people of CUHK-SYSU; CUHK03 has a file of its own."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.holdout import two_camera_dataset
from crosscam.data.datasets.market1501 import name_parser, read_named_images, without_unnamed_people
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.walk import list_images, within
from crosscam.errors import ArgumentError, DataError

CUHK01_PROTOCOLS = ("485/486", "871/100", "all")

PAIRS = ("P1", "P2", "P3", "P4", "P5")
# People of different pairs are different people with the same numbers.
STEP = 10_000

_CUHK01_NAME = re.compile(r"([0-9]{4})([0-9]{3})\.")
_cuhk02_name = name_parser(re.compile(r"([0-9]+)_"), range(1, STEP))
_sysu_name = name_parser(re.compile(r"p([0-9]+)_s[0-9]+"), camid=1)


def is_cuhk01(root: Path) -> bool:
    """Whether the folder, or ``campus`` in it, holds images named by seven digits, of views 1 to 4 at both cameras.

    Frames and crops that are counted with seven digits have views beyond.
    """
    if not root.is_dir():
        return False
    found = [_cuhk01_name(image.name) for image in list_images(within(root, "campus"))[0]]
    return None not in found and {name[1] for name in found if name} == {1, 2}


def read_cuhk01(root: Path, *, protocol: str = "485/486", split: int = 0) -> ReidDataset:
    """Read CUHK01. Views 1 and 2 are camera 1, which asks; views 3 and 4 are camera 2, the gallery.

    Args:
        root: the folder of the images, or the one of ``campus``.
        protocol: identities that train / that are tested: ``"485/486"``, ``"871/100"``, or ``"all"`` are tested.
        split: seed of the choice; published results usually average ten of them.
    Raises:
        ValueError: an unknown protocol.
        DataError: no images, or too few identities for the protocol.
    """
    if protocol not in CUHK01_PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for CUHK01. Expected one of {', '.join(CUHK01_PROTOCOLS)}.")
    notes: list[str] = []
    samples = read_named_images(within(root, "campus"), _cuhk01_name, notes)
    num_ids = len({s.pid for s in samples})
    if protocol == "871/100" and num_ids <= 100:
        raise DataError(f"{root} has {num_ids} identities. The protocol 871/100 tests 100 and needs more.")
    num_test_ids = {"485/486": num_ids - num_ids // 2, "871/100": 100, "all": num_ids}[protocol]
    name = {"485/486": "cuhk01", "871/100": "cuhk01-871", "all": "cuhk01-all"}[protocol]
    return two_camera_dataset(name, root, samples, num_test_ids, split, notes)


def _cuhk01_name(name: str) -> tuple[int, int] | None:
    match = _CUHK01_NAME.match(name)
    if match is None or not 1 <= int(match[2]) <= 4:
        return None
    return int(match[1]), 1 if int(match[2]) <= 2 else 2


def _cuhk02_folder(root: Path) -> Path:
    return root / "Dataset" if (root / "Dataset" / "P5").is_dir() else root


def is_cuhk02(root: Path) -> bool:
    """Whether ``P1`` and ``P5`` have ``cam1`` and ``cam2``."""
    return all((_cuhk02_folder(root) / pair / camera).is_dir() for pair in ("P1", "P5") for camera in ("cam1", "cam2"))


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
            folder = _cuhk02_folder(root) / pair / f"cam{camera}"
            if not folder.is_dir():
                notes.append(f"{folder.parent.name} has no folder {folder.name}.")
                continue
            found = read_named_images(folder, _cuhk02_name, notes)
            camid = 2 * (number - 1) + camera
            subsets[pair, camera] = tuple(Sample(s.path, s.pid + STEP * number, camid) for s in found)
    train = tuple(s for (pair, _), samples in subsets.items() if pair != "P5" for s in samples)
    query, gallery = subsets["P5", 1], subsets["P5", 2]
    if not query or not gallery:
        raise DataError(f"No images of CUHK02's fifth pair in {root}. Unpack it again; see docs/datasets.md.")
    return ReidDataset("cuhk02", root, train, query, gallery, notes=tuple(notes))


def is_cuhk_sysu(root: Path) -> bool:
    """Whether ``cropped_images`` has images whose names begin with ``p1_s``, or another person's number."""
    return any((root / "cropped_images").glob("p[0-9]*_s[0-9]*"))


def read_cuhk_sysu(root: Path) -> ReidDataset:
    """Read the people of CUHK-SYSU (Xiao et al., CVPR 2017), cut out as fast-reid's users share them.

    The dataset tells no cameras, so all images are camera 1's, and nothing is tested.

    Args:
        root: the folder of ``cropped_images``.
    Raises:
        DataError: no image with an identity in its name.
    """
    notes = ["No cameras are told: all images are camera 1's, for training alone."]
    train = without_unnamed_people(read_named_images(root / "cropped_images", _sysu_name, notes), notes)
    if not train:
        raise DataError(f"No images named p1_s1_1.jpg in {root / 'cropped_images'}. Cut the people out again.")
    return ReidDataset("cuhk-sysu", root, train, notes=tuple(notes))
