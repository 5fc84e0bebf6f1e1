from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_study import BUDGET, RELATION, TINY

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, RecipeError
from crosscam.experiments.scoring import TestImages, ranking_labels
from crosscam.inference.describing import load_model
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.recipes.checkpoint import load_recipe
from crosscam.reproduce import study as module
from crosscam.reproduce.paper_rows import ROWS, Budget
from crosscam.reproduce.study import RESULT, WHOLE, Study, held
from crosscam.training.callbacks import Listeners, StepReport


def test_results_are_those_of_the_run_folder_scored_again(finished: Study) -> None:
    result = finished.result("rm-gmp", 1)
    assert result is not None
    folder = finished.run_folder("rm-gmp", 1)
    recipe = load_recipe(folder)
    assert recipe.train.seed == 1
    model = load_model(folder, recipe)
    scored = TestImages(finished.dataset, recipe).score(model)
    assert result.values["mAP"] == scored.result.mAP
    np.testing.assert_array_equal(result.average_precision[WHOLE], scored.result.average_precision)
    np.testing.assert_array_equal(result.first_match[WHOLE], scored.result.first_match)
    block = next(b for b in model.layout if b.name == "p6.local2")
    parts = [x[:, block.start : block.stop] for x in (scored.query, scored.gallery)]
    parts = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in parts]
    alone = evaluate_descriptors(*parts, *ranking_labels(finished.dataset))
    np.testing.assert_array_equal(result.average_precision["p6.local2"], alone.average_precision)
    assert result.values["blocks"]["p6.local2"]["rank1"] == alone.rank1


def test_the_first_seed_alone_scores_the_untrained_network(finished: Study) -> None:
    first, second = finished.results("gmp")
    assert first.values["untrained"]["mAP"] > 0
    assert second.values["untrained"] is None
    assert (first.seed, second.seed) == (0, 1)


def test_what_is_there_is_not_made_again(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained again"))
    finished.fill([ROWS[name] for name in RELATION], 2)


def test_a_study_stopped_in_the_midst_ends_with_the_same_results(
    finished: Study, rendered: ReidDataset, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop_at(batch: int) -> Listeners:
        def step(report: StepReport) -> None:
            if report.batch == batch:
                raise Stop

        return Listeners(step=step)

    study = Study(tmp_path / "study", rendered, BUDGET)
    for batch in (1, 3):
        with pytest.raises(Stop):
            study.fill([ROWS["rm-gmp"]], 1, lambda _, batch=batch: stop_at(batch))
    study.fill([ROWS["rm-gmp"]], 1)
    ours, theirs = study.result("rm-gmp", 0), finished.result("rm-gmp", 0)
    assert ours is not None
    assert theirs is not None
    for name, values in theirs.average_precision.items():
        np.testing.assert_array_equal(ours.average_precision[name], values)


def test_a_result_lost_after_the_training_is_scored_again(finished: Study, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "copy")
    study = Study(tmp_path / "copy", finished.dataset, BUDGET)
    path = study.run_folder("gmp", 0) / RESULT
    before = json.loads(path.read_text())
    path.unlink()
    study.fill([ROWS["gmp"]], 1)
    assert json.loads(path.read_text()) == before


def test_another_budget_and_other_data_are_refused(finished: Study, rendered: ReidDataset) -> None:
    with pytest.raises(CheckpointError, match=r"epochs=1, now epochs=2.*--out"):
        Study(finished.folder, rendered, Budget("small", 2, TINY))
    other = ReidDataset("other", rendered.root, rendered.train, rendered.query, rendered.gallery)
    with pytest.raises(CheckpointError, match="data=rendered, now data=other"):
        Study(finished.folder, other, BUDGET)


@pytest.mark.parametrize("subset", ["train", "gallery"])
def test_other_images_of_the_same_names_are_refused(finished: Study, tmp_path: Path, subset: str) -> None:
    shutil.copytree(finished.dataset.root, tmp_path / finished.dataset.root.name)
    dataset = read_dataset(tmp_path / finished.dataset.root.name)
    assert dataset.fingerprint() == finished.dataset.fingerprint()
    Study(finished.folder, dataset, BUDGET).fill([ROWS["gmp"]], 1)
    one, other = dataset.subsets[subset][:2]
    shutil.copy(one.path, other.path)
    with pytest.raises(CheckpointError, match="other images of these names"):
        Study(finished.folder, dataset, BUDGET).fill([ROWS["gmp"]], 1)
    shutil.copytree(finished.folder, tmp_path / "study")
    (tmp_path / "study" / "study.json").write_text(finished._text)  # of an earlier version
    if subset == "train":
        with pytest.raises(CheckpointError, match="training images changed since it began"):
            Study(tmp_path / "study", dataset, BUDGET).fill([ROWS["gmp"]], 1)


def test_settings_that_are_refused_do_not_bind_the_folder(rendered: ReidDataset, tmp_path: Path) -> None:
    wrong = Study(tmp_path / "study", rendered, Budget("small", 0, TINY))
    with pytest.raises(RecipeError, match=r"train\.epochs=0"):
        wrong.fill([ROWS["gmp"]], 1)
    assert list(tmp_path.iterdir()) == []
    Study(tmp_path / "study", rendered, BUDGET).fill([], 0)
    with pytest.raises(CheckpointError, match="epochs=1, now epochs=0"):
        wrong.fill([], 0)


def test_a_damaged_study_file_is_named(empty: Study) -> None:
    empty.folder.mkdir()
    (empty.folder / "study.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"study\.json cannot be read"):
        Study(empty.folder, empty.dataset, BUDGET)


def _hold(path: Path, ready: object, done: object) -> None:
    with held(path, wait=False) as mine:
        assert mine
        ready.set()
        done.wait(30)


def test_a_lock_is_of_one_process_and_dies_with_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "lock", ready, done))
    other.start()
    assert ready.wait(30)
    with held(tmp_path / "lock", wait=False) as mine:
        assert not mine
    other.kill()
    other.join()
    with held(tmp_path / "lock", wait=False) as mine:
        assert mine


@pytest.mark.parametrize("name", [RESULT, module.QUERIES, module.METRICS])
@pytest.mark.parametrize("damage", ["empty", "torn", "flipped", "other"])
def test_a_damaged_result_is_one_line(finished: Study, tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(finished.folder, tmp_path / "study")
    study = Study(tmp_path / "study", finished.dataset, BUDGET)
    file = study.run_folder("gmp", 0) / name
    data = file.read_bytes()
    # Within an array's numbers, where the archive's own checksum sees it.
    place = data.index(b"ap/whole.npy") + 60 if name == module.QUERIES else len(data) // 2
    spoilt = {"empty": b"", "torn": data[:place], "other": b"[]\n"}
    spoilt["flipped"] = data[:place] + bytes([data[place] ^ 128]) + data[place + 1 :]
    file.write_bytes(spoilt[damage])
    with pytest.raises(CheckpointError) as told:
        study.result("gmp", 0)
    assert str(file.parent) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_copy_of_a_seed_is_none(finished: Study, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "study")
    shutil.copytree(tmp_path / "study/gmp/seed0", tmp_path / "study/gmp/seed0 (old)")
    assert [r.seed for r in Study(tmp_path / "study", finished.dataset, BUDGET).results("gmp")] == [0, 1]
