"""The recipes of the benchmarks are recipes of today: no setting that is gone, or that changes nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings

FOLDER = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_steps_of_the_small_network(monkeypatch):
    steps = benchmark("mini_steps", monkeypatch)
    files = {"teacher": Path("teacher.xml"), "unlabeled": Path("list.txt")}
    for step in steps.ALL:
        distill = steps.recipe_of(step, files).distill
        assert distill.teachers in ((), ("teacher.xml",))
        assert distill.unlabeled in (None, "list.txt")
    with_settings(find_recipe("rrid-nano"), steps.merged(steps.BASE, steps.RENDERED_TRAINING))


def test_several_processes(monkeypatch):
    distributed = benchmark("distributed", monkeypatch)
    for rates in distributed.RATES.values():
        with_settings(find_recipe("demo"), [*distributed.SETTINGS, *rates])


@pytest.mark.parametrize(("name", "settings"), [("kill_resume", "SETTINGS"), ("double_starts", "TINY")])
def test_small_trainings(name, settings, monkeypatch):
    with_settings(find_recipe("demo"), getattr(benchmark(name, monkeypatch), settings))
