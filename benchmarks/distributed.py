"""Two processes against one with the same batches of 64 images: losses that must agree, and images a second.

    python benchmarks/distributed.py [--steps 8] [--rounds 2]

One start of torchrun with two gloo processes on this machine. They train the same steps in turn: one process alone with
all cores, two with half of them each, and two with batch normalisation over the whole batch. The largest relative
difference of a step's loss is taken against one process, with learning rates that are small and with those of the
paper. Beside it stands that of one process with one thread: the order of sums alone changes the last bits, and large
steps make that grow. Writes ``benchmarks/results/distributed.json``. About 70 seconds on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import torch

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings
from crosscam.system.distributed import World, joined_world
from crosscam.training.callbacks import Listeners, StepReport
from crosscam.training.provenance import versions
from crosscam.training.trainer import train

RESULT = Path(__file__).parent / "results" / "distributed.json"
PROCESSES = 2
# The demo's network.
SETTINGS = ["train.epochs=1", "train.precision=fp32", "optim.name=sgd", "schedule.warmup_epochs=0"]
RATES = {
    "small": ["optim.lr_backbone=1e-6", "optim.lr_head=1e-5"],
    "paper": ["optim.lr_backbone=1e-3", "optim.lr_head=1e-2"],
}
ONE, OTHER_THREADS, OWN, WHOLE = (
    "one process",
    "one process, one thread",
    "two, own statistics",
    "two, of the whole batch",
)


class Enough(Exception):
    """The steps that were asked for are done; all processes end at the same one."""


@contextmanager
def alone() -> Iterator[None]:
    """Within the block a training takes this process for the only one."""
    before = os.environ["WORLD_SIZE"]
    os.environ["WORLD_SIZE"] = "1"
    try:
        yield
    finally:
        os.environ["WORLD_SIZE"] = before


def steps_of(data: Path, steps: int, *settings: str) -> tuple[list[float], float]:
    """Losses of the first steps, and images a second in the median of all but the first two."""
    recipe = with_settings(find_recipe("demo"), [*SETTINGS, *settings])
    losses: list[float] = []
    times: list[float] = []

    def step(report: StepReport) -> None:
        losses.append(report.loss)
        times.append(time.perf_counter())
        if len(losses) == steps:
            raise Enough

    with tempfile.TemporaryDirectory() as folder, suppress(Enough):
        train(recipe, read_dataset(data), Path(folder), listeners=Listeners(step=step))
    if len(losses) < steps:
        raise SystemExit(f"An epoch has {len(losses)} steps only; lower --steps.")
    seconds = statistics.median(b - a for a, b in pairwise(times[1:]))
    return losses, recipe.data.batch_ids * recipe.data.batch_images / seconds


def variant(world: World, name: str, rates: str, data: Path, steps: int, cores: int) -> tuple[list[float], float]:
    """One training; the second process waits while the first one trains alone."""
    world.barrier()
    settings = [*RATES[rates], f"train.sync_batch_norm={str(name == WHOLE).lower()}"]
    if name in (OWN, WHOLE):
        torch.set_num_threads(max(1, cores // world.size))
        return steps_of(data, steps, *settings)
    if world.rank:
        return [], 0.0
    torch.set_num_threads(cores if name == ONE else 1)
    with alone():
        return steps_of(data, steps, *settings)


def child(data: Path, steps: int, rounds: int) -> None:
    """What each process does; the first one prints."""
    cores = len(os.sched_getaffinity(0))
    order = [(name, "small") for name in (ONE, OWN, WHOLE)] * rounds + [(OTHER_THREADS, "small")]
    order += [(name, "paper") for name in (ONE, OWN, WHOLE, OTHER_THREADS)]
    losses: dict[str, dict[str, list[float]]] = {rates: {} for rates in RATES}
    speeds: dict[str, list[float]] = {name: [] for name in (ONE, OWN, WHOLE, OTHER_THREADS)}
    with joined_world() as world:
        for name, rates in order:
            losses[rates][name], speed = variant(world, name, rates, data, steps, cores)
            if rates == "small":
                speeds[name].append(speed)
    if world.rank == 0:
        show(losses, speeds, cores)


def show(losses: dict[str, dict[str, list[float]]], speeds: dict[str, list[float]], cores: int) -> None:
    """Print the table, write the file."""
    rows = []
    for name in speeds:
        ratios = [a / b for a, b in zip(speeds[name], speeds[ONE], strict=False)]
        differences = {
            f"loss_{rates}": max(abs(a - b) / abs(a) for a, b in zip(found[ONE], found[name], strict=True))
            for rates, found in losses.items()
        }
        speed = {"images_per_second": statistics.median(speeds[name]), "ratio": statistics.median(ratios)}
        rows.append({"name": name, **speed, **differences})
    steps = len(losses["small"][ONE])
    print(f"| {cores} cores | images/s | ratio | loss of {steps} steps, small rates | the paper's rates |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['name']} | {row['images_per_second']:.1f} | {row['ratio']:.2f} | {row['loss_small']:.1e} | "
            f"{row['loss_paper']:.1e} |"
        )
    found = {"rows": rows, "losses": losses, "cores": cores, "processes": PROCESSES, "versions": versions()}
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Draw people, start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", type=Path, metavar="DATA", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.steps, options.rounds)
        return
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "people"
        render_dataset(data, ids=48, cameras=4, images=4, collide=0.3, seed=0, test_share=0.1)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
        numbers = ["--steps", str(options.steps), "--rounds", str(options.rounds)]
        command = [sys.executable, *launcher, __file__, "--child", str(data), *numbers]
        # torchrun says a word about threads when this is not set; the processes set their own.
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
