"""CUHK-SYSU as cut-out people, for training alone: ``cropped_images`` with names such as ``p123_s4567_1.jpg``."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.market1501 import read_named_images, without_unnamed_people
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset
from crosscam.errors import DataError

_NAME = re.compile(r"p([0-9]+)_s[0-9]+")


def is_cuhk_sysu(root: Path) -> bool:
    """Whether ``cropped_images`` has images whose names begin with ``p1_s``, or another person's number."""
    return any((root / "cropped_images").glob("p[0-9]*_s[0-9]*"))


def read_cuhk_sysu(root: Path) -> ReidDataset:
    """Read the people of CUHK-SYSU (Xiao et al., CVPR 2017), cut out as fast-reid's users share them.

    The data set tells no cameras, so all images are camera 1's, and nothing is tested.

    Args:
        root: the folder of ``cropped_images``.
    Raises:
        DataError: no image with an identity in its name.
    """
    notes = ["No cameras are told: all images are camera 1's, for training alone."]
    train = without_unnamed_people(read_named_images(root / "cropped_images", _parse_name, notes), notes)
    if not train:
        raise DataError(f"No images named p1_s1_1.jpg in {root / 'cropped_images'}. Cut the people out again.")
    return ReidDataset("cuhk-sysu", root, train, notes=tuple(notes))


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid = read_label(match[1]) if match else ""
    return (pid, 1) if isinstance(pid, int) else None
