"""Ray is asked for the right things. A stand-in takes its place: the package is large, and CI does without it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from crosscam.data.records import ReidDataset
from crosscam.errors import EngineError
from crosscam.inference.bulk import describe_stream, entries_of
from crosscam.inference.extractor import Extractor
from crosscam.inference.ray_cluster import run_on_ray
from crosscam.recipes.catalogue import build_model, find_recipe


class FakePool:
    """Gives each job to the next worker, and the answers back in another order, as a cluster does."""

    def __init__(self, workers: list[Any]) -> None:
        self.workers = workers

    def map_unordered(self, call: Callable[[Any, Any], Any], jobs: list[Any]) -> Iterator[Any]:
        answers = [call(self.workers[i % len(self.workers)], job) for i, job in enumerate(jobs)]
        yield from reversed(answers)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    said = SimpleNamespace(address=None, options=None, workers=0, shut=False)

    def remote(**options: Any) -> Callable[[type], Any]:
        said.options = options

        def start(kind: type) -> Any:
            def make() -> Any:
                said.workers += 1
                worker = kind()
                return SimpleNamespace(describe=SimpleNamespace(remote=worker.describe))

            return SimpleNamespace(remote=make)

        return start

    def init(address: str, **_: Any) -> None:
        said.address = address

    machine = {"Alive": True, "Resources": {"CPU": 4.0}}
    module = ModuleType("ray")
    module.init, module.remote = init, remote  # type: ignore[attr-defined]
    module.nodes = lambda: [machine, {**machine, "Resources": {"CPU": 2.0}}, {"Alive": False}]  # type: ignore[attr-defined]
    module.shutdown = lambda: setattr(said, "shut", True)  # type: ignore[attr-defined]
    util = ModuleType("ray.util")
    util.ActorPool = FakePool  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray.util", util)
    return said


def test_parts_are_spread_and_come_back_in_order(ray: SimpleNamespace, rendered: ReidDataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = find_recipe("demo")
    extractor = Extractor(build_model(recipe, 0), recipe)
    entries = entries_of(rendered)[:9]
    run = run_on_ray("local", lambda: extractor, len(entries))
    done = describe_stream(entries, tmp_path / "o.npz", fingerprint="f", run=run, part_size=2)
    assert done.described == 9
    assert (ray.address, ray.workers, ray.shut) == ("local", 2, True)
    assert ray.options == {"num_cpus": 2, "scheduling_strategy": "SPREAD"}
    with np.load(tmp_path / "o.npz") as saved:
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)


def test_a_cluster_that_does_not_answer_is_told_at_once(ray: SimpleNamespace) -> None:
    with pytest.raises(EngineError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        run_on_ray("127.0.0.1:1", lambda: None, 1)  # type: ignore[arg-type, return-value]


def test_without_ray_one_line_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'crosscam\[ray\]'"):
        run_on_ray("local", lambda: None, 1)  # type: ignore[arg-type, return-value]
