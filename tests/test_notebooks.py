"""The notebooks of examples/ run from top to bottom, with drawn people and very small networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crosscam.data.records import ReidDataset
from test_api_docs import TINY

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run(name: str, **parameters: object) -> dict[str, Any]:
    """What a notebook's code leaves behind; the cell tagged "parameters" is followed by these, as papermill does."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads((ROOT / "examples" / f"{name}.ipynb").read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), space)
            if "parameters" in cell["metadata"].get("tags", ()):
                space |= parameters
    return space


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_three_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["own_photos", "tracker", "train_and_evaluate"]
    cells = [cell for path in NOTEBOOKS for cell in json.loads(path.read_text("utf-8"))["cells"]]
    assert not any(cell.get("outputs") for cell in cells)


def test_own_photos(rendered: ReidDataset, folder: Path) -> None:
    for sample in rendered.gallery[:8]:
        place = folder / "photos" / str(sample.camid)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, place)
    left = run("own_photos", model="rrid-nano")
    assert left["found"].entries == len(left["images"].gallery) == 8
    assert left["found"].page.is_file()
    assert len(left["hits"]) == 6
    assert left["hits"][0].distance == pytest.approx(0, abs=1e-3)


def test_tracker(capsys: pytest.CaptureFixture[str]) -> None:
    left = run("tracker")
    assert left["numbers"].tolist() == [2, 1, 0], "everybody is found again"
    assert "[2, 1, 0]" in capsys.readouterr().out


def test_train_and_evaluate(rendered: ReidDataset) -> None:
    left = run("train_and_evaluate", data=str(rendered.root), settings=list(TINY))
    assert [score.name for score in left["scores"]] == ["trained", "untrained", "raw pixels"]
    assert left["result"].mAP == pytest.approx(left["scores"][0].result.mAP, abs=0.02)
