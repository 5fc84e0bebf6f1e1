"""The script for a CUDA machine runs on the CPU at a toy size, and what it brings back can be scored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam.data.records import ReidDataset

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def call(*arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_step_is_written_and_the_networks_are_scored(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"not needed by the toy")
    call("pack", rendered.root, tmp_path / "packed.zip", "--weights", weights, cwd=tmp_path)
    call("run", tmp_path / "packed.zip", "--out", tmp_path / "out", "--toy", cwd=tmp_path)
    names = {p.stem for p in (tmp_path / "out").glob("*.json")}
    rows = {f"claims-{row}-0" for row in ("rrid-s", "rm-gap+gmp", "rm-gmp", "gmp")}
    assert names == {"machine", "parity", "speed", "lite", *rows}
    parity = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert len(parity) == 10
    assert max(parity.values()) <= 2e-5
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu
    import machine

    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    gpu.score(tmp_path / "out", rendered.root)
    scores = json.loads((tmp_path / "results" / "gpu.json").read_text())
    assert all(0 < scores[name]["mAP"] <= 1 for name in ("lite", *rows))
