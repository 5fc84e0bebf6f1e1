"""Each command once, on drawn people, in this process."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.cli import train as train_command
from crosscam.data.datasets.readers import read_dataset
from crosscam.errors import TrainingError
from crosscam.gallery import open_gallery, read_journeys
from crosscam.inference.extractor import Extractor

Run = Callable[[str], tuple[int, str, str]]
SAMPLE = Path(__file__).resolve().parents[1] / "data/parity/authors_checkpoint_sample_legacy.pth"


def test_recipes(crosscam: Run) -> None:
    status, out, err = crosscam("recipes")
    assert (status, err) == (0, "")
    assert "rrid-f-paper" in out
    assert set(json.loads(crosscam("recipes --json")[1])) >= {"rrid-f", "rrid-s", "demo"}


def test_one_recipe_shows_values_as_set_takes_them(crosscam: Run) -> None:
    shown = [line.split() for line in crosscam("recipes rrid-f")[1].splitlines()]
    assert ["│", "model.scales", "│", "6,4,2", "│"] in shown
    assert ["│", "model.pretrained", "│", "none", "│"] in shown
    assert json.loads(crosscam("recipes rrid-f --json")[1])["model"]["scales"] == [6, 4, 2]


def test_doctor(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("data doctor people")
    assert (status, err) == (0, "")
    assert out.startswith(f"rendered in {place / 'people'}")
    status, out, _ = crosscam("data doctor people --json")
    found = json.loads(out)
    assert status == 0
    assert found["healthy"] is True
    counts = {row["subset"]: row["found"]["ids"] for row in found["subsets"]}
    assert counts == {"train": 4, "query": 4, "gallery": 4}


def test_render(crosscam: Run, place: Path) -> None:
    status, out, _ = crosscam(
        "data render drawn --ids 6 --cameras 2 --images 2 --collide 0 --test-share 0.5 --sheet s.png --json"
    )
    drawn = json.loads(out)
    assert status == 0
    assert (drawn["train_ids"], drawn["test_ids"], drawn["cameras"]) == (3, 3, 2)
    dataset = read_dataset(place / "drawn")
    assert [len(s) for s in dataset.subsets.values()] == [drawn["train"], drawn["query"], drawn["gallery"]]
    with Image.open(place / "s.png") as sheet:
        assert sheet.width > 100


def test_holdout_and_the_table_it_writes(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("data holdout people cut.csv --train-ids 2 --json")
    assert status == 0
    assert "note: Hold-out: 2 of 4 training identities" in err
    counts = {row["subset"]: row["ids"] for row in json.loads(out)["subsets"]}
    assert counts == {"train": 2, "query": 2, "gallery": 2}
    cut = read_dataset(place / "cut.csv")
    train = read_dataset(place / "people").train
    first_two = sorted({s.pid for s in train})[:2]
    assert [s.path for s in cut.train] == [s.path for s in train if s.pid in first_two]
    assert crosscam("evaluate run --data cut.csv --out s.json --no-flip")[0] == 0
    assert json.loads((place / "s.json").read_text())[0]["flip"] is False


def test_train_writes_a_run_folder_and_its_scores(crosscam: Run, place: Path, tiny: str) -> None:
    status, out, err = crosscam(f"train demo --data people --out new {tiny} --json")
    assert status == 0
    told = json.loads(out)
    assert told["folder"] == "new"
    assert [s["name"] for s in told["scores"]] == ["trained", "untrained", "raw pixels"]
    assert told["scores"] == json.loads((place / "new/scores.json").read_text())
    assert err == "".join(f"note: {note}\n" for note in read_dataset(place / "people").notes)
    names = {path.name for path in (place / "new").iterdir()}
    assert {"weights.safetensors", "recipe.json", "provenance.json", "metrics.jsonl", "report.html"} <= names
    assert "state.pt" not in names


def test_train_without_a_test_split_says_that_nothing_is_scored(crosscam: Run, place: Path, tiny: str) -> None:
    for folder in ("query", "bounding_box_test"):
        shutil.rmtree(place / "people" / folder)
    status, out, err = crosscam(f"train demo --data people --out new {tiny}")
    assert status == 0
    assert out == ""
    assert "It is not scored: the dataset has no query and gallery." in err


def test_resume_goes_on(crosscam: Run, place: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that breaks off after its first epoch ends as the uninterrupted one."""
    two = tiny.replace("train.epochs=1", "train.epochs=2")
    assert crosscam(f"train demo --data people --out whole {two}")[0] == 0
    listeners = train_command.training_listeners

    def breaking(*arguments: object) -> object:
        def stop(record: object) -> None:
            raise TrainingError("The lights went out.")

        return dataclasses.replace(listeners(*arguments), epoch=stop)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train_command, "training_listeners", breaking)
        status, _, err = crosscam(f"train demo --data people --out broken {two}")
    assert (status, err.splitlines()[-1]) == (2, "crosscam: The lights went out.")
    status, _, err = crosscam(f"train demo --data people --out broken {two} --resume")
    assert status == 0
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch")] == ["2"]
    assert (place / "broken/weights.safetensors").read_bytes() == (place / "whole/weights.safetensors").read_bytes()


def test_identities_with_fewer_images_than_k_are_trained(crosscam: Run, place: Path, tiny: str) -> None:
    folder = place / "people/bounding_box_train"
    first = min(p.name[:4] for p in folder.iterdir())
    for path in sorted(folder.glob(f"{first}_*"))[1:]:
        path.unlink()
    for sampler in ("anchors", "identities"):
        status, _, err = crosscam(f"train demo --data people --out {sampler} {tiny} --set data.sampler={sampler}")
        assert status == 0, err


def test_evaluate_with_re_ranking_and_a_report(crosscam: Run, place: Path) -> None:
    status, out, _ = crosscam("evaluate run --data people --rerank --k1 4 --k2 2 --report page.html --json")
    assert status == 0
    told = json.loads(out)
    plain, again = told["scores"]
    assert told["out"] == "run/scores-rendered.json"
    assert json.loads((place / told["out"]).read_text()) == told["scores"]
    assert (plain["name"], plain["reranking"]) == ("trained", None)
    assert (again["name"], again["reranking"]) == ("trained, re-ranked", "k-reciprocal, k1=4, k2=2, lambda=0.3")
    assert plain["mAP"] == json.loads((place / "run/scores.json").read_text())[0]["mAP"]
    assert (place / "page.html").read_text().startswith("<!")


def test_evaluate_shows_a_table_with_its_protocol(crosscam: Run) -> None:
    status, out, err = crosscam("evaluate run --data people --rerank --k1 5 --ap trapezoid")
    assert status == 0, err
    assert "8 queries counted, 0 without a match skipped" in out
    assert "trapezoid-wise AP" in out
    assert "trained, re-ranked: k-reciprocal, k1=5, k2=6, lambda=0.3." in out


def test_extract_gives_what_the_extractor_gives(crosscam: Run, place: Path) -> None:
    status, out, err = crosscam("extract run people/query sub/out.npz --json")
    assert status == 0, err
    with np.load(place / "sub/out.npz") as saved:
        paths, descriptors = [place / p for p in saved["paths"]], saved["descriptors"]
    told = json.loads(out)
    assert (told["out"], told["pictures"], told["numbers"]) == ("sub/out.npz", len(paths), descriptors.shape[1])
    assert paths == [s.path for s in read_dataset(place / "people").query]
    np.testing.assert_allclose(descriptors, Extractor.load(place / "run")(paths), atol=1e-6)


def test_extract_one_image(crosscam: Run, place: Path) -> None:
    image = min((place / "people/query").iterdir())
    assert crosscam(f"extract run {image} one.npz")[0] == 0
    with np.load(place / "one.npz") as saved:
        assert list(saved["paths"]) == [str(image)]
        assert saved["descriptors"].shape[0] == 1


def test_extract_tells_of_files_that_are_no_images(crosscam: Run, place: Path) -> None:
    status, _, err = crosscam("extract run people out.npz")
    assert status == 0
    assert "note: Left out: 1 file without an image's name; first: people/identities.json." in err


def test_extract_refuses_a_name_that_is_no_npz_before_it_works(crosscam: Run) -> None:
    status, _, err = crosscam("extract nowhere people people")
    assert status == 2
    assert err.startswith("crosscam: people cannot be written. Expected the name of a file that ends in .npz or")


def save_odd_images(folder: Path, pixels: np.ndarray) -> tuple[str, ...]:
    """The same image as grey, CMYK, RGBA and turned by EXIF; and each of them as the plain image it stands for."""
    folder.mkdir()
    plain = Image.fromarray(pixels)
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for viewing
    see_through = plain.copy()
    see_through.putalpha(Image.fromarray(np.full(pixels.shape[:2], 128, np.uint8)))
    half_white = Image.fromarray(((pixels.astype(np.int64) * 128 + 255 * 127 + 127) // 255).astype(np.uint8))
    plain.convert("L").save(folder / "grey.png")
    plain.convert("L").convert("RGB").save(folder / "grey-meant.png")
    plain.convert("CMYK").save(folder / "cmyk.tif")
    plain.save(folder / "cmyk-meant.png")
    see_through.save(folder / "rgba.png")
    half_white.save(folder / "rgba-meant.png")
    turned.save(folder / "exif.png", exif=exif)
    plain.save(folder / "exif-meant.png")
    return ("grey", "cmyk", "rgba", "exif")


def test_grey_cmyk_transparent_and_turned_images_are_described_as_what_they_show(crosscam: Run, place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 3)).astype(np.uint8)
    names = save_odd_images(place / "odd", pixels)
    status, _, err = crosscam("extract run odd odd.npz")
    assert status == 0, err
    with np.load(place / "odd.npz") as saved:
        rows = dict(zip((Path(p).stem for p in saved["paths"]), saved["descriptors"], strict=True))
    for name in names:
        np.testing.assert_allclose(rows[name], rows[f"{name}-meant"], atol=2e-3, err_msg=name)
    # Other images have other descriptors, or the comparison above would say nothing.
    assert np.abs(rows["grey"] - rows["cmyk"]).max() > 0.01


def test_a_data_set_of_odd_images_is_healthy_and_trains(crosscam: Run, place: Path, tiny: str) -> None:
    folder = place / "people/bounding_box_train"
    for mode, path in zip(("L", "CMYK", "1", "P"), sorted(folder.iterdir()), strict=False):
        with Image.open(path) as image:
            image.convert(mode).convert("L" if mode in ("1", "P") else mode).save(path)
    assert crosscam("data doctor people")[0] == 0
    assert crosscam(f"train demo --data people --out odd {tiny}")[0] == 0


def test_import_authors(crosscam: Run, place: Path) -> None:
    shutil.copy(SAMPLE, place / "authors.pth")
    status, out, err = crosscam("import-authors authors.pth imported --json")
    assert status == 0, err
    extractor = Extractor.load(place / "imported")
    assert json.loads(out) == {
        "out": "imported",
        "backbone": extractor.recipe.model.backbone,
        "scales": list(extractor.recipe.model.scales),
        "ids": json.loads((place / "imported/provenance.json").read_text())["num_ids"],
    }
    image = np.zeros((extractor.recipe.data.height, extractor.recipe.data.width, 3), np.uint8)
    assert np.isclose(np.linalg.norm(extractor([image])), 1)
    assert "already holds" in crosscam("import-authors authors.pth imported")[2]


def test_demo(crosscam: Run, place: Path, tiny: str) -> None:
    # What a kill left half drawn is drawn again.
    (place / "d/people.0123456789ab.tmp/query").mkdir(parents=True)
    status, out, err = crosscam(f"demo --out d --ids 10 {tiny}")
    assert status == 0, err
    assert "untrained" in out
    assert "mAP went from" in err
    assert (place / "d/report.html").is_file()
    assert not (place / "d/people.0123456789ab.tmp").exists()
    for page in ("search.html", "why.html"):
        assert "data:image/jpeg;base64," in (place / "d" / page).read_text(encoding="utf-8")
    assert re.search("(✓ right|✗ wrong)</b>", (place / "d/search.html").read_text(encoding="utf-8"))
    assert re.search("Measured against .* of this gallery", (place / "d/why.html").read_text(encoding="utf-8"))
    assert "Of 100 searches, " in (place / "d/report.html").read_text(encoding="utf-8")
    assert "crosscam serve --gallery d/gallery --model d" in err
    assert re.search(r"multi-camera IDF1 \d+\.\d %", " ".join(err.split()))
    with open_gallery(place / "d/videos.gallery") as gallery:
        tracks = {(track.camera, track.track) for person in read_journeys(gallery).people for track in person.tracks}
    assert len(tracks) >= 8
    assert {camera for camera, _ in tracks} == {"gate", "hall"}
    status, info, _ = crosscam("gallery info d/gallery --json")
    entries = json.loads(info)["entries"]
    assert status == 0
    assert f"d/gallery holds {entries} of their images" in " ".join(err.split())
    # A second call has nothing left to do but to score again.
    assert crosscam(f"demo --out d --ids 10 {tiny}")[1] == out
    status, _, err = crosscam(f"demo --out d --ids 11 {tiny}")
    assert (status, err) == (
        2,
        "crosscam: d/people holds 10 people, not 11. Choose another folder with --out, or --ids 10.\n",
    )


def test_demo_is_for_one_process(crosscam: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert crosscam("demo --out d") == (
        2,
        "",
        "crosscam: The demo works in one process. torchrun is for 'crosscam train', 'evaluate' and 'extract'.\n",
    )
