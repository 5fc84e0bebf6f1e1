"""Kill a training with SIGKILL at random instants, resume it, and compare its weights with an uninterrupted one's.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0]

The instants are spread over the whole training: one in each twentieth of it, so that steps, checkpoints and the last
files are all hit. Every second trial is killed again while it resumes. The training saves after every step, which makes
a good part of it writing. Two trials run at a time, on one core each; about three minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import PROVENANCE, STATE, load_weights
from crosscam.recipes.settings import with_settings
from crosscam.training.callbacks import read_history
from crosscam.training.trainer import train

EPOCHS = 5
SETTINGS = [
    "data.height=64",
    "data.width=32",
    "data.batch_ids=8",
    "data.small_until=0.34",
    "data.small=64,16",
    f"train.epochs={EPOCHS}",
    "train.ema=0.9",
    "train.precision=fp32",
    "train.checkpoint_steps=1",
]
BEGAN, DONE = "began", "done"
LANES = 2


@dataclass(frozen=True)
class Trial:
    """One training that was killed.

    Attributes:
        number: of the trial.
        instants: seconds after the training began, for each kill.
        stood: where the last state stood after each kill, and whether a file was being written.
        equal: whether the weights are those of the uninterrupted training, bit for bit.
        complete: whether the history has every epoch once, and nothing is left over.
    """

    number: int
    instants: list[float]
    stood: list[str]
    equal: bool
    complete: bool


def child(data: Path, folder: Path) -> None:
    """What the killed process does."""
    dataset = read_dataset(data)
    marker(folder, BEGAN).touch()
    train(with_settings(find_recipe("demo"), SETTINGS), dataset, folder, resume=True)
    marker(folder, DONE).touch()


def marker(folder: Path, name: str) -> Path:
    """A file beside a run folder by which its process tells how far it is."""
    return folder.parent / f"{folder.name}.{name}"


def start(data: Path, folder: Path) -> tuple[subprocess.Popen[bytes], float]:
    """Start a training, and wait until it begins; the process, and when it began."""
    began = marker(folder, BEGAN)
    for old in (began, marker(folder, DONE)):
        old.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", str(data), str(folder)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not began.exists() and process.poll() is None:
        time.sleep(0.001)
    return process, time.perf_counter()


def finish(data: Path, folder: Path) -> float:
    """Train to the end; the seconds from the beginning of the training to its end."""
    process, began = start(data, folder)
    while not marker(folder, DONE).exists() and process.poll() is None:
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    if process.wait():
        raise SystemExit(f"The training in {folder} failed.")
    return seconds


def kill(data: Path, folder: Path, instant: float) -> bool:
    """Start or resume a training and kill it at the instant; False if it was done before."""
    process, began = start(data, folder)
    time.sleep(max(0.0, began + instant - time.perf_counter()))
    process.kill()
    process.wait()
    return not marker(folder, DONE).exists()


def describe(folder: Path) -> str:
    """Where a killed training stands."""
    finished = (folder / PROVENANCE).exists() and read_history(folder)[-1]["epoch"] == EPOCHS
    stood = "all files written" if finished else "before its first state"
    if (folder / STATE).exists():
        state = torch.load(folder / STATE, weights_only=True)
        stood = f"epoch {state['epoch']}, batch {state['batch']}"
    # A leftover of an earlier kill is older than the process that was killed last.
    since = marker(folder, BEGAN).stat().st_mtime
    writing = sorted(Path(p.stem).stem for p in folder.glob("*.tmp") if p.stat().st_mtime >= since)
    return stood + "".join(f", writing {name}" for name in writing)


def run_trial(
    number: int, share: float, again: float | None, data: Path, folder: Path, whole: Path, length: float
) -> Trial:
    """Kill at a share of the length, and perhaps once more at a share of what is left; then compare."""
    instants, stood = [share * length], []
    while not kill(data, folder, instants[0]):
        # The machine was quicker this time; the same trial a little earlier.
        shutil.rmtree(folder)
        instants[0] *= 0.95
    stood.append(describe(folder))
    if again is not None:
        instant = again * (length - instants[0])
        if kill(data, folder, instant):
            instants.append(instant)
            stood.append(describe(folder))
    finish(data, folder)
    expected, found = load_weights(whole), load_weights(folder)
    equal = expected.keys() == found.keys() and all(torch.equal(expected[k], found[k]) for k in expected)
    losses = [[r["loss"] for r in read_history(f)] for f in (whole, folder)]
    names = [sorted(p.name for p in f.iterdir() if p.is_file()) for f in (whole, folder)]
    return Trial(number, instants, stood, equal, losses[0] == losses[1] and names[0] == names[1])


def main() -> None:
    """Run all trials and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="trials")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--child", nargs=2, type=Path, metavar=("DATA", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        show(trials(Path(place), options.kills, random.Random(options.seed)), time.perf_counter() - began)


def trials(place: Path, kills: int, rng: random.Random) -> list[Trial]:
    """All trials, two at a time."""
    data = place / "people"
    render_dataset(data, ids=30, cameras=3, images=3, collide=0.3, seed=0)
    with ThreadPoolExecutor(LANES) as pool:
        lengths = list(pool.map(lambda i: finish(data, place / f"whole{i}"), range(LANES)))
        first, second = (load_weights(place / f"whole{i}") for i in range(LANES))
        if not all(torch.equal(first[k], second[k]) for k in first):
            raise SystemExit("Two uninterrupted trainings differ, so nothing can be compared.")
        length = min(lengths)
        print(f"uninterrupted: {length:.1f} s, {len(read_history(place / 'whole0'))} epochs, twice the same weights")
        shares = [(i + rng.random()) / kills for i in range(kills)]
        seconds = [rng.random() if i % 2 else None for i in range(kills)]
        jobs = [
            pool.submit(run_trial, i + 1, shares[i], seconds[i], data, place / f"trial{i}", place / "whole0", length)
            for i in range(kills)
        ]
        return [job.result() for job in jobs]


def show(results: list[Trial], seconds: float) -> None:
    """Print the table and the sum; end with 1 if a training differs."""
    print(f"{'trial':>5} {'killed at':>10}  {'the last state':<60} {'weights':<9} files")
    for t in results:
        for place, (instant, stood) in enumerate(zip(t.instants, t.stood, strict=True)):
            left = f"{t.number:>5}" if place == 0 else " " * 5
            right = f"{'equal' if t.equal else 'DIFFER':<9} {'complete' if t.complete else 'NOT'}"
            last = place == len(t.instants) - 1
            print(f"{left} {instant:>8.2f} s  {stood:<60} {right if last else ''}".rstrip())
    equal = sum(t.equal and t.complete for t in results)
    kills = sum(len(t.instants) for t in results)
    writing = sum("writing" in stood for t in results for stood in t.stood)
    print(
        f"{equal} of {len(results)} resumed trainings have the uninterrupted weights, bit for bit. {kills} kills, "
        f"{kills - len(results)} of them while resuming; {writing} in the midst of writing a file. {seconds:.0f} s."
    )
    sys.exit(equal < len(results))


if __name__ == "__main__":
    main()
