"""Several processes under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from small_training import Interruption, kill_at, small_recipe
from two_processes import EPOCHS, STREAMED, TRAINING_IMAGES, described, digest_of, recipe_and_data

from crosscam.data.records import ReidDataset
from crosscam.errors import TrainingError
from crosscam.experiments.experiment import REPORT, SCORES, run_experiment
from crosscam.recipes.checkpoint import PROVENANCE, STATE, load_weights
from crosscam.system import distributed
from crosscam.system.distributed import PATIENCE, Split, World, is_first_process, joined_world
from crosscam.training.callbacks import Listeners, read_history
from crosscam.training.run import RunState
from crosscam.training.trainer import train

HERE = Path(__file__).parent
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Launched:
    """What two processes found, see two_processes.py, and the same by one process.

    Attributes:
        place: folder of all that was written.
        found: by each process.
        losses: of each step of one process that was never stopped.
    """

    place: Path
    found: tuple[dict[str, Any], dict[str, Any]]
    losses: list[float]


@pytest.fixture(scope="module")
def launched(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    place = tmp_path_factory.mktemp("together")
    recipe, part = recipe_and_data(rendered)
    losses: list[float] = []
    with threads(1):
        train(recipe, part, place / "alone", listeners=Listeners(step=lambda r: losses.append(r.loss)))
        with pytest.raises(Interruption):
            train(recipe, part, place / "one", listeners=kill_at(2, 3))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(HERE / "two_processes.py"), str(rendered.root), str(place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    files = [place / f"found{rank}.json" for rank in (0, 1)]
    assert all(f.exists() for f in files), done.stderr[-4000:]
    first, second = (json.loads(f.read_text()) for f in files)
    assert done.returncode != 0, "a process was killed"
    return Launched(place, (first, second), losses)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_two_processes_have_the_losses_of_one(launched: Launched) -> None:
    assert len(launched.losses) == EPOCHS * 9
    for found in launched.found:
        np.testing.assert_allclose(found["losses"], launched.losses, rtol=1e-5)
    together, alone = (read_history(launched.place / name) for name in ("together", "alone"))
    assert [r["epoch"] for r in together] == [1, 2]
    for name in ("loss", "triplet", "cross_entropy"):
        np.testing.assert_allclose([r[name] for r in together], [r[name] for r in alone], rtol=1e-5)
    a, b = (json.loads((launched.place / n / PROVENANCE).read_text())["images_seen"] for n in ("together", "alone"))
    assert a == b == EPOCHS * 2 * TRAINING_IMAGES
    weights, expected = (load_weights(launched.place / name) for name in ("together", "alone"))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)


def test_both_stop_where_one_was_asked_to_and_nothing_is_left_over(launched: Launched) -> None:
    first, second = (found["stopped"] for found in launched.found)
    assert first == second
    assert first.startswith("Stopped as asked in epoch 2, batch 4 of 9")
    names = {p.name for p in (launched.place / "together").iterdir() if p.is_file()}
    readable = ("metrics.jsonl", "provenance.json", "recipe.json", "trained_on.json", "weights.safetensors")
    assert names == {*readable, SCORES, REPORT}


def test_a_training_of_one_goes_on_with_two(launched: Launched) -> None:
    # The kill came in the midst of an accumulation; the last step before it ended with batch 2 of epoch 2.
    for found in launched.found:
        np.testing.assert_allclose(found["tail"], launched.losses[9 + 2 :], rtol=1e-5)


def test_a_lost_process_ends_the_other_by_one_line_and_one_goes_on(launched: Launched, rendered: ReidDataset) -> None:
    said = (launched.place / "lost0").read_text()
    assert said.startswith("TrainingError: Another of the 2 processes is lost or silent (")
    assert "--resume" in said
    assert "\n" not in said
    assert not (launched.place / "lost1").exists()
    folder = launched.place / "killed"
    state = torch.load(folder / STATE, weights_only=True)
    assert (state["epoch"], state["batch"], state["processes"]) == (2, 2, 2)
    recipe, part = recipe_and_data(rendered)
    with threads(2):
        run = RunState(recipe, part, folder)
        run.start(pretrained=False)
        run.restore(state)
        assert torch.get_num_threads() == 2, "the threads of another number of processes say nothing"
    losses: list[float] = []
    with threads(1):
        train(recipe, part, folder, resume=True, listeners=Listeners(step=lambda r: losses.append(r.loss)))
    np.testing.assert_allclose(losses, launched.losses[9 + 2 :], rtol=1e-5)
    assert [r["epoch"] for r in read_history(folder)] == [1, 2]


def test_identities_have_the_same_class_in_every_process(launched: Launched, rendered: ReidDataset) -> None:
    _, part = recipe_and_data(rendered)
    pids = sorted({s.pid for s in part.train})
    shares = [found["shares"] for found in launched.found]
    for found in launched.found:
        assert found["labels"] == [pids.index(s.pid) for s in part.train]
    seen = [{found["labels"][i] for share in found["shares"] for i in share} for found in launched.found]
    assert seen[0] | seen[1] == set(range(len(pids))), "no process numbers its own people from zero"
    assert [(len(a), len(b)) for a, b in zip(*shares, strict=True)] == [(6, 4)] * 8 + [(2, 2)]
    assert shares[0][-1] == shares[1][-1], "what cannot be divided is done by both"


def test_statistics_of_the_whole_batch_are_those_of_one_process(launched: Launched) -> None:
    for found in launched.found:
        assert len(found["norms"]) == 3
        assert max(found["norms"]) < 1e-10


def test_without_them_the_processes_still_end_with_the_same_weights(launched: Launched) -> None:
    first, second = (found["own"] for found in launched.found)
    assert first == second == digest_of(load_weights(launched.place / "own"))


def test_scores_by_two_processes_are_those_of_one(launched: Launched, rendered: ReidDataset) -> None:
    recipe, part = recipe_and_data(rendered)
    with threads(1):
        scores = run_experiment(recipe, part, launched.place / "together", resume=True)
    first, second = (found["scores"] for found in launched.found)
    assert second == []
    assert first == [s.to_dict() for s in scores]
    together, alone = (read_history(launched.place / name) for name in ("together", "alone"))
    assert "mAP" in together[-1]
    assert not any("mAP" in r for r in alone)


def test_descriptors_by_two_processes_are_those_of_one(launched: Launched, rendered: ReidDataset) -> None:
    with threads(1):
        described(rendered, launched.place / "alone.npz")
    with np.load(launched.place / "shared.npz") as shared, np.load(launched.place / "alone.npz") as alone:
        assert set(shared) == set(alone)
        assert len(shared["paths"]) == STREAMED
        assert list(shared["paths"]) == list(alone["paths"])
        np.testing.assert_allclose(shared["descriptors"], alone["descriptors"], atol=1e-6)
    assert not (launched.place / "shared.npz.parts").exists()


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
def test_the_parts_of_all_processes_are_the_batch_in_whole_groups(groups: int, size: int) -> None:
    splits = [World(rank, size, CPU).split(groups * 4, 4) for rank in range(size)]
    batch = np.random.default_rng(0).permutation(groups * 4)
    assert np.array_equal(np.concatenate([batch[s.rows] for s in splits]), batch)
    assert all(s.counts == splits[0].counts and s.total == len(batch) for s in splits)
    assert all(count % 4 == 0 for count in splits[0].counts)
    assert max(splits[0].counts) - min(splits[0].counts) <= 4
    assert splits[0].shared is (size > 1)


@pytest.mark.parametrize(("images", "group"), [(8, 4), (4, 1)])
def test_a_batch_that_is_too_small_is_everybodys(images: int, group: int) -> None:
    for rank in range(3):
        split = World(rank, 3, CPU).split(images, group)
        assert not split.shared
        assert split.rows == slice(0, images)


@pytest.mark.parametrize(
    ("items", "group", "counts"), [(10, 4, (8, 2)), (3, 4, (3, 0)), (16, 4, (8, 8)), (1, 1, (1, 0))]
)
def test_items_are_divided_by_whole_groups(items: int, group: int, counts: tuple[int, int]) -> None:
    for rank in (0, 1):
        assert World(rank, 2, CPU).part(items, group) == Split(counts, rank)


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
    monkeypatch.setattr(dist, "init_process_group", lambda _, timeout: None)
    monkeypatch.setattr(dist, "is_initialized", lambda: bool(made))
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


def test_a_failed_exchange_is_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(distributed, "_join", lambda _: None)
    monkeypatch.setattr(distributed, "_outlive_the_launcher", lambda: None)
    gloo = "[/some/where/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1. Check the logs."
    expected = r"Another of the 3 processes is lost or silent \(Connection closed by peer \[127.0.0.1\]:1\)\."
    with pytest.raises(TrainingError, match=expected), joined_world():
        raise RuntimeError(gloo)
    with pytest.raises(RuntimeError, match="shapes differ"), joined_world():
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "inf"])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(TrainingError, match=f"CROSSCAM_PATIENCE={text}: expected a number of seconds"), joined_world():
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(TrainingError, match="Process 3 of this machine has no GPU: it has 2"), joined_world():
        pass
