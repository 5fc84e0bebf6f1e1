"""Every example of docs/api.md and of the package's docstring runs and gives what it shows."""

from __future__ import annotations

import doctest
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crosscam
from crosscam.cli.main import main
from crosscam.recipes.catalogue import RECIPES
from crosscam.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests/data/parity/authors_checkpoint_sample_legacy.pth"
TINY = (
    "model.backbone=basic:stem=4,planes=4.4.4.4,out=4.4.4.4,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=4",
    "data.height=32",
    "data.width=16",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.epochs=1",
    "train.precision=fp32",
)


def test_api_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["data", "render", "people", "--ids", "24", "--cameras", "3", "--images", "2", "--json"])
    settings = [word for setting in TINY for word in ("--set", setting)]
    main(["train", "demo", "--data", "people", "--out", "run", "--json", *settings])
    shutil.copy(SAMPLE, "authors.pth")
    page = str(ROOT / "docs/api.md")
    found = doctest.testfile(page, module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS)
    assert found.attempted > 30
    assert found.failed == 0


def test_package_docstring() -> None:
    found = doctest.testmod(crosscam)
    assert found.attempted == 3
    assert found.failed == 0


def test_everything_that_is_promised_is_there_and_documented() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    types = {
        "Block",
        "DescriptorFile",
        "RankingResult",
        "ReidDataset",
        "ReidOutput",
        "Sample",
    }  # what the functions give
    for name in crosscam.__all__:
        assert getattr(crosscam, name).__doc__, name
        assert name in types or f"crosscam.{name}" in page, name


def test_importing_crosscam_loads_nothing_heavy() -> None:
    look = (
        "import sys, crosscam; names = [n for n in ('torch', 'numpy', 'PIL', 'rich', 'tyro') if n in sys.modules]; "
        "crosscam.list_models(); print(names, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]


def test_recipes_and_models_are_listed() -> None:
    recipes = crosscam.list_recipes()
    assert set(recipes) == set(RECIPES)
    assert all(description.endswith(".") for description in recipes.values())
    assert list(crosscam.list_models()) == list(SHIPPED)
    recipes.clear()
    assert crosscam.list_recipes(), "a copy, which the caller may change"
