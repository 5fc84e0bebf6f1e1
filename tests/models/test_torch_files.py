from __future__ import annotations

import collections
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_state import PARITY
from torch import nn

from crosscam.errors import CheckpointError
from crosscam.models.torch_files import read_tensors

SAMPLE = PARITY / "authors_checkpoint_sample_legacy.pth"
FORMATS = pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])


class Small(nn.Module):
    """A module with all that a state can hold: a stage, a buffer, a parameter of None, other numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())])
        self.fc = nn.Linear(4, 2)
        self.narrow = nn.Parameter(torch.randn(3, 2).half())
        self.wide = nn.Parameter(torch.randn(2, 3, dtype=torch.float64).t())
        self.register_buffer("flags", torch.tensor([True, False]))
        self.plain = torch.ones(7)
        self.settings = {"margin": 1.2, "scales": (6, 4, 2), "last": None, "names": ["a"]}


def save(thing: object, path: Path, zipped: bool) -> Path:
    torch.save(thing, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def assert_same(found: dict[str, np.ndarray], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


@FORMATS
def test_a_whole_module_gives_its_state_dictionary(tmp_path, zipped):
    torch.manual_seed(0)
    module = Small()
    found = read_tensors(save(module, tmp_path / "m.pth", zipped))
    expected = {k: v.detach() for k, v in module.state_dict().items()}
    assert_same({k: found[k] for k in expected}, expected)
    assert set(found) == set(expected)


@FORMATS
def test_data_parallel_puts_module_before_each_name(tmp_path, zipped):
    module = nn.DataParallel(Small())
    found = read_tensors(save(module, tmp_path / "m.pth", zipped))
    assert set(found) == {f"module.{k}" for k in module.module.state_dict()}


@FORMATS
def test_dictionaries_of_tensors(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    state = {"a": base[1:3, 2:5], "b": base.t()[::2], "c": torch.tensor(5), "d": torch.zeros(0, 3)}
    assert_same(read_tensors(save(state, tmp_path / "s.pth", zipped)), state)
    wrapped = {"state_dict": collections.OrderedDict(state), "epoch": 7}
    assert_same(read_tensors(save(wrapped, tmp_path / "w.pth", zipped)), state)
    own = Small().state_dict()
    assert_same(read_tensors(save(own, tmp_path / "o.pth", zipped)), own)


def test_the_arrays_cannot_be_written(tmp_path):
    found = read_tensors(save({"a": torch.zeros(3)}, tmp_path / "s.pth", True))
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0] = 1


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


class WritesWhenRestored:
    """Its state is restored by code of its own, which writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).write_text("ran")


def attacks(witness: Path) -> dict[str, object]:
    code = f"open({str(witness)!r}, 'w').write('ran')"
    return {
        "system": Calls(os.system, f"touch {witness}"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "popen": Calls(subprocess.Popen, ["touch", str(witness)]),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "open": Calls(open, str(witness), "w"),
        "nested": Calls(torch.load, str(witness)),
    }


@pytest.mark.parametrize("attack", list(attacks(Path("x"))))
@pytest.mark.parametrize("place", ["bare", "bare4", "legacy", "zip", "attribute", "key"])
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, attack, place):
    witness, path = tmp_path / "witness", tmp_path / "evil.pth"
    evil = attacks(witness)[attack]
    if place.startswith("bare"):
        path.write_bytes(pickle.dumps(evil, protocol=4 if place == "bare4" else 2))
    elif place == "attribute":
        module = Small()
        module.settings["evil"] = evil
        save(module, path, zipped=False)
    else:
        save({"w": torch.zeros(2), "evil": evil} if place == "key" else evil, path, zipped=place == "zip")
    message = refusal(path)
    assert "Nothing in it was run, and nothing was loaded." in message
    if place != "bare4":
        assert "asks to call" in message
    assert not witness.exists()


@FORMATS
def test_code_in_the_classes_of_the_file_is_not_run(tmp_path, zipped):
    witness, module = tmp_path / "witness", Small()
    module.settings["extra"] = WritesWhenRestored(witness)
    found = read_tensors(save(module, tmp_path / "m.pth", zipped))
    assert set(found) == set(module.state_dict())
    assert not witness.exists()


def test_modules_that_the_file_names_are_not_imported(tmp_path):
    path = tmp_path / "m.pth"
    name = "this" if "this" not in sys.modules else "antigravity"
    path.write_bytes(b"\x80\x02c" + name.encode() + b"\nthing\n)\x81.")
    refusal(path)
    assert name not in sys.modules


@FORMATS
def test_a_file_cut_short_says_so(tmp_path, zipped):
    path = save(Small(), tmp_path / "m.pth", zipped)
    whole = path.read_bytes()
    for length in (0, 1, 5, 30, len(whole) // 4, len(whole) // 2, len(whole) - 300, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal(path)


def test_the_sample_cut_short_names_what_is_missing(tmp_path):
    path = tmp_path / "cut.pth"
    path.write_bytes(SAMPLE.read_bytes()[:-100])
    assert "is cut short: it ends within the numbers of storage" in refusal(path)


@FORMATS
def test_damaged_bytes_never_give_another_error(tmp_path, zipped):
    torch.manual_seed(0)
    path = save(Small(), tmp_path / "m.pth", zipped)
    whole, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except CheckpointError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert refused > 20


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    assert "Cannot read" in refusal(tmp_path / "none.pth")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "Cannot read" in refusal(folder)
    for content in (b"hello, this is text", b"\x89PNG\r\n\x1a\n", pickle.dumps({"a": 1}, protocol=2)):
        path.write_bytes(content)
        refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no data.pkl here")
    assert "without the one data.pkl" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    assert "compressed archive" in refusal(path)


@pytest.mark.parametrize("thing", [[1, 2], {"a": 1}, {}, nn.ReLU()])
def test_files_without_tensors_are_refused(tmp_path, thing):
    assert "holds" in refusal(save(thing, tmp_path / "x.pth", True))


@FORMATS
def test_tensors_larger_than_their_numbers_are_refused(tmp_path, zipped):
    state = {"a": torch.zeros(1).expand(100_000)}
    assert "larger than its numbers" in refusal(save(state, tmp_path / "x.pth", zipped))


def test_many_tensors_of_the_same_numbers_are_refused(tmp_path):
    base = torch.zeros(100_000)
    state = {str(i): base.view(100_000) for i in range(50)}
    assert "share their numbers" in refusal(save(state, tmp_path / "x.pth", True))


def test_modules_without_end_are_refused(tmp_path):
    module = Small()
    module.stages.append(module)
    assert "contains itself" in refusal(save(module, tmp_path / "x.pth", True))
    # Each level holds the next one twenty times: 20 to the power of 12 modules in a few thousand bytes.
    level: nn.Module = nn.Linear(1, 1)
    for _ in range(12):
        level = nn.Sequential(*[level] * 20)
    assert "without end" in refusal(save(level, tmp_path / "y.pth", True))


def test_a_storage_of_another_kind_is_named(tmp_path):
    path = save({"a": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "x.pth", True)
    assert "'torch.BFloat16Storage', which is not supported" in refusal(path)
