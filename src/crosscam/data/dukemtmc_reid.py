"""DukeMTMC-reID: Market-1501's layout, with names such as ``0001_c2_f0046182.jpg``."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.images import list_images
from crosscam.data.market1501 import SUBSET_FOLDERS, is_market_layout, read_market1501
from crosscam.data.records import ReidDataset

_NAME = re.compile(r"[0-9]+_c[0-9]+_f[0-9]+")


def is_dukemtmc_reid(root: Path) -> bool:
    """Whether the folder has Market-1501's layout and its first image has a frame number after the camera."""
    if not is_market_layout(root):
        return False
    folders = [root / name for name in SUBSET_FOLDERS.values() if (root / name).is_dir()]
    images = list_images(folders[0])[0]
    return bool(images) and _NAME.match(images[0].name) is not None


def read_dukemtmc_reid(root: Path) -> ReidDataset:
    """Read DukeMTMC-reID; its gallery's 408 identities without a query are ordinary identities.

    Raises:
        DataError: as :func:`crosscam.data.market1501.read_market1501`.
    """
    return read_market1501(root, name="dukemtmc-reid")
