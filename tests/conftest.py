"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.data.synthetic.dataset import render_dataset

# A busy machine is slow at drawing examples, too.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> ReidDataset:
    """A tiny dataset of drawn people, made once: 24 identities, 3 cameras, 2 images of each. Leave its files alone."""
    root: Path = tmp_path_factory.mktemp("rendered") / "people"
    render_dataset(root, ids=24, cameras=3, images=2, collide=0.25, seed=0, processes=1)
    return read_dataset(root)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Graphs and measurements of the tests stay out of the user's cache folder."""
    os.environ["CROSSCAM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
