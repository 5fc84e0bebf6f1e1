"""``evaluate --splits``: the mean over random splits, each as it is scored alone; and ``data join --generalize``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process import Run

from crosscam.data.datasets.readers import read_dataset


@pytest.fixture
def viper(place: Path) -> Path:
    """The drawn people at their first two cameras, with VIPeR's names."""
    samples = [s for some in read_dataset(place / "people").subsets.values() for s in some if s.pid > 0]
    firsts = {(s.pid, s.camid): s for s in reversed(samples)}
    cameras = sorted({s.camid for s in samples})[:2]
    both = [pid for pid in sorted({s.pid for s in samples}) if all((pid, c) in firsts for c in cameras)]
    for camid, folder in zip(cameras, ("cam_a", "cam_b"), strict=True):
        (place / "VIPeR" / folder).mkdir(parents=True)
        for number, pid in enumerate(both):
            shutil.copy(firsts[pid, camid].path, place / "VIPeR" / folder / f"{number:03}_{camid}.jpg")
    return place / "VIPeR"


def test_the_mean_over_splits_is_that_of_each_alone(crosscam: Run, viper: Path) -> None:
    assert viper.is_dir()
    status, out, err = crosscam("evaluate run --data VIPeR --splits 3 --expand 1 --json --out all.json")
    assert status == 0, err
    found = json.loads(out)
    assert len(found["scores"]) == 6
    for number in range(3):
        status, out, err = crosscam(f"evaluate run --data VIPeR --split {number} --expand 1 --json --out one.json")
        assert status == 0, err
        for mine, alone in zip(found["scores"][number::3], json.loads(out)["scores"], strict=True):
            assert mine["mAP"] == pytest.approx(alone["mAP"], abs=1e-9)
            assert mine["data_fingerprint"] == alone["data_fingerprint"]
    plain, expanded = found["means"]
    assert plain["mAP"]["mean"] == pytest.approx(np.mean([s["mAP"] for s in found["scores"][:3]]))
    assert expanded["name"].startswith("query expansion")
    status, out, err = crosscam("evaluate run --data VIPeR --splits 3")
    assert status == 0, err
    assert "mean of 3 splits" in out


def test_splits_that_make_no_sense_are_one_line(crosscam: Run, viper: Path) -> None:
    assert viper.is_dir()
    for words, message in (
        ("--data VIPeR --splits 0", "expected at least 1"),
        ("--data VIPeR --splits 2 --split 1", "Leave --split and --report out"),
        ("--data VIPeR --splits 2 --protocol all", "are the same"),
        ("--data people --splits 2", "--split means nothing for"),
    ):
        status, out, err = crosscam(f"evaluate run {words}")
        assert (status, out) == (2, "")
        assert message in " ".join(err.split())


def test_a_protocol_of_generalization_needs_its_data_sets(crosscam: Run, viper: Path) -> None:
    assert viper.is_dir()
    for words, message in (
        ("--generalize protocol-1 --test viper", "market1501, cuhk02, cuhk03, cuhk-sysu is missing"),
        ("--generalize protocol-9 --test viper", "Expected one of dimn"),
        ("--test viper", "Give both, or neither"),
    ):
        status, _, err = crosscam(f"data join out.csv VIPeR {words}")
        assert status == 2
        assert message in " ".join(err.split())
