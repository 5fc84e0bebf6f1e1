from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_study import BUDGET

from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, DataError
from crosscam.experiments.scoring import TestImages, ranking_labels
from crosscam.inference.describing import load_model
from crosscam.inference.extractor import Extractor
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.recipes.checkpoint import RECIPE, load_recipe
from crosscam.reproduce.paper_rows import ROWS
from crosscam.reproduce.study import Study
from crosscam.reproduce.transfer import ALL, HALF, examine, read_exam, transfer_table


@pytest.fixture(scope="module")
def viper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve colored people in VIPeR's layout."""
    root = tmp_path_factory.mktemp("exam") / "VIPeR"
    rng = np.random.default_rng(0)
    for camera, change in (("cam_a", 0), ("cam_b", 25)):
        (root / camera).mkdir(parents=True)
        for pid in range(12):
            pixels = np.random.default_rng(pid).integers(0, 200, (4, 2, 3)) + rng.integers(0, change + 1)
            image = Image.fromarray(pixels.astype(np.uint8)).resize((48, 128), Image.Resampling.BILINEAR)
            image.save(root / camera / f"{pid:03d}_{change:02d}.bmp")
    return root


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    shutil.copytree(finished.folder, tmp_path / "study")
    return Study(tmp_path / "study", finished.dataset, BUDGET)


def test_viper_is_all_people_and_ten_halves(viper: Path) -> None:
    exam = read_exam(viper)
    assert [len(d.query) for d in exam[ALL]] == [12]
    assert [len(d.query) for d in exam[HALF]] == [6] * 10
    assert len({tuple(s.pid for s in d.query) for d in exam[HALF]}) > 1


def test_scores_are_those_of_the_network_on_the_other_data(study: Study, viper: Path) -> None:
    exam, rows = read_exam(viper), [ROWS["rm-gmp"]]
    said: list[str] = []
    examine(study, rows, exam, said.append)
    assert said == ["rm-gmp, seed 0", "rm-gmp, seed 1"]
    (row,) = transfer_table(study, rows, exam).records
    expected = []
    for seed in (0, 1):
        extractor = Extractor.load(study.run_folder("rm-gmp", seed))
        halves = []
        for dataset in (*exam[ALL], *exam[HALF]):
            query, gallery = (extractor([s.path for s in x]) for x in (dataset.query, dataset.gallery))
            halves.append(evaluate_descriptors(query, gallery, *ranking_labels(dataset)).mAP)
        expected.append((halves[0], np.mean(halves[1:])))
    assert row["mAP"] == pytest.approx(np.mean([e[0] for e in expected]), abs=1e-4)
    assert row["halves_mAP"] == pytest.approx(np.mean([e[1] for e in expected]), abs=1e-4)
    assert row["rank1_low"] <= row["rank1"] <= row["rank1_high"]
    assert row["seeds"] == 2
    examine(study, rows, exam, said.append)
    assert len(said) == 2


def test_any_data_set_with_a_test_split_will_do(study: Study, rendered: ReidDataset) -> None:
    exam = read_exam(rendered.root)
    assert list(exam) == [ALL]
    examine(study, [ROWS["gmp"]], exam, lambda _: None)
    table = transfer_table(study, [ROWS["gmp"], ROWS["rrid-f"]], exam)
    assert [r["row"] for r in table.records] == ["gmp"]
    # The exam is the study's own test here, so its score must come out again.
    assert table.records[0]["mAP"] == pytest.approx(np.mean([r.values["mAP"] for r in study.results("gmp")]))


def test_networks_are_scored_as_their_recipes_say(study: Study, rendered: ReidDataset) -> None:
    folder, exam = study.run_folder("gmp", 0), read_exam(rendered.root)
    changed = json.loads((folder / RECIPE).read_text())
    changed["evaluation"]["normalize"] = False
    (folder / RECIPE).write_text(json.dumps(changed))
    examine(study, [ROWS["gmp"]], exam, lambda _: None)
    recipe = load_recipe(folder)
    scored = TestImages(exam[ALL][0], recipe).score(load_model(folder, recipe))
    assert scored.distance == "euclidean, lengths kept"
    (path,) = folder.glob("exam-*.json")
    assert json.loads(path.read_text())[ALL][0]["mAP"] == scored.result.mAP


def test_an_exam_without_queries_is_refused(rendered: ReidDataset, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    lines = [f"{s.path},{s.pid},{s.camid}" for s in rendered.train]
    table.write_text("path,pid,camid\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match="no query or no gallery"):
        read_exam(table)


def test_files_are_named_by_the_exam(study: Study, viper: Path) -> None:
    exam = read_exam(viper)
    examine(study, [ROWS["gmp"]], exam, lambda _: None)
    (path,) = study.run_folder("gmp", 0).glob("exam-*.json")
    assert exam[ALL][0].fingerprint() in path.name
    assert len(json.loads(path.read_text())[HALF]) == 10


def test_an_exam_of_other_images_is_not_the_same(study: Study, viper: Path, tmp_path: Path) -> None:
    shutil.copytree(viper, tmp_path / "VIPeR")
    rows, exam = [ROWS["rm-gmp"]], read_exam(tmp_path / "VIPeR")
    examine(study, rows, exam, str)
    examine(study, rows, read_exam(viper), pytest.fail)
    shutil.copy(tmp_path / "VIPeR" / "cam_a" / "001_00.bmp", tmp_path / "VIPeR" / "cam_b" / "001_25.bmp")
    with pytest.raises(CheckpointError, match="made with other images of these names"):
        examine(study, rows, exam, str)
