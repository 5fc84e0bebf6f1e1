"""Trainings that begin with the weights of another run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import small_recipe, trained

from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, RecipeError
from crosscam.experiments.experiment import run_experiment, untrained_model
from crosscam.experiments.scoring import TestImages
from crosscam.inference.describing import load_model
from crosscam.recipes.catalogue import find_recipe, random_start
from crosscam.recipes.checkpoint import CLASSIFIERS, load_recipe, load_weights
from crosscam.recipes.settings import with_settings
from crosscam.training import trainer
from crosscam.training.callbacks import Listeners
from crosscam.training.run import RunState
from crosscam.training.trained_on import TRAINED_ON, digests_of, load_trained_on


@pytest.fixture(scope="module")
def source(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "source"
    trained(small_recipe("train.epochs=1"), rendered, folder)
    return folder


def first_weights(rendered: ReidDataset, folder: Path, *settings: str) -> dict[str, torch.Tensor]:
    state = RunState(small_recipe(*settings), rendered, folder)
    state.start()
    return state.model.state_dict()


def test_training_begins_with_all_weights_of_another_run_but_its_classifiers(
    rendered: ReidDataset, source: Path, tmp_path: Path
):
    theirs = load_weights(source)
    own = first_weights(rendered, tmp_path, f"train.start={source}", "train.seed=7")
    fresh = first_weights(rendered, tmp_path, "train.seed=7")
    assert own.keys() == theirs.keys() == fresh.keys()
    classifiers = [name for name in own if CLASSIFIERS in name]
    assert classifiers
    for name, value in own.items():
        torch.testing.assert_close(value, (fresh if name in classifiers else theirs)[name], rtol=0, atol=0)


def test_resumed_training_does_not_need_the_other_run(rendered: ReidDataset, source: Path, tmp_path: Path):
    state = RunState(small_recipe(f"train.start={tmp_path / 'gone'}"), rendered, tmp_path)
    state.start(pretrained=False)
    with pytest.raises(CheckpointError, match=r"No weights\.safetensors in .*gone"):
        state.start()


def test_other_network_is_refused_before_the_training(rendered: ReidDataset, source: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=rf"train\.start={source} is another network .*train\.start=none"):
        first_weights(rendered, tmp_path, f"train.start={source}", "model.dim=12")


def test_rrid_mini_is_fine_tuned_head_and_all(rendered: ReidDataset, tmp_path: Path):
    state = RunState(with_settings(find_recipe("rrid-mini"), ["data.batch_ids=4"]), rendered, tmp_path)
    state.start()
    shipped = load_weights(Path("rrid-mini"))
    assert all(torch.equal(value, shipped[name]) for name, value in state.model.state_dict().items() if name in shipped)


def test_network_before_training_is_the_one_it_started_from(rendered: ReidDataset, source: Path, tmp_path: Path):
    """``run_experiment`` scores it beside the trained one; it is no random network then."""
    recipe = small_recipe(f"train.start={source}", "train.epochs=1", "optim.lr_backbone=1e-9", "optim.lr_head=1e-9")
    _, before, pixels = run_experiment(recipe, rendered, tmp_path / "run")
    assert (before.name, pixels.name) == ("before training", "raw pixels")
    expected = TestImages(rendered, recipe).score(load_model(source, load_recipe(source)))
    assert before.result.mAP == expected.result.mAP
    np.testing.assert_allclose(before.query, expected.query, atol=1e-6)
    random = untrained_model(with_settings(recipe, ["train.start=none"]), 4)
    assert not np.allclose(TestImages(rendered, recipe).score(random).query, expected.query, atol=0.1)


def test_resumed_training_that_lost_its_start_is_scored_without_it(rendered: ReidDataset, source: Path, tmp_path: Path):
    shutil.copytree(source, tmp_path / "source")
    recipe, notes = small_recipe(f"train.start={tmp_path / 'source'}", "train.epochs=1"), list[str]()
    run_experiment(recipe, rendered, tmp_path / "run")
    shutil.rmtree(tmp_path / "source")
    scores = run_experiment(recipe, rendered, tmp_path / "run", resume=True, listeners=Listeners(note=notes.append))
    assert [score.name for score in scores] == ["trained", "raw pixels"]
    assert any("before training is not scored" in note and "source" in note for note in notes)


@pytest.mark.parametrize("setting", ["train.start", "model.pretrained"])
def test_people_of_the_network_it_began_with_are_known(
    setting: str, rendered: ReidDataset, source: Path, tmp_path: Path
):
    start, folder, theirs = tmp_path / "source", tmp_path / "run", load_trained_on(source)
    shutil.copytree(source, start)
    folder.mkdir()
    some = replace(rendered, train=(*rendered.train[:4], rendered.query[0]))
    run = RunState(small_recipe(f"{setting}={start}", "data.batch_ids=2"), some, folder)
    run.save_origin()
    known = load_trained_on(folder)
    assert np.array_equal(known, np.union1d(theirs, digests_of([rendered.query[0].path])))
    shutil.rmtree(start)
    run.save_origin()
    assert np.array_equal(load_trained_on(folder), known), "goes on without the source"
    (folder / TRAINED_ON).unlink()
    shutil.copytree(source, start, ignore=shutil.ignore_patterns(TRAINED_ON))
    run.save_origin()
    assert load_trained_on(folder) is None, "nobody knows"


def test_backbone_of_a_file_brings_nobody(rendered: ReidDataset, source: Path, tmp_path: Path):
    some = replace(rendered, train=(rendered.train[0], rendered.train[-1]))
    file = source / "weights.safetensors"
    RunState(small_recipe(f"model.pretrained={file}", "data.batch_ids=2"), some, tmp_path).save_origin()
    assert np.array_equal(load_trained_on(tmp_path), np.unique(digests_of([s.path for s in some.train])))


def test_missing_weights_are_refused_before_the_teachers_read(
    rendered: ReidDataset, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "teacher_rows", lambda *_: pytest.fail("read"))
    settings = [f"distill.teachers={source}", "distill.similarity=1", f"train.start={tmp_path / 'gone'}"]
    with pytest.raises(CheckpointError, match="gone"):
        run_experiment(small_recipe(*settings), rendered, tmp_path / "run")


def test_start_and_pretrained_exclude_each_other():
    with pytest.raises(RecipeError, match=r"model\.pretrained changes nothing with train\.start=rrid-mini"):
        with_settings(find_recipe("rrid-mini"), ["model.pretrained=body.safetensors"])
    assert random_start(with_settings(find_recipe("rrid-s"), ["train.start=runs/other"])) is None
