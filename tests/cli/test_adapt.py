"""``crosscam adapt``: what it says, and what it refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from in_process import Run

SETTINGS = (
    "--set adapt.eps=0.7 --set adapt.k1=4 --set adapt.k2=1 --set adapt.min_images=2 --set data.batch_ids=2 "
    "--set data.batch_images=2 --set train.epochs=1 --set train.frozen_stages=0"
)


def test_it_tells_clusters_and_scores(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam(f"adapt run --data people --labeled people {SETTINGS}")
    assert status == 0, err
    assert "clusters in the last epoch" in out
    assert "mAP" in out
    assert "clusters of" in err
    assert (place / "runs" / "demo-adapted" / "adapt.md").is_file()
    told = json.loads((place / "runs/demo-adapted/adapt.json").read_text())
    status, out, _ = crosscam(f"adapt run --data people --resume --json {SETTINGS}")
    assert status == 0
    assert json.loads(out)["epochs"][0]["clusters"] > 1
    assert None not in (told["before"], told["after"])
    again = json.loads((place / "runs/demo-adapted/adapt.json").read_text())
    assert (again["before"], again["after"]) == (told["before"], told["after"]), "scores stay without --labeled"
    assert crosscam("evaluate runs/demo-adapted --data people")[0] == 0


def test_the_same_data_by_another_path_is_read_by_the_same_options(crosscam: Run, place: Path) -> None:
    rows = ["path,pid,split"]
    for split, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        for image in sorted((place / "people" / folder).glob("*.jpg")):
            rows.append(f"people/{folder}/{image.name},{int(image.name[:4])},{split}")
    (place / "own.csv").write_text("\n".join(rows) + "\n")
    (place / "link.csv").symlink_to(place / "own.csv")
    for labeled in ("link.csv", "people/../own.csv"):
        status, _, err = crosscam(
            f"adapt run --data own.csv --labeled {labeled} --camids _c([0-9]) --out {labeled[:4]} {SETTINGS}"
        )
        assert status == 0, err


def test_without_labels_it_claims_no_better_scores(crosscam: Run, place: Path) -> None:
    (place / "pictures").mkdir()
    for number, image in enumerate(sorted((place / "people" / "bounding_box_train").glob("*.jpg"))):
        shutil.copy(image, place / "pictures" / f"{number}_c{number % 2 + 1}.jpg")
    (place / "run").rename(place / "run.onnx")
    status, out, err = crosscam(f"adapt run.onnx --data pictures --out out {SETTINGS}")
    assert status == 0, err
    assert "is not known without labels" in out


def few_images(place: Path) -> None:
    (place / "few").mkdir()
    for image in sorted((place / "people" / "bounding_box_train").glob("*.jpg"))[:3]:
        shutil.copy(image, place / "few")


REFUSED = {
    "too few images": ("--data few", "has 3 images to learn from, and two clusters take at least 8"),
    "no cluster": ("--data people --set adapt.eps=0.001 --set adapt.min_images=7", "No cluster among"),
    "one cluster": ("--data people --set adapt.eps=0.99 --set adapt.k1=15", "are one cluster (adapt.eps=0.99)"),
    "unknown setting": ("--data people --set adapt.epz=0.4", "adapt.epz"),
    "out of range": ("--data people --set adapt.eps=1", "adapt.eps"),
    "without effect": ("--data people --set loss.margin=0.3", "loss.margin"),
    "no data": ("--data nowhere", "nowhere"),
    "a camera that is known": ("--data people --camera gate", "--camera means nothing for rendered"),
    "no scores": ("--data people --labeled few", "few"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_learned_is_refused_in_one_line(words: str, said: str, crosscam: Run, place: Path) -> None:
    few_images(place)
    status, out, err = crosscam(f"adapt run --out out {words}")
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (status, out) == (2, "")
    assert len(lines) == 1, err
    assert said in lines[0]
    assert not (place / "out" / "recipe.json").exists(), "nothing that looks like a training is left"


def test_a_network_that_cannot_be_trained_is_refused(crosscam: Run, place: Path) -> None:
    (place / "net.onnx").write_bytes(b"")
    for source, said in (("net.onnx", "cannot be trained here"), ("nowhere", "nowhere")):
        status, _, err = crosscam(f"adapt {source} --data people --out out")
        assert (status, len(err.splitlines())) == (2, 1), err
        assert said in err


def test_a_missing_extra_is_named(crosscam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscam.adaptation.pseudo_labels.find_spec", lambda name: None)
    status, _, err = crosscam("adapt run --data people --out out")
    assert status == 2
    assert err.splitlines()[-1].endswith("Adapting without labels needs scikit-learn: pip install 'crosscam[adapt]'.")
