"""Trainings that begin with the weights of another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_training import small_recipe, trained

from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, RecipeError
from crosscam.recipes.catalogue import find_recipe, random_start
from crosscam.recipes.checkpoint import CLASSIFIERS, load_weights
from crosscam.recipes.settings import with_settings
from crosscam.training.run import RunState


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


def test_start_and_pretrained_exclude_each_other():
    with pytest.raises(RecipeError, match=r"model\.pretrained changes nothing with train\.start=rrid-mini"):
        with_settings(find_recipe("rrid-mini"), ["model.pretrained=body.safetensors"])
    assert random_start(with_settings(find_recipe("rrid-s"), ["train.start=runs/other"])) is None
