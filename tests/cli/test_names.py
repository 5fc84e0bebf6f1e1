"""File names that are not UTF-8: every command that can take them does, the others name them before their work."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from in_process import Run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")


@pytest.fixture
def odd(place: Path) -> Path:
    """A query and a gallery image, and the run folder, get a byte that is not UTF-8."""
    for folder in ("query", "bounding_box_test", "bounding_box_train"):
        old = sorted((place / "people" / folder).glob("*.jpg"))[-1]
        old.rename(old.with_name(f"{old.stem}\udce9.jpg"))
    (place / "run").rename(place / "run\udcff")
    return place


def test_what_takes_them(crosscam: Run, odd: Path) -> None:
    for command in (
        "data doctor people",
        "evaluate run\udcff --data people --report r\udce9.html",
        "extract run\udcff people v.npz",
        "data holdout people h.csv",
        "evaluate run\udcff --data h.csv --out s.json --json",
        "gallery create g run\udcff",
    ):
        status, _, err = crosscam(command)
        assert status == 0, (command, err)
    paths = np.load(odd / "v.npz")["paths"]
    assert sum(name.endswith("\udce9.jpg") for name in paths) == 3
    assert all((odd / name).is_file() for name in paths)


def test_what_names_them_before(crosscam: Run, odd: Path) -> None:
    assert crosscam("gallery create g run\udcff")[0] == 0
    for command in (
        "extract run\udcff people v.parquet",
        "extract run\udcff people vectors",
        "data holdout people h.parquet",
        "gallery add g run\udcff people",
        "gallery add g run\udcff people/query --unlabelled --camids 0",
    ):
        status, _, err = crosscam(command)
        assert status == 2, command
        assert "not in UTF-8" in err
        assert r"\xe9.jpg" in err
    assert not any((odd / name).exists() for name in ("v.parquet", "vectors", "v.parquet.parts", "h.parquet"))
    assert "0, and 0 wiped" in crosscam("gallery info g")[1]
