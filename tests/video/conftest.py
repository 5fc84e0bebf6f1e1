"""A video of three drawn people, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("av")
pytest.importorskip("scipy")


@pytest.fixture(scope="session")
def walkers() -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]:
    """75 frames, and the boxes of the people in them."""
    from drawn_video import walk

    return walk(75)


@pytest.fixture(scope="session")
def video(
    walkers: tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The frames as a file; leave it alone."""
    from drawn_video import write_video

    return write_video(tmp_path_factory.mktemp("walk") / "walk.mp4", walkers[0])
