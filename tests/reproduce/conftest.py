"""A finished study that several test files look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_study import BUDGET, RELATION

from crosscam.data.records import ReidDataset
from crosscam.reproduce.paper_rows import ROWS
from crosscam.reproduce.study import Study


@pytest.fixture(scope="session")
def finished(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two rows, two seeds; leave its files alone."""
    study = Study(tmp_path_factory.mktemp("study") / "study", rendered, BUDGET)
    study.fill([ROWS[name] for name in RELATION], 2)
    return study


@pytest.fixture
def empty(rendered: ReidDataset, tmp_path: Path) -> Study:
    """A study with nothing in it."""
    return Study(tmp_path / "study", rendered, BUDGET)
