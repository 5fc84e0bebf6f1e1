"""The network that comes with the package, and several datasets as one, from the command line."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crosscam.cli.show import pasteable
from crosscam.data.datasets.readers import read_dataset
from crosscam.gallery import SearchOptions, open_gallery
from crosscam.gallery.calibrated import calibration_of, verdicts_of
from crosscam.gallery.source_network import SOURCE

Run = Callable[[str], tuple[int, str, str]]


def test_a_folder_of_own_images(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("demo --photos people/bounding_box_test --out own --json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    names = [p.name for p in (place / "people" / "bounding_box_test").glob("*.jpg")]
    assert found["entries"] == len(names)
    assert found["pairs"]
    for pair in found["pairs"]:
        first, second = Path(pair["first"]).name, Path(pair["second"]).name
        assert {first, second} <= set(names)
        assert first.split("_")[1][:2] != second.split("_")[1][:2]
    page = (place / "own" / "pairs.html").read_text(encoding="utf-8")
    assert "Likely the same person: " in page
    assert "from 1.2 on a pair is called likely" in page
    assert {pair["verdict"] for pair in found["pairs"]} <= {"likely the same person", "look-alike"}
    status, _, err = crosscam("demo --photos people/bounding_box_test --out own")
    assert status == 0
    assert "crosscam serve --gallery own/gallery --model rrid-mini" in " ".join(err.split())
    with open_gallery(place / "own" / "gallery") as gallery:
        assert gallery.document(SOURCE) == "rrid-mini"
        assert gallery.model.name == "rrid-mini"
        calibration, _ = calibration_of(gallery)
        assert calibration is not None
        assert verdicts_of(gallery, SearchOptions())[0] is None, "it is of other cameras"


def test_results_of_two_folders_do_not_mix(crosscam: Run, place: Path) -> None:
    assert crosscam("demo --photos people/bounding_box_test --json")[0] == 0
    assert (place / "runs" / "photos-bounding_box_test" / "pairs.html").is_file()
    status, _, err = crosscam("demo --photos people/query --out runs/photos-bounding_box_test")
    assert status == 2
    assert f"holds what was found in {place / 'people' / 'bounding_box_test'}. Choose another place" in " ".join(
        err.split()
    )
    status, _, err = crosscam("demo --photos people/bounding_box_test --camids _s([0-9])")
    assert status == 2
    assert "Choose another place" in err
    for damaged in ("{", "[]", '"x"'):
        (place / "runs" / "photos-bounding_box_test" / "photos.json").write_text(damaged)
        status, _, err = crosscam("demo --photos people/bounding_box_test")
        assert status == 2
        assert "photos.json is damaged" in err


def test_a_printed_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "environment" / "crosscam"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(program), "demo"])
    words = ("serve", "--gallery", Path("runs/photos-two words/gallery"))
    # Not on the path: called as this call was.
    assert shlex.split(pasteable(*words)) == [str(program), *map(str, words)]
    monkeypatch.setenv("PATH", str(program.parent))
    assert pasteable(*words) == "crosscam serve --gallery 'runs/photos-two words/gallery'"


def test_options_that_do_not_go_together(crosscam: Run) -> None:
    status, _, err = crosscam("demo --photos people --set train.epochs=2")
    assert status == 2
    assert "--photos trains nothing" in err
    status, _, err = crosscam("demo --camids _c([0-9])")
    assert status == 2
    assert "--camids tells the cameras of --photos" in err
    status, _, err = crosscam("demo --pairs 5")
    assert status == 2
    assert "--pairs is about the page of --photos" in err
    status, _, err = crosscam("demo --photos people/query --pairs 0")
    assert status == 2
    assert "--pairs is 0. Expected at least 1." in err


def test_the_shipped_network_stands_for_a_run_folder(crosscam: Run, place: Path) -> None:
    status, _, _ = crosscam("evaluate rrid-mini --data people --json")
    assert status == 0
    assert (place / "rrid-mini-scores-rendered.json").is_file()
    images = sorted((place / "people" / "query").glob("*.jpg"))[:2]
    status, _, _ = crosscam(f"explain rrid-mini {images[0]} {images[1]} --out why.html")
    assert status == 0
    assert "p4.local1" in (place / "why.html").read_text(encoding="utf-8")


def test_join(crosscam: Run, place: Path) -> None:
    shutil.copytree(place / "people", place / "others")
    status, out, _ = crosscam("data join both.csv people others --json")
    assert status == 0
    one, both = read_dataset(place / "people"), read_dataset(place / "both.csv")
    for subset, samples in one.subsets.items():
        assert len(both.subsets[subset]) == 2 * len(samples)
    ids = {s.pid for s in one.train if s.pid > 0}
    assert len({s.pid for s in both.train if s.pid > 0}) == 2 * len(ids)
    told = json.loads(out)
    assert told["out"] == "both.csv"
    shutil.copytree(place / "people" / "query", place / "strangers")
    status, out, err = crosscam("data join more.csv people others --distractors strangers --json")
    assert status == 0, err
    ids = [row["ids"] for row in json.loads(out)["subsets"]]
    assert ids == [row["ids"] for row in told["subsets"]], "distractors are no further person"
    added = len(list((place / "strangers").iterdir()))
    assert len(read_dataset(place / "more.csv").gallery) == len(both.gallery) + added
    assert crosscam("data holdout people cut.csv --distractors strangers --train-ids 2")[0] == 0
    assert sum(s.pid == 0 for s in read_dataset(place / "cut.csv").gallery) == added
    status, _, err = crosscam("gallery add g strangers --frames 2")
    assert (status, "--frames is for datasets, and strangers is read as plain images" in err) == (2, True)
    status, _, err = crosscam("extract run strangers x.npz --kind market1501")
    assert (status, "--kind is for datasets" in err) == (2, True)
    status, _, err = crosscam("data join twice.csv people people")
    assert status == 2
    assert "is in datasets 1 and 2" in err
    status, _, _ = crosscam("data join alone.csv people")
    assert status == 0
    assert len(read_dataset(place / "alone.csv").train) == len(one.train)


def test_photos_of_a_table_have_its_cameras(crosscam: Run, place: Path) -> None:
    images = sorted((place / "people" / "query").glob("*.jpg"))[:6]
    rows = [f"{path},{'gate' if number % 2 else 'yard'}" for number, path in enumerate(images)]
    (place / "crops.csv").write_text("\n".join(["path,camera", *rows]) + "\n")
    status, _, err = crosscam("demo --photos crops.csv --out few --json")
    assert status == 0, err
    with open_gallery(place / "few" / "gallery") as gallery:
        assert [entry.camera for entry in gallery.entries()].count("gate") == 3
        assert len(gallery) == 6
