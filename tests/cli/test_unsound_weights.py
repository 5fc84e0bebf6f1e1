"""A network whose weights are not finite, or that gives zeros alone, is refused by every command that describes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from crosscam.cli import calibrate, demo
from crosscam.experiments import scoring
from crosscam.recipes import checkpoint
from crosscam.shipped import run_folder

Run = Callable[[str], tuple[int, str, str]]
Spoil = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def with_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: torch.full_like(v, torch.nan) if v.is_floating_point() else v for k, v in tensors.items()}


def with_zeros(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: torch.zeros_like(v) for k, v in tensors.items()}


SMALL = (
    "--scale small --epochs 1 "
    "--recipe-override model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1 "
    "--recipe-override model.dim=4 --recipe-override data.height=96 --recipe-override data.width=16 "
    "--recipe-override data.batch_ids=2 --recipe-override data.batch_images=2 "
    "--recipe-override train.precision=fp32"
)
SPOILT = [(with_nan, "is not finite"), (with_zeros, "has length 0")]


def spoil(folder: Path, change: Spoil) -> None:
    """Change the weights of a run folder, as a training that went astray would."""
    file = folder / checkpoint.WEIGHTS
    save_file(change(load_file(file)), file)


@pytest.mark.parametrize(("change", "fault"), SPOILT)
@pytest.mark.parametrize(
    ("command", "subset"),
    [
        ("evaluate run --data people", "query"),
        ("evaluate run --data people --json", "query"),
        ("calibrate run --data people", "query"),
        ("gallery add g run people", "bounding_box_test"),
        ("gallery search g run {second}", "query"),
        ("explain run {first} {second}", "query"),
        ("extract run people/query v.npz", "query"),
        ("export run --data people", "query"),
    ],
)
def test_refused_in_one_line(
    crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch, change: Spoil, fault: str, command: str, subset: str
) -> None:
    first, second, *_ = sorted((place / "people/query").glob("*.jpg"))
    monkeypatch.setattr(calibrate, "check_calibration", lambda *_, **__: None)  # of few images
    spoil(place / "run", change)
    assert crosscam("gallery create g run")[0] == 0
    status, out, err = crosscam(command.format(first=first, second=second))
    assert status == 2, (out, err)
    last = err.splitlines()[-1]
    assert last.startswith("crosscam: The descriptor of "), err
    assert fault in last
    assert f"{subset}/" in last or Path(subset).name in last or first.name in last or second.name in last
    assert "weights" in last
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(("change", "fault"), SPOILT)
def test_own_images(crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch, change: Spoil, fault: str) -> None:
    shutil.copytree(run_folder(demo.MINI), place / "mini")
    spoil(place / "mini", change)
    monkeypatch.setattr(demo, "MINI", place / "mini")
    status, out, err = crosscam("demo --photos people/bounding_box_test --out own")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("crosscam: The descriptor of ")
    assert fault in err
    assert "bounding_box_test/" in err


@pytest.mark.parametrize(("value", "fault"), [(np.nan, "is not finite"), (0.0, "has length 0")])
def test_a_row_of_a_table(
    crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch, value: float, fault: str
) -> None:
    def descriptors(model: object, images: list[object], *_: object, **__: object) -> object:
        return np.full((len(images), 3), value, np.float32)

    monkeypatch.setattr(scoring, "extract", descriptors)
    status, _, err = crosscam(f"reproduce table2 --data people --out study --rows gf-gap {SMALL}")
    last = err.splitlines()[-1]
    assert (status, "Traceback" in err) == (2, False)
    assert last.startswith("crosscam: The descriptor of "), err
    assert fault in last
    assert "query/" in last
    assert not list((place / "study").rglob("result.json"))
