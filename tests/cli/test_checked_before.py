"""What can be checked before the work is checked before it, and what was computed is shown whatever comes after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Run

from crosscam.cli import evaluate, explain, gallery_search
from crosscam.errors import StorageError
from crosscam.experiments import experiment, photographs
from crosscam.experiments.scoring import TestImages
from crosscam.inference import exporting

MUST_WORK = "the work had begun"


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be described."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError(MUST_WORK)

    monkeypatch.setattr(TestImages, "__init__", begin)
    monkeypatch.setattr("crosscam.inference.extractor.Extractor.load", begin)
    monkeypatch.setattr("crosscam.cli.train.run_experiment", begin)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate run --data people --rerank --k1 4000", "k1 is 4000. Expected 1 to"),
        ("evaluate run --data people --rerank --k1 5 --lambda-value 2", "lambda_value is 2.0"),
        ("evaluate run --data people --out file/s.json", "file/s.json cannot be written: Not a directory"),
        ("evaluate run --data people --out people", "people is a folder"),
        ("evaluate run --data people --report file/r.html", "file/r.html cannot be written"),
        ("evaluate run --data nobody.csv", "No query of"),
        ("train demo --data people --out file", "file cannot be written: Not a directory"),
        ("train demo --data nobody.csv --set data.width=1000000", "data.width=1000000: expected at most 4,096"),
        ("demo --out file/x", "file/x cannot be written"),
        ("evaluate run --data people --expand 4000", "k=4000: expected from 1 to"),
        ("evaluate run --data people --alpha 2", "--alpha is for query expansion. Add --expand 5"),
        ("evaluate run --data people --k1 5", "--k1, --k2 and --lambda-value are for re-ranking. Add --rerank"),
        ("demo --photos people --out file/x", "file/x cannot be written"),
        ("extract run people file/v.npz", "file/v.npz cannot be written"),
        ("export run --out file/m.onnx", "file/m.onnx cannot be written"),
        ("calibrate run --data people --out file/c.json", "file/c.json cannot be written"),
        ("explain run a.jpg b.jpg --out file/w.html", "file/w.html cannot be written"),
        ("data render file", "file cannot be written"),
        ("data holdout people file/h.csv", "file/h.csv cannot be written"),
        ("data join file/j.csv people people", "file/j.csv cannot be written"),
        ("reproduce table2 --data people --out file/x", "file/x cannot be written"),
        ("gallery search g run a.jpg --html file/h.html", "file/h.html cannot be written"),
        ("gallery export g file/e.npz", "file/e.npz cannot be written"),
        ("gallery backup g file/b", "file/b cannot be written"),
    ],
)
def test_before_the_work(crosscam: Run, place: Path, no_work: None, command: str, message: str) -> None:
    (place / "file").touch()
    for name in ("q.jpg", "g.jpg"):
        (place / name).touch()
    (place / "nobody.csv").write_text("path,pid,camid,split\nq.jpg,1,1,query\ng.jpg,1,1,gallery\n")
    status, out, err = crosscam(command)
    assert status == 2, err
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def full_disk(*_: object, **__: object) -> None:
    raise StorageError("Cannot write it (No space left on device).")


def test_a_score_is_shown_before_it_is_written(crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "save_scores", full_disk)
    status, out, err = crosscam("evaluate run --data people")
    assert (status, "queries counted" in out) == (2, True)
    assert err.splitlines()[-1] == "crosscam: Cannot write it (No space left on device)."
    status, out, _ = crosscam("evaluate run --data people --json")
    assert status == 2
    assert 0 <= json.loads(out)["scores"][0]["mAP"] <= 1


def test_a_training_shows_its_scores_first(
    crosscam: Run, place: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "save_scores", full_disk)
    status, out, _ = crosscam(f"train demo --data people --out fresh {tiny}")
    assert (status, "queries counted" in out) == (2, True)


@pytest.mark.parametrize("form", ["", " --json"])
def test_an_export_shows_its_comparison_first(
    crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(exporting, "write_card", full_disk)
    status, out, err = crosscam(f"export run --data people{form}")
    assert (status, "mAP_change" in out) == (2, True)
    assert err.splitlines()[-1] == "crosscam: Cannot write it (No space left on device)."
    assert "written:" not in err
    # What is refused for what it measured shows that, too.
    monkeypatch.setattr(exporting, "LEAST_COSINE", 2)
    status, out, err = crosscam(f"export run{form}")
    assert (status, "cosine_min" in out, "is not written" in err) == (2, True, True)


@pytest.mark.parametrize("form", ["", " --json"])
def test_own_images_show_their_pairs_first(
    crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(photographs, "write_pairs", full_disk)
    status, out, err = crosscam(f"demo --photos people/bounding_box_test --out own{form}")
    assert (status, "distance" in out) == (2, True)
    assert "images" in (out if form else err) or json.loads(out)["entries"]
    assert err.splitlines()[-1] == "crosscam: Cannot write it (No space left on device)."


def test_explanations_and_hits_are_shown_first(crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = sorted((place / "people/query").glob("*.jpg"))
    monkeypatch.setattr(explain, "write_pair_page", full_disk)
    status, out, _ = crosscam(f"explain run {first} {second} --out why.html --json")
    assert (status, json.loads(out)["distance"] >= 0) == (2, True)
    assert crosscam("gallery create g run")[0] == 0
    assert crosscam("gallery add g run people")[0] == 0
    monkeypatch.setattr(gallery_search, "write_hits", full_disk)
    status, out, _ = crosscam(f"gallery search g run {first} --html hits.html --json")
    assert (status, len(json.loads(out))) == (2, 8)
