"""What version 0.1 wrote opens as it is and gives the same numbers; ``version_0_1/make.sh`` made the files with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import crosscam
from crosscam.cli.main import main
from crosscam.gallery import open_gallery

FILES = Path(__file__).parent / "version_0_1" / "files"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "made"
    shutil.copytree(FILES, place)
    monkeypatch.chdir(place)
    return place


def said(name: str) -> dict[str, object]:
    found = json.loads((FILES / name).read_text(encoding="utf-8"))
    return dict(found["scores"][0]) if "scores" in found else dict(found)


def run(capsys: pytest.CaptureFixture[str], line: str) -> str:
    main(line.split())
    return capsys.readouterr().out


def test_a_run_folder_gives_the_same_descriptors(made: Path) -> None:
    with np.load("descriptors.npz") as kept:
        paths, expected, fingerprint = kept["paths"], kept["descriptors"], str(kept["fingerprint"])
    extractor = crosscam.Extractor.load("run", engine="torch")
    assert extractor.card.fingerprint == fingerprint
    np.testing.assert_allclose(extractor([Path(path) for path in paths]), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("evaluate.json", ""), ("reranked.json", " --rerank")])
def test_a_run_folder_has_the_same_scores(
    made: Path, capsys: pytest.CaptureFixture[str], name: str, options: str
) -> None:
    found = json.loads(run(capsys, f"evaluate run --data people --json{options}"))["scores"][0]
    expected = said(name)
    for score in ("mAP", "rank1", "rank5", "mINP", "cmc", "num_queries", "num_skipped"):
        assert found[score] == pytest.approx(expected[score], abs=1e-9), score


def test_an_explanation_has_the_same_sums(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = said("explain.json")
    found = json.loads(run(capsys, f"explain run {expected['query']} {expected['match']} --json"))
    assert found["squared_distance"] == pytest.approx(expected["squared_distance"], abs=1e-6)
    assert [block["name"] for block in found["blocks"]] == [block["name"] for block in expected["blocks"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("write", [False, True])
def test_a_gallery_opens_and_finds_the_same(made: Path, write: bool) -> None:
    expected = json.loads((FILES / "search.json").read_text(encoding="utf-8"))
    extractor = crosscam.Extractor.load("run", engine="torch")
    query = extractor([made / "people" / "query" / "0003_c1s1_088602_01.jpg"])
    with open_gallery("g", write=write) as gallery:
        assert len(gallery) == 12
        hits = gallery.search(query, k=5, model=extractor.card.fingerprint)[0]
        assert gallery.verify().sound
        assert [hit.entry.id for hit in hits] == [hit["id"] for hit in expected]
        assert [hit.entry.path for hit in hits] == [hit["path"] for hit in expected]
        np.testing.assert_allclose([h.distance for h in hits], [h["distance"] for h in expected], atol=1e-6)
        assert all(gallery.thumbnails([hit.entry.id for hit in hits]))
