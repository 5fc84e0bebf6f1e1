"""``crosscam evaluate`` says which tested people the network was trained on."""

from __future__ import annotations

import json
from pathlib import Path

from in_process import Run

from crosscam.data.datasets.readers import read_dataset
from crosscam.training.trained_on import TRAINED_ON


def flat(text: str) -> str:
    return " ".join(text.split())


def test_people_of_the_training_are_warned_of(crosscam: Run, place: Path) -> None:
    assert crosscam("data holdout people known.csv --train-ids 1 --json")[0] == 0
    ids = {s.pid for s in read_dataset(place / "known.csv").query}
    status, out, err = crosscam("evaluate run --data known.csv --json --report known.html")
    assert status == 0
    assert f"warning: {len(ids)} of the {len(ids)} tested people trained this network" in flat(err)
    found = json.loads(out)
    assert found["trained_people"] == found["tested_people"] == len(ids)
    assert found["trained_pids"] == sorted(ids)
    (saved,) = json.loads((place / "run" / "scores-known.json").read_text())
    assert saved["trained_people"] == len(ids)
    assert "tested people trained this network" in (place / "known.html").read_text(encoding="utf-8")


def test_strangers_are_not_warned_of(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("evaluate run --data people --json")
    assert status == 0
    assert "trained this network" not in err
    assert "not known" not in err
    assert json.loads(out)["trained_people"] == 0


def test_a_run_without_a_record_is_told(crosscam: Run, place: Path) -> None:
    (place / "run" / TRAINED_ON).unlink()
    status, out, err = crosscam("evaluate run --data people --json")
    assert status == 0
    assert "note: It is not known whom this network was trained on" in flat(err)
    assert json.loads(out)["trained_people"] is None


def test_a_damaged_record_is_one_line(crosscam: Run, place: Path) -> None:
    (place / "run" / TRAINED_ON).write_text("{")
    status, out, err = crosscam("evaluate run --data people")
    assert (status, out) == (2, "")
    assert "trained_on.json is damaged" in flat(err)


def test_too_few_images_for_cross_neighborhoods_are_one_line(crosscam: Run, place: Path) -> None:
    assert (place / "people").is_dir()
    status, out, err = crosscam("evaluate run --data people --ecn")
    assert (status, out) == (2, "")
    assert "ECN: k is 25. Expected 1 to 16 for 8 queries and 8 gallery images; take a larger gallery" in flat(err)
