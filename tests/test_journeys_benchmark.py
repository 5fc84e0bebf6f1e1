"""Drawn videos end to end without a detector: true boxes, the shipped network, linked people."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from crosscam.inference.extractor import Extractor

FILE = Path(__file__).parents[1] / "benchmarks" / "journeys.py"


def test_people_of_a_drawn_scene_are_found_again() -> None:
    spec = importlib.util.spec_from_file_location("journeys_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = benchmark.measure(Extractor.load(Path("rrid-mini")), 1, people=8, cameras=2, seconds=20.0, collide=0.0)
    assert found["people"] == 8
    assert found["idf1"] >= 0.9
    assert found["link_precision"] == 1.0
