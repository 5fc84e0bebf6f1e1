from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.synthetic.dataset import CELL_HEIGHT, CELL_WIDTH, GAP, MARGIN, contact_sheet
from crosscam.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = tmp_path / "set" / "bounding_box_train"
    train.mkdir(parents=True)
    for name, level in (("0007_c1s1_000001_01", 40), ("0007_c3s1_000001_01", 80), ("0009_c1s1_000001_01", 120)):
        Image.new("RGB", (64, 128), (level,) * 3).save(train / f"{name}.png")
    return tmp_path / "set"


def test_rows_are_identities_and_columns_cameras(folder: Path, tmp_path: Path) -> None:
    assert contact_sheet(folder, tmp_path / "sheet.png", images_per_camera=1) == (7, 9)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    cells = [
        [sheet[16 + 60 + row * (CELL_HEIGHT + GAP), MARGIN + 30 + k * (CELL_WIDTH + GAP), 0] for k in range(2)]
        for row in range(2)
    ]
    assert cells == [[40, 80], [120, 255]]


def test_identities_limit_the_rows(folder: Path, tmp_path: Path) -> None:
    assert contact_sheet(folder, tmp_path / "sheet.png", identities=1) == (7,)


def test_bad_arguments_and_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one identity"):
        contact_sheet(folder, tmp_path / "sheet.png", identities=0)
    with pytest.raises(DataError, match=r"Cannot write .*sheet\.png"):
        contact_sheet(folder, next(p for p in folder.rglob("*") if p.is_file()) / "sheet.png")
    with pytest.raises(DataError):
        contact_sheet(tmp_path / "nothing", tmp_path / "sheet.png")
