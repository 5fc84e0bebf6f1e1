"""The tables of docs/performance.md and docs/rrid-mini.md are those that the committed results give."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "make_performance.py"


@pytest.fixture(scope="module")
def make_performance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_performance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_results_give(make_performance: ModuleType) -> None:
    for page in make_performance.PAGES:
        text = page.read_text(encoding="utf-8")
        assert make_performance.filled(text) == text, "run: python docs/make_performance.py"


def test_every_table_is_on_one_page_once(make_performance: ModuleType) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in make_performance.PAGES)
    found = [block[1] for block in make_performance.BLOCK.findall(text)]
    assert sorted(found) == sorted(make_performance.TABLES)
    comments = re.findall(r"<!-- (/?)([\w-]+) -->", text)
    assert len(comments) == 2 * len(found), "a comment that opens or closes no table"


def test_a_table_without_results_says_how_to_get_them(
    make_performance: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_performance, "RESULTS", tmp_path)
    page = make_performance.filled("<!-- growth -->\nold\n<!-- /growth -->\n")
    assert page == "<!-- growth -->\n\nNot measured yet; run `python benchmarks/growth.py`.\n\n<!-- /growth -->\n"
