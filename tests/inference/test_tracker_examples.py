"""The examples of trackers run with the packages that are installed; a skipped one says which is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import pytest

from crosscam import TrackerFeatures

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# An example, the packages that it needs, and what it prints last.
NEEDS = [
    ("track_with_trackers.py", ("trackers", "supervision"), "Each person kept one number."),
    ("track_with_deep_sort.py", ("deep_sort_realtime", "cv2"), "Each person kept one number."),
    ("track_with_boxmot.py", ("boxmot",), "Each person kept one number."),
    ("describe_detections.py", ("supervision",), "last frame: green, red"),
]


def test_every_example_has_a_line_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"scene.py", *(name for name, _, _ in NEEDS)}


@pytest.mark.parametrize(("name", "packages", "last"), NEEDS)
def test_an_example_runs_with_the_installed_package(name: str, packages: tuple[str, ...], last: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        pytest.skip(f"examples/{name} was not run: {', '.join(missing)} is not installed")
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == last


def test_the_call_of_reid_takes_what_its_model_takes() -> None:
    try:
        from reid import ReIDModel
    except Exception as error:  # it brings torchvision along, which must fit torch
        pytest.skip(f"the call of reid was not compared: it cannot be imported here ({type(error).__name__}: {error})")
    theirs = signature(ReIDModel.extract_embeddings).parameters
    ours = signature(TrackerFeatures.extract_embeddings).parameters
    assert {name: p.kind for name, p in theirs.items()} == {name: p.kind for name, p in ours.items()}
