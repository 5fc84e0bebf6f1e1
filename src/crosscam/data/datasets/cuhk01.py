"""CUHK01: 971 people, two images of each from either camera, named ``IIIIVVV.png`` (identity, view)."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.datasets.viper import two_camera_dataset
from crosscam.data.records import ReidDataset
from crosscam.data.walk import list_images
from crosscam.errors import ArgumentError, DataError

PROTOCOLS = ("485/486", "871/100", "all")

_NAME = re.compile(r"([0-9]{4})([0-9]{3})\.")


def _image_folder(root: Path) -> Path:
    return root / "campus" if (root / "campus").is_dir() else root


def is_cuhk01(root: Path) -> bool:
    """Whether the folder, or ``campus`` in it, holds images named by seven digits, of views 1 to 4 at both cameras.

    Frames and crops that are counted with seven digits have views beyond.
    """
    if not root.is_dir():
        return False
    found = [_parse_name(image.name) for image in list_images(_image_folder(root))[0]]
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
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for CUHK01. Expected one of {', '.join(PROTOCOLS)}.")
    notes: list[str] = []
    samples = read_named_images(_image_folder(root), _parse_name, notes)
    num_ids = len({s.pid for s in samples})
    if protocol == "871/100" and num_ids <= 100:
        raise DataError(f"{root} has {num_ids} identities. The protocol 871/100 tests 100 and needs more.")
    num_test_ids = {"485/486": num_ids - num_ids // 2, "871/100": 100, "all": num_ids}[protocol]
    name = {"485/486": "cuhk01", "871/100": "cuhk01-871", "all": "cuhk01-all"}[protocol]
    return two_camera_dataset(name, root, samples, num_test_ids, split, notes)


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    if match is None or not 1 <= int(match[2]) <= 4:
        return None
    return int(match[1]), 1 if int(match[2]) <= 2 else 2
