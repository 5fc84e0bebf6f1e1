"""Several processes under torchrun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from small_training import Interruption, kill_at, small_recipe

from crosscam.data.records import ReidDataset
from crosscam.training import checkpoint
from crosscam.training.checkpoint import load_weights
from crosscam.training.distributed import World, is_first_process, joined_world
from crosscam.training.logbook import read_history
from crosscam.training.loop import train

HERE = Path(__file__).parent
CPU = torch.device("cpu")

PROGRAM = """
import hashlib, os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {here!r})
from small_training import small_recipe
from crosscam.data.readers import read_dataset
from crosscam.errors import CrosscamError
from crosscam.training.loop import Listeners, train

root, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]

def step(report):
    # Only one process is asked; both must stop, at the same batch.
    if {stop} and rank == "1" and report.epoch == 2 and report.batch == 2:
        os.kill(os.getpid(), signal.SIGTERM)

try:
    recipe, dataset, listeners = small_recipe(*{settings!r}), read_dataset(root), Listeners(step=step)
    model = train(recipe, dataset, folder, resume={resume}, listeners=listeners)
    text = b"".join(v.contiguous().numpy().tobytes() for v in model.state_dict().values())
    found = hashlib.sha256(text).hexdigest()
except CrosscamError as error:
    found = f"{{type(error).__name__}}: {{error}}"
(folder / f"found{{rank}}").write_text(found)
"""


def torchrun(root: Path, folder: Path, *settings: str, resume: bool = False, stop: bool = False) -> list[str]:
    """What each of two processes found: the digest of its weights, or its error."""
    program = folder.with_suffix(".py")
    program.write_text(PROGRAM.format(here=str(HERE), settings=settings, resume=resume, stop=stop))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(program), str(root), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [(folder / f"found{rank}").read_text() for rank in (0, 1)]


def test_two_processes_agree_and_stop_together_and_one_can_go_on(rendered: ReidDataset, tmp_path: Path) -> None:
    folder, alone = tmp_path / "run", tmp_path / "alone"
    settings = ("train.epochs=2", "train.accumulate=2", "data.sampler=anchors", "data.batch_ids=8")
    errors = torchrun(rendered.root, folder, *settings, stop=True)
    assert errors[0] == errors[1]
    assert errors[0].startswith("StoppedError: Stopped as asked in epoch 2, batch 2 of")
    state = torch.load(folder / checkpoint.STATE, weights_only=True)
    assert (state["epoch"], state["batch"], state["processes"]) == (2, 2, 2)
    assert state["images_seen"] == 2 * len(rendered.train) + 2 * 16
    shutil.copytree(folder, alone)

    digests = torchrun(rendered.root, folder, *settings, resume=True)
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64, digests[0]
    assert [r["epoch"] for r in read_history(folder)] == [1, 2]
    assert all(torch.isfinite(v).all() for v in load_weights(folder).values())
    names = {p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("found")}
    assert names == {"metrics.jsonl", "provenance.json", "recipe.json", "weights.safetensors"}

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        model = train(small_recipe(*settings), rendered, alone, resume=True)
        assert torch.get_num_threads() == 2, "the threads of another number of processes say nothing"
    finally:
        torch.set_num_threads(threads)
    assert [r["epoch"] for r in read_history(alone)] == [1, 2]
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


def test_a_training_of_one_keeps_its_number_of_threads(rendered: ReidDataset, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with pytest.raises(Interruption):
            train(small_recipe("train.checkpoint_steps=1"), rendered, tmp_path, listeners=kill_at(1, 2))
        torch.set_num_threads(2)
        train(small_recipe("train.checkpoint_steps=1"), rendered, tmp_path, resume=True)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("groups", "size"), [(16, 1), (16, 2), (16, 4), (7, 3), (5, 2)])
def test_the_shares_of_all_processes_are_the_batch_in_whole_groups(groups: int, size: int) -> None:
    batch = np.random.default_rng(0).permutation(groups * 4)
    shares = [World(rank, size, CPU).share(batch, 4) for rank in range(size)]
    assert np.array_equal(np.concatenate(shares), batch)
    assert all(len(share) % 4 == 0 for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= 4


def test_one_process_needs_nobody_to_agree() -> None:
    with joined_world() as world:
        assert (world.rank, world.size) == (0, 1)
        world.barrier()
        assert world.any(True)
        assert not world.any(False)
        assert world.same((1, 2))
        values = torch.ones(2)
        world.take_from_first([values])
        assert values.tolist() == [1, 1]


def test_what_used_the_group_is_gone_before_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper:
        pass

    made, gone = [], []

    def fail() -> None:
        wrapper = Wrapper()
        wrapper.itself = wrapper
        made.append(weakref.ref(wrapper))
        raise ValueError("stop")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda _: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: gone.append(made[0]() is None))
    with pytest.raises(ValueError, match="stop"), joined_world():
        fail()
    assert gone == [True]


def test_the_first_process_is_known_by_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_process()
    for rank, first in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert is_first_process() is first
