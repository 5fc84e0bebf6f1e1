from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crosscam.inference.extractor import Extractor

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def images(place: Path) -> tuple[str, str]:
    first, second, *_ = sorted((place / "people/query").iterdir())
    return f"people/query/{first.name}", f"people/query/{second.name}"


def test_the_table_names_every_block_and_the_sum(crosscam: Run, place: Path, images: tuple[str, str]) -> None:
    status, out, err = crosscam(f"explain run {' '.join(images)}")
    assert status == 0, err
    for block in Extractor.load(place / "run").layout:
        assert block.name in out
    assert "sum" in out
    assert "Measured against the usual share of each part" in err
    assert not list(place.glob("*.html"))


def test_json_adds_up_and_the_page_is_written(crosscam: Run, place: Path, images: tuple[str, str]) -> None:
    status, out, err = crosscam(f"explain run {' '.join(images)} --json --out why.html")
    assert status == 0, err
    found = json.loads(out)
    q, m = Extractor.load(place / "run")([place / name for name in images]).astype(np.float64)
    assert found["squared_distance"] == pytest.approx(np.square(q - m).sum())
    assert sum(b["squared_distance"] for b in found["blocks"]) == pytest.approx(found["squared_distance"])
    assert abs(found["check"]["deviation"]) < 1e-6
    assert found["out"] == "why.html"
    page = (place / "why.html").read_text(encoding="utf-8")
    assert Path(images[0]).name in page
    assert "://" not in page


def test_weights_and_maps_and_mirror_images_can_be_chosen(crosscam: Run, images: tuple[str, str]) -> None:
    pair = " ".join(images)
    plain = json.loads(crosscam(f"explain run {pair} --json")[1])
    weighed = json.loads(crosscam(f"explain run {pair} --json --weight p2.local1=0 --weight *global=2")[1])
    pairs = zip(plain["blocks"], weighed["blocks"], strict=True)
    ratio = {p["name"]: w["squared_distance"] / p["squared_distance"] for p, w in pairs}
    assert ratio == pytest.approx({"p2.local1": 0, "p2.local2": 1, "p2.global": 2})
    parts = json.loads(crosscam(f"explain run {pair} --json --weight head=0,torso=0 --weight whole=2")[1])
    assert [block["weight"] for block in parts["blocks"]] == [block["weight"] for block in weighed["blocks"]]
    assert json.loads(crosscam(f"explain run {pair} --json --no-flip")[1])["flip"] is False
    assert crosscam(f"explain run {pair} --maps agreement --out a.html")[0] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--weight p2.locl1=0", "No body part or block 'p2.locl1'. Did you mean p2.local"),
        ("--weight p2.local1", "'p2.local1' is not a weight. Expected NAME=NUMBER"),
        ("--weight p2.local1=much", "'p2.local1=much' is not a weight. Expected NAME=NUMBER"),
        ("--weight p2.local1=-1", "The weight of p2.local1 is -1.0: expected a number from 0 to 1,000,000,000."),
        ("--maps nice", "strength"),
    ],
)
def test_what_cannot_be_done_is_one_line(options: str, told: str, crosscam: Run, images: tuple[str, str]) -> None:
    status, _, err = crosscam(f"explain run {' '.join(images)} {options}")
    assert status == 2
    assert told in err
    assert err.count("\n") == 1


def test_an_image_that_is_missing(crosscam: Run, images: tuple[str, str]) -> None:
    status, _, err = crosscam(f"explain run {images[0]} gone.jpg --out why.html")
    assert status == 2
    assert err.startswith("crosscam: No image at gone.jpg")
