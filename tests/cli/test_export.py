"""``crosscam export``, and ``extract`` with all it takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.datasets.table import write_table
from crosscam.inference.extractor import Extractor

Run = Callable[..., tuple[int, str, str]]


def test_export_and_extract_with_the_file(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("export run --data people --json")
    assert status == 0, err
    told = json.loads(out)
    assert told["out"] == "run/model.onnx"
    assert told["cosine_min"] > 0.9999
    assert told["mAP"] - told["mAP_torch"] == pytest.approx(told["mAP_change"])
    assert told["fingerprint"] == Extractor.load(place / "run").fingerprint
    assert crosscam("extract run people/query a.npz")[0] == 0
    assert crosscam("extract run/model.onnx people/query b.npz")[0] == 0
    with np.load(place / "a.npz") as a, np.load(place / "b.npz") as b:
        np.testing.assert_allclose(a["descriptors"], b["descriptors"], atol=1e-4)
        assert str(a["fingerprint"]) == str(b["fingerprint"]) == told["fingerprint"]
    status, _, err = crosscam("evaluate run/model.onnx --data people")
    assert (status, "run/model.onnx was exported by crosscam" in err) == (2, True)


def test_export_to_openvino_without_the_mirror(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("export run --format openvino --out sub/m.xml --no-flip --batch 4")
    assert status == 0, err
    assert "cosine_min" in out
    assert "sub/m.xml written: fp32, without the mirror pass, fingerprint " in err
    assert not Extractor.load(place / "sub/m.xml").flip
    assert crosscam("gallery create g sub/m.xml")[0] == 0
    rows = [f"{s.path},{s.pid},{s.camid}" for part in read_dataset(place / "people").subsets.values() for s in part]
    (place / "own.csv").write_text("\n".join(["path,pid,camid", *rows]) + "\n")
    status, out, err = crosscam("calibrate sub/m.xml --data own.csv --fmr 0.2 --fnmr 0.95 --out c.json --json")
    assert status == 0, err
    assert json.loads(out)["origin"]["flip"] is False
    for command in ("export sub/m.xml", f"explain sub/m.xml {rows[0].split(',')[0]} {rows[1].split(',')[0]}"):
        status, _, err = crosscam(command)
        assert (status, "An exported file holds no network of torch" in err) == (2, True), err


def test_export_int8_from_a_folder_of_images(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("export run --int8 --calibration people/query --json")
    # A network with random weights of four channels may be rounded too far; then nothing is written.
    assert status == 0 or ("model-int8.onnx is not written" in err and not (place / "run/model-int8.onnx").exists())
    if status == 0:
        assert json.loads(out)["precision"] == "int8"


def test_a_dataset_on_which_no_score_can_be_measured_is_told_of(crosscam: Run, place: Path) -> None:
    rows = [f"{s.path},{s.pid},{s.camid}" for s in read_dataset(place / "people").query]
    (place / "own.csv").write_text("\n".join(["path,pid,camid", *rows]) + "\n")
    for options in ("", "--int8 --max-drop 0.5", "--int8 --calibration people/query"):
        status, out, err = crosscam(f"export run --data own.csv {options}")
        assert (status, out) == (2, "")
        assert "own.csv has no query and gallery, on which mAP could be measured" in err.splitlines()[-1]
    _, _, err = crosscam("export run --data own.csv --int8")
    assert "note: own.csv has no query and gallery: it gives the ranges of --int8, and mAP is not measured" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out m.pt", "m.pt cannot be written. Expected a name that ends in .onnx"),
        ("--batch many", "--batch many: expected a number of images, at most 65,536, or dynamic."),
        ("--batch 0", "--batch 0: expected"),
        ("--int8", "int8 takes its ranges from images"),
    ],
)
def test_export_refuses_in_one_line(crosscam: Run, options: str, message: str) -> None:
    status, _, err = crosscam(f"export run {options}")
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_extract_a_table_a_list_and_a_data_set(crosscam: Run, place: Path) -> None:
    dataset = read_dataset(place / "people")
    write_table(dataset, place / "people.csv")
    (place / "list.txt").write_text("".join(f"{s.path}\n" for s in dataset.query))
    for source, count in (("people.csv", None), ("people --dataset", None), ("list.txt", len(dataset.query))):
        status, _, err = crosscam(f"extract run {source} out.npz --part-size 7")
        assert status == 0, err
        with np.load(place / "out.npz") as saved:
            assert len(saved["paths"]) == (count or sum(map(len, dataset.subsets.values())))
            assert ("pids" in saved) == (count is None)
            if count is None:
                assert sorted(saved["pids"]) == sorted(s.pid for ss in dataset.subsets.values() for s in ss)


def test_extract_goes_on_and_lists_what_cannot_be_read(crosscam: Run, place: Path) -> None:
    shutil.copytree(place / "people/query", place / "torn")
    first = min((place / "torn").iterdir())
    first.write_text("no image")
    count = len(list((place / "torn").iterdir()))
    status, out, err = crosscam("extract run torn out.npz --json")
    assert status == 2
    assert json.loads(out)["failures"] == 1
    assert json.loads(out)["pictures"] == count - 1
    assert f"1 of {count} images cannot be read; out.npz.failures.csv lists them" in err
    assert first.name in (place / "out.npz.failures.csv").read_text()


def test_extract_names_its_engine(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("extract run people/query out.npz --engine onnxruntime --json")
    assert status == 0, err
    assert json.loads(out)["engine"] == "onnxruntime"
    status, _, err = crosscam("extract run people/query out.npz --engine onxruntime")
    assert (status, "Did you mean onnxruntime?" in err) == (2, True)
    status, _, err = crosscam("extract run people/query out.npz --part-size 0")
    assert (status, "--part-size 0: expected at least 1" in err) == (2, True)


def test_extract_int8_has_a_fingerprint_of_its_own(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("extract run people/query out.npz --engine openvino-int8 --json")
    assert status == 0, err
    assert json.loads(out)["fingerprint"] != Extractor.load(place / "run").fingerprint


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("export run --calibration people/query", "--calibration gives the ranges of --int8"),
        ("export run --max-drop 0.5", "are for --data"),
        ("export run --split 3", "are for --data"),
        ("demo --photos people/query --ids 9", "--photos draws no people"),
    ],
)
def test_options_that_would_do_nothing_are_refused(crosscam: Run, place: Path, command: str, words: str) -> None:
    status, _, err = crosscam(command)
    assert (status, words in err) == (2, True)
