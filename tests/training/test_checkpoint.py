"""Run folders: nothing half written, nothing unsafe read, and one line for what is wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_training import Interruption, kill_at, same_weights, small_recipe, trained

from crosscam.data.records import ReidDataset
from crosscam.errors import BusyError, CheckpointError, CrosscamError, TrainingError
from crosscam.models.rrid import RRID
from crosscam.recipes import checkpoint
from crosscam.recipes.checkpoint import (
    check_same_training,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from crosscam.system.locks import FOLDER_LOCK
from crosscam.training import callbacks
from crosscam.training.callbacks import Listeners, Logbook, read_history
from crosscam.training.trainer import train


def full_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def whole(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> RRID:
    """The small training without any trouble."""
    return trained(small_recipe(), rendered, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.WEIGHTS, checkpoint.PROVENANCE])
def test_a_disk_that_fills_up_leaves_the_last_good_files(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RRID, name: str
) -> None:
    recipe, folder = small_recipe(), tmp_path / "run"
    write, calls = checkpoint.write_atomically, 0
    before: dict[str, bytes] = {}

    def fills_up(path: Path, fill: object) -> None:
        nonlocal calls
        calls += path.name == name
        if path.name == name and calls == 2:
            before.update({p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != FOLDER_LOCK})
            write(path, full_disk)
        write(path, fill)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", fills_up)
        with pytest.raises(TrainingError, match="No space left on device") as caught:
            train(recipe, rendered, folder)
    assert "\n" not in str(caught.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != FOLDER_LOCK} == before
    found = trained(recipe, rendered, folder, resume=True)
    assert same_weights(found.state_dict(), whole.state_dict())
    assert [r["epoch"] for r in read_history(folder)] == [1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte, where this process may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True)
    except OSError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip("this process may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", [2**18, 2**20])
def test_a_disk_that_is_really_full_leaves_the_last_good_files(small_disk: Path, size: int) -> None:
    good, large = {"a": torch.arange(1000.0)}, {"a": torch.zeros(size)}
    save_state(small_disk, good)
    save_weights(small_disk, good)
    before = {p.name: p.read_bytes() for p in small_disk.iterdir()}
    for save in (save_state, save_weights):
        with pytest.raises(TrainingError, match="No space left on device") as caught:
            save(small_disk, large)
        assert "\n" not in str(caught.value)
        assert {p.name: p.read_bytes() for p in small_disk.iterdir()} == before


def test_a_training_on_a_disk_that_is_really_full_stops_with_one_line(rendered: ReidDataset, small_disk: Path) -> None:
    with pytest.raises(TrainingError, match="No space left on device") as caught:
        train(small_recipe("model.dim=256"), rendered, small_disk / "run")
    assert "\n" not in str(caught.value)
    assert not list((small_disk / "run").glob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"state\.pt \(File exists\)"):
        save_state(tmp_path / "file", {"a": torch.zeros(1)})
    save_state(tmp_path / "new" / "folder", {"a": torch.zeros(1)})
    assert (tmp_path / "new" / "folder" / checkpoint.STATE).is_file()


class Attack:
    """A pickle that would run a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "attack", "zip attack", "tensor", "other", "list"])
def test_a_state_that_is_none_is_refused_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / checkpoint.STATE, tmp_path / "trace"
    save_state(tmp_path, {"a": torch.zeros(1000)})
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "text":
        path.write_text("no state")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "attack":
        path.write_bytes(pickle.dumps(Attack(trace), protocol=2))
    elif kind == "zip attack":
        buffer = io.BytesIO()
        torch.save({"recipe": Attack(trace)}, buffer)
        path.write_bytes(buffer.getvalue())
    elif kind in ("tensor", "list"):
        torch.save(torch.zeros(2, 2) if kind == "tensor" else [1, 2], path)
    with pytest.raises(CheckpointError, match=r"state\.pt") as caught:
        load_state(tmp_path, small_recipe(), "0")
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    weights = {
        "conv": torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).t(),
        "count": torch.tensor(7),
        "half": torch.randn(3).bfloat16(),
    }
    save_weights(tmp_path, weights)
    assert same_weights(load_weights(tmp_path), weights)


@pytest.mark.parametrize("damage", ["{", "[]", "{}", json.dumps({"imported_from": "a.pth"})])
def test_a_finished_folder_without_its_data_fingerprint_is_not_resumed(tmp_path: Path, damage: str) -> None:
    checkpoint.save_recipe(tmp_path, small_recipe())
    (tmp_path / checkpoint.PROVENANCE).write_text(damage)
    with pytest.raises(CheckpointError, match=r"provenance\.json cannot be read") as caught:
        check_same_training(tmp_path, small_recipe(), "0")
    assert "\n" not in str(caught.value)


def record(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "loss": 1 / epoch}


def test_the_history_keeps_the_epochs_that_stay(tmp_path: Path) -> None:
    with Logbook(tmp_path) as book:
        for epoch in (1, 2, 3):
            book.write(record(epoch))
    assert read_history(tmp_path) == [record(e) for e in (1, 2, 3)]
    with Logbook(tmp_path, keep_epochs=2) as book:
        assert read_history(tmp_path) == [record(1), record(2)]
        book.write(record(3))
    assert read_history(tmp_path) == [record(e) for e in (1, 2, 3)]


def test_a_torn_last_line_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / callbacks.METRICS
    path.write_text(json.dumps(record(1)) + "\n" + json.dumps(record(2))[:9])
    assert read_history(tmp_path) == [record(1)]
    with Logbook(tmp_path, keep_epochs=1) as book:
        book.write(record(2))
    assert read_history(tmp_path) == [record(1), record(2)]
    path.write_text("{\n" + json.dumps(record(2)) + "\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 1 is damaged") as caught:
        read_history(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_kill_while_the_history_is_cut_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Logbook(tmp_path) as book:
        book.write(record(1))
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(TrainingError):
        Logbook(tmp_path, keep_epochs=1)
    assert read_history(tmp_path) == [record(1)]


def test_a_full_disk_stops_the_logbook_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Logbook(tmp_path) as book:
        book.write(record(1))
        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(TrainingError, match=r"metrics\.jsonl \(No space left on device\)"):
            book.write(record(2))


def changed(path: Path, name: str = "") -> None:
    """Flip one number, in a file that can still be read."""
    if path.name == checkpoint.STATE:
        state = torch.load(path, weights_only=True)
        first = next(v for v in state[name or "model"].values() if v.dtype.is_floating_point)
        first[(0,) * first.dim()] += 0.5
        torch.save(state, path)
    else:
        data = bytearray(path.read_bytes())
        data[-5] ^= 64
        path.write_bytes(bytes(data))


def test_a_state_whose_numbers_were_changed_is_not_taken_up(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe = small_recipe("train.ema=0.9")
    with pytest.raises(Interruption):
        train(recipe, rendered, tmp_path, listeners=kill_at(2, 1))
    state = torch.load(tmp_path / checkpoint.STATE, weights_only=True)
    assert load_state(tmp_path, recipe, rendered.fingerprint()) is not None
    for name in ("model", "average"):
        changed(tmp_path / checkpoint.STATE, name)
        with pytest.raises(CheckpointError, match=r"state\.pt is damaged: its numbers are not those"):
            train(recipe, rendered, tmp_path, resume=True)
        torch.save(state, tmp_path / checkpoint.STATE)
    moment = next(iter(state["optimizer"]["state"].values()))
    number = next(v for v in moment.values() if torch.is_tensor(v) and v.dim())
    number[(0,) * number.dim()] += 1e-3
    torch.save(state, tmp_path / checkpoint.STATE)
    with pytest.raises(CheckpointError, match=r"state\.pt is damaged"):
        load_state(tmp_path, recipe, rendered.fingerprint())
    # One of an earlier version says nothing of its numbers.
    del state[checkpoint.DIGEST]
    torch.save(state, tmp_path / checkpoint.STATE)
    assert load_state(tmp_path, recipe, rendered.fingerprint()) is not None


def test_weights_whose_numbers_were_changed_are_not_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.0, dtype=torch.bfloat16)}
    save_weights(tmp_path, tensors)
    assert same_weights(load_weights(tmp_path), tensors)
    changed(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged: its numbers"):
        load_weights(tmp_path)
    save_file(tensors, tmp_path / checkpoint.WEIGHTS)  # as an earlier version wrote it
    assert same_weights(load_weights(tmp_path), tensors)


def test_the_second_training_of_a_folder_is_refused(rendered: ReidDataset, tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def begin_another(report: object) -> None:
        if refused:
            return
        for resume in (False, True):
            thread = threading.Thread(target=start, args=(resume,))
            thread.start()
            thread.join()

    def start(resume: bool) -> None:
        try:
            train(small_recipe("model.dim=4"), rendered, tmp_path / "run", resume=resume)
        except CrosscamError as error:
            refused.append(error)

    train(small_recipe(), rendered, tmp_path / "run", listeners=Listeners(step=begin_another))
    assert len(refused) == 2
    assert all("run is being written by process" in str(e) or "already holds a training" in str(e) for e in refused)
    assert any(isinstance(e, BusyError) for e in refused)
    assert load_weights(tmp_path / "run")
    assert checkpoint.load_recipe(tmp_path / "run").model == small_recipe().model


def test_a_resumed_training_keeps_its_number_of_threads_and_says_so(rendered: ReidDataset, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    said: list[str] = []
    used: set[int] = set()
    try:
        torch.set_num_threads(2)
        with pytest.raises(Interruption):
            train(small_recipe(), rendered, tmp_path / "run", listeners=kill_at(2, 1))
        torch.set_num_threads(1)
        listeners = Listeners(note=said.append, step=lambda _: used.add(torch.get_num_threads()))
        train(small_recipe(), rendered, tmp_path / "run", resume=True, listeners=listeners)
    finally:
        torch.set_num_threads(before)
    assert used == {2}
    threads = [line for line in said if "threads" in line]
    assert threads == ["Going on with 2 threads, as the training began, so that its numbers stay the same."]
