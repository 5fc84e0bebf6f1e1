"""Whom a network was trained on: written with the training, and found again in other tables, names and folders."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_training import small_recipe, trained

from crosscam.data.datasets.holdout import holdout
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import CheckpointError, DataError
from crosscam.experiments.experiment import run_experiment, write_run_report
from crosscam.experiments.scoring import TestImages
from crosscam.inference.describing import load_model
from crosscam.models.systems import layout_of
from crosscam.training.trained_on import DIGEST_BYTES, TRAINED_ON, load_trained_on, overlap, save_trained_on


def people(folder: Path, images: dict[str, bytes]) -> dict[str, Path]:
    """Files that only their bytes tell apart."""
    folder.mkdir()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in images}


def test_a_training_leaves_the_digests_of_its_images(rendered: ReidDataset, tmp_path: Path) -> None:
    trained(small_recipe("train.epochs=1"), rendered, tmp_path / "run")
    value = json.loads((tmp_path / "run" / TRAINED_ON).read_text())
    assert value["images"] == len(rendered.train)
    assert value["people"] == len({s.pid for s in rendered.train})
    data = base64.b64decode(value["digests"])
    found = {data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES)}
    assert found == {hashlib.sha256(s.path.read_bytes()).digest()[:DIGEST_BYTES] for s in rendered.train}
    known = load_trained_on(tmp_path / "run")
    assert known is not None
    assert sorted(int.from_bytes(d, "big") for d in found) == known.tolist()


def test_people_are_known_by_their_images_whatever_they_are_called(tmp_path: Path) -> None:
    first = people(tmp_path / "a", {f"{n}.jpg": b"image %d" % n for n in range(6)})
    train = tuple(Sample(path, 1 + number // 2, 0) for number, path in enumerate(first.values()))
    save_trained_on(tmp_path, ReidDataset("a", tmp_path, train))
    # Other names, numbers and folders: 70 is person 1 of the training, 80 a stranger, and 90 is known by a third image.
    second = people(
        tmp_path / "b",
        {"x.jpg": b"image 0", "y.jpg": b"new 1", "0.jpg": b"new 2", "z.jpg": b"new 3", "w.jpg": b"image 4"},
    )
    query = (Sample(second["x.jpg"], 70, 1), Sample(second["0.jpg"], 80, 1), Sample(second["z.jpg"], 90, 1))
    gallery = (Sample(second["y.jpg"], 70, 2), Sample(second["x.jpg"], 0, 2))
    test = ReidDataset("b", tmp_path, (Sample(second["w.jpg"], 90, 1),), query, gallery)
    found = overlap(load_trained_on(tmp_path), test)
    assert (found.known, found.pids, found.tested_people) == (True, (70, 90), 3)
    assert (found.images, found.tested_images) == (2, 5)
    sentence = found.sentence() or ""
    assert sentence.startswith("2 of the 3 tested people trained this network (2 of the 5 images)")
    assert found.to_dict()["trained_pids"] == [70, 90]
    strangers = replace(test, train=(), query=query[1:2], gallery=gallery[:1])
    assert overlap(load_trained_on(tmp_path), strangers).sentence() is None
    assert overlap(load_trained_on(tmp_path), strangers).to_dict()["trained_people"] == 0


def test_images_without_labels_count_too(tmp_path: Path) -> None:
    files = people(tmp_path / "a", {"1.jpg": b"one", "2.jpg": b"two"})
    save_trained_on(tmp_path, ReidDataset("a", tmp_path, (Sample(files["1.jpg"], 1, 0),)), [files["2.jpg"]])
    test = ReidDataset("b", tmp_path, (), (Sample(files["2.jpg"], 5, 0),), (Sample(files["2.jpg"], 5, 1),))
    assert overlap(load_trained_on(tmp_path), test).pids == (5,)


def test_people_of_the_training_before_count_once(tmp_path: Path) -> None:
    files = people(tmp_path / "a", {f"{n}.jpg": b"image %d" % n for n in range(5)})
    (tmp_path / "first").mkdir()
    first = ReidDataset("a", tmp_path, tuple(Sample(files[f"{n}.jpg"], 1 + n // 2, 0) for n in range(4)))
    save_trained_on(tmp_path / "first", first)
    # Person 7 is person 1 of the first training; person 8 is new.
    second = ReidDataset("b", tmp_path, (Sample(files["0.jpg"], 7, 0), Sample(files["4.jpg"], 8, 0)))
    (tmp_path / "second").mkdir()
    save_trained_on(tmp_path / "second", second, source=tmp_path / "first")
    value = json.loads((tmp_path / "second" / TRAINED_ON).read_text())
    assert (value["people"], value["images"]) == (3, 5)


def test_a_run_without_a_record_is_not_known(rendered: ReidDataset, tmp_path: Path) -> None:
    found = overlap(load_trained_on(tmp_path), rendered)
    assert not found.known
    assert (found.sentence() or "").startswith("It is not known whom this network was trained on")
    assert found.to_dict()["trained_people"] is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"digests": 3}', '{"digests": "AAAA"}', '{"digests": "????"}'])
def test_a_damaged_record_is_one_line(rendered: ReidDataset, tmp_path: Path, text: str) -> None:
    (tmp_path / TRAINED_ON).write_text(text)
    with pytest.raises(CheckpointError, match=r"trained_on\.json is damaged") as caught:
        overlap(load_trained_on(tmp_path), rendered)
    assert "\n" not in str(caught.value)


def test_a_training_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg cannot be read"):
        save_trained_on(tmp_path, ReidDataset("a", tmp_path, (Sample(tmp_path / "gone.jpg", 1, 0),)))


def test_the_report_says_whom_the_network_knows(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe, folder = small_recipe("train.epochs=1"), tmp_path / "run"
    scores = run_experiment(recipe, rendered, folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "that it never saw" in page
    assert f"{len(rendered.train):,} images of {len({s.pid for s in rendered.train}):,} identities" in page
    # Some of its training people as a test: the page says so, and still names the training of the run.
    cut = holdout(rendered, num_train_ids=8)
    model = load_model(folder, recipe)
    known = [TestImages(cut, recipe).score(model)]
    write_run_report(tmp_path / "cut.html", recipe, cut, known, folder, layout_of(model))
    page = (tmp_path / "cut.html").read_text(encoding="utf-8")
    assert "that it never saw" not in page
    ids = len({s.pid for s in cut.query})
    assert f"{ids} of the {ids} tested people trained this network" in page
    assert f"{len(rendered.train):,} images of" in page
    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns(TRAINED_ON))
    write_run_report(tmp_path / "old.html", recipe, rendered, scores[:1], tmp_path / "old", layout_of(model))
    assert "It is not known whom this network was trained on" in (tmp_path / "old.html").read_text(encoding="utf-8")
