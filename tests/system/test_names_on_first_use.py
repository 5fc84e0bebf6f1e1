"""Each room's public names are there, and importing the room loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import crosscam

ROOMS = (
    "calibration",
    "data",
    "experiments",
    "explain",
    "gallery",
    "inference",
    "losses",
    "metrics",
    "models",
    "recipes",
    "report",
    "reproduce",
    "retrieval",
    "training",
    "video",
)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_of_a_room(room: str) -> None:
    module = import_module(f"crosscam.{room}")
    assert getattr(crosscam, room) is module
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__)) > 0
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_rooms_load_nothing_heavy() -> None:
    rooms = ", ".join(f"crosscam.{room}" for room in ROOMS if room not in ("gallery", "losses"))
    look = f"import sys, {rooms}; print([n for n in ('torch', 'numpy', 'PIL', 'rich', 'tyro') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
