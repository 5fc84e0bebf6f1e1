"""``crosscam calibrate``: from labeled images to a file and to a gallery."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crosscam.calibration.calibration import Calibration
from crosscam.calibration.fitting import images_to_calibrate
from crosscam.data.datasets.readers import read_dataset
from crosscam.errors import DataError
from crosscam.gallery import create_gallery, open_gallery
from crosscam.gallery.entries import ModelIdentity
from crosscam.gallery.source_network import identify_model
from crosscam.inference.extractor import Extractor

Run = Callable[[str], tuple[int, str, str]]
RATES = "--fmr 0.2 --fnmr 0.95"


@pytest.fixture
def own(place: Path) -> Path:
    """All images of ``people`` as a table of own data, without a split."""
    dataset = read_dataset(place / "people")
    with open(place / "own.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "pid", "camid"))
        for samples in dataset.subsets.values():
            writer.writerows((s.path, s.pid, s.camid) for s in samples)
    return place / "own.csv"


def test_thresholds_are_shown_and_written(crosscam: Run, place: Path, own: Path) -> None:
    status, out, err = crosscam(f"calibrate run --data own.csv {RATES} --out cal/found.json")
    assert status == 0
    assert "Rests on 32 pairs of one person" in " ".join(out.split())
    assert "as there is no query and gallery" in err
    people = read_dataset(place / "people")
    trained, every = ({s.pid for s in samples if s.pid > 0} for samples in (people.train, read_dataset(own).train))
    assert f"warning: {len(trained)} of the {len(every)} people trained this network" in " ".join(err.split())
    found = Calibration.from_json((place / "cal/found.json").read_text())
    assert found.fmr == 0.2
    assert json.loads(crosscam(f"calibrate run --data own.csv {RATES} --json")[1]) == json.loads(found.to_json())
    assert (place / "run/calibration.json").exists()


def test_it_is_kept_with_the_gallery(crosscam: Run, place: Path, own: Path) -> None:
    extractor = Extractor.load(place / "run")
    create_gallery(place / "g", extractor.layout, identify_model(place / "run", extractor)).close()
    status, _, err = crosscam(f"calibrate run --data own.csv {RATES} --gallery g")
    assert status == 0
    assert "kept with g" in err
    with open_gallery(place / "g") as gallery:
        kept = Calibration.from_json(json.dumps(gallery.document("calibration")))
        assert kept.origin.model_fingerprint == gallery.model.fingerprint


def test_a_search_says_what_a_distance_means_and_on_what_that_rests(crosscam: Run, place: Path, own: Path) -> None:
    assert crosscam("gallery create g run")[0] == 0
    assert crosscam("gallery add g run people")[0] == 0
    (image, *_) = sorted((place / "people/query").iterdir())
    search = f"gallery search g run {image}"
    status, _, err = crosscam(search)
    assert status == 0
    assert "No verdicts: this gallery is not calibrated" in err
    assert all(hit["verdict"] is None for hit in json.loads(crosscam(f"{search} --json")[1]))
    assert crosscam(f"calibrate run --data own.csv {RATES} --gallery g")[0] == 0
    status, _, err = crosscam(search)
    assert status == 0
    assert "Rests on 32 pairs of one person" in " ".join(err.split())
    hits = json.loads(crosscam(f"{search} --json")[1])
    with open_gallery(place / "g") as gallery:
        kept = Calibration.from_json(json.dumps(gallery.document("calibration")))
    assert [h["verdict"] for h in hits] == [kept.verdict(h["distance"], None, h["camid"]) for h in hits]
    assert {h["verdict"] for h in hits} <= {"same", "unsure", "other"}
    assert "weights and re-ranking change" in crosscam(f"{search} --parts torso=2")[2]


def test_a_gallery_of_another_model_is_refused_before_the_work(crosscam: Run, place: Path, own: Path) -> None:
    extractor = Extractor.load(place / "run")
    create_gallery(place / "g", extractor.layout, ModelIdentity("0" * 16, "another")).close()
    status, _, err = crosscam(f"calibrate run --data own.csv {RATES} --gallery g")
    assert status == 2
    assert "0" * 16 in err or "another" in err
    assert not (place / "run/calibration.json").exists()


def test_query_and_gallery_are_taken_where_there_are_some(place: Path) -> None:
    dataset = read_dataset(place / "people")
    samples, which = images_to_calibrate(dataset, dataset.fingerprint())
    assert {s.path for s in samples} == {s.path for s in (*dataset.query, *dataset.gallery) if s.pid != -1}
    assert which == "query and gallery"


def test_images_of_the_training_are_refused(own: Path) -> None:
    dataset = read_dataset(own)
    assert len(images_to_calibrate(dataset, "0" * 16)[0]) == len(dataset.train)
    with pytest.raises(DataError, match="was trained on"):
        images_to_calibrate(dataset, dataset.fingerprint())
