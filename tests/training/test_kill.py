"""Kill -9 at instants that nobody chose: every resumed training ends as the uninterrupted one, bit for bit.

``benchmarks/kill_resume.py`` does the same with twenty kills.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from small_training import same_weights

from crosscam.data.records import ReidDataset
from crosscam.recipes import checkpoint
from crosscam.recipes.checkpoint import load_weights
from crosscam.training.callbacks import read_history

HERE = Path(__file__).parent
PROGRAM = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from small_training import small_recipe
from crosscam.data.datasets.readers import read_dataset
from crosscam.training.trainer import train
train(small_recipe("train.checkpoint_steps=1"), read_dataset(Path(sys.argv[1])), Path(sys.argv[2]), resume=True)
"""


def start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(root), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def kill_soon_after(process: subprocess.Popen[bytes], wanted: Path, seconds: float) -> bool:
    """Kill the process some time after a file has come or changed; False if it was done before."""
    before = wanted.stat().st_mtime_ns if wanted.exists() else None
    while process.poll() is None and (wanted.stat().st_mtime_ns if wanted.exists() else None) == before:
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    return process.wait() < 0


def test_kill_9_twice_and_again_while_resuming(rendered: ReidDataset, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    process = start(rendered.root, whole)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    kills = [
        # In the first epoch; then while the resumed training reads and writes its folder; then in the midst of it.
        kill_soon_after(start(rendered.root, folder), folder / checkpoint.STATE, 0.03),
        kill_soon_after(start(rendered.root, folder), folder / "metrics.jsonl", 0.0),
        kill_soon_after(start(rendered.root, folder), folder / checkpoint.STATE, 0.11),
    ]
    assert kills[:2] == [True, True]
    assert (folder / checkpoint.STATE).exists()
    process = start(rendered.root, folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    assert same_weights(load_weights(folder), load_weights(whole))
    assert [r["epoch"] for r in read_history(folder)] == [1, 2]
    assert [r["loss"] for r in read_history(folder)] == [r["loss"] for r in read_history(whole)]
    assert not (folder / checkpoint.STATE).exists()
    assert not list(folder.glob("*.tmp"))
