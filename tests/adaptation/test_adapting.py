"""An adaptation from beginning to end: what it reads and writes; a killed one ends as an uninterrupted one."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import crosscam
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import CheckpointError, RecipeError, TrainingError
from crosscam.experiments.adapting import _read, recipe_for, run_adaptation, without_labels
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.settings import with_settings
from crosscam.training.callbacks import Listeners, StepReport, read_history

TINY = (
    "name=tiny",
    "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=8",
    "data.height=64",
    "data.width=32",
    "train.precision=fp32",
    "evaluation.flip=false",
)
SETTINGS = (
    "adapt.eps=0.6",
    "adapt.k1=6",
    "adapt.k2=2",
    "adapt.min_images=2",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.frozen_stages=0",
    "train.checkpoint_steps=2",
    "train.epochs=2",
)


def untrained(folder: Path, seed: int = 0) -> Path:
    """A run folder with the weights of the seed."""
    recipe = with_settings(find_recipe("demo"), TINY)
    torch.manual_seed(seed)
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, build_model(recipe, 3).state_dict())
    checkpoint.save_provenance(folder, {"recipe": "tiny"})
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that learned nothing."""
    return untrained(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(rendered: ReidDataset, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptation without interruption, with scores."""
    folder = tmp_path_factory.mktemp("adapted") / "whole"
    crosscam.adapt(source, rendered, folder, labeled=rendered, settings=SETTINGS, progress=False)
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in checkpoint.load_weights(folder).items()}


def test_it_writes_an_ordinary_run(rendered: ReidDataset, source: Path, whole: Path) -> None:
    assert sorted(p.name for p in whole.iterdir() if p.is_file()) == [
        "adapt.json",
        "adapt.md",
        "metrics.jsonl",
        "provenance.json",
        "recipe.json",
        "scores.json",
        "weights.safetensors",
    ]
    assert weights(whole) != {name: value for name, value in weights(source).items() if name in weights(whole)}
    assert crosscam.Extractor.load(whole)([rendered.train[0].path]).shape == (1, 24)
    told = json.loads((whole / "adapt.json").read_text())
    assert [set(told[when]) >= {"mAP", "rank1", "data_fingerprint"} for when in ("before", "after")] == [True, True]
    assert told["epochs"] == read_history(whole)
    assert [record["clusters"] > 1 for record in told["epochs"]] == [True, True]
    assert "agreement" in told["epochs"][1]
    page = (whole / "adapt.md").read_text()
    assert "| mAP |" in page
    assert f"{len(rendered.train)} images without labels, 3 cameras" in page
    provenance = json.loads((whole / "provenance.json").read_text())
    assert provenance["data"]["train_ids"] == 0
    assert provenance["adapted_from"]["name"] == "tiny"


def test_folders_of_a_folder_of_images_are_cameras(tmp_path: Path) -> None:
    for name in ("yard/1.png", "yard/2.png", "door/monday/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8)).save(tmp_path / name)
    assert [(s.path.name, s.camera) for s in without_labels(_read(tmp_path)).train] == [
        ("1.png", "door"),
        ("1.png", "yard"),
        ("2.png", "yard"),
    ]


def test_labels_are_never_read(rendered: ReidDataset, source: Path, whole: Path, tmp_path: Path) -> None:
    """Shuffled identities change no bit of the weights."""
    pids = [s.pid for s in rendered.train]
    random.Random(0).shuffle(pids)
    shuffled = replace(rendered, train=tuple(replace(s, pid=p) for s, p in zip(rendered.train, pids, strict=True)))
    assert shuffled.train != rendered.train
    crosscam.adapt(source, shuffled, tmp_path / "run", settings=SETTINGS, progress=False)
    assert weights(tmp_path / "run") == weights(whole)


def test_a_killed_adaptation_ends_bit_for_bit_as_an_uninterrupted_one(
    rendered: ReidDataset, source: Path, whole: Path, tmp_path: Path
) -> None:
    recipe, folder = recipe_for(source, SETTINGS), tmp_path / "killed"
    # In the first epoch, behind a checkpoint within the epoch, and in the second epoch.
    for number, place in enumerate([(1, 1), (1, 3), (2, 1)]):

        def step(report: StepReport, place: tuple[int, int] = place) -> None:
            if (report.epoch, report.batch) == place:
                raise KeyError("killed")

        with pytest.raises(KeyError):
            run_adaptation(source, recipe, rendered, folder, resume=bool(number), listeners=Listeners(step=step))
    crosscam.adapt(source, rendered, folder, settings=SETTINGS, resume=True, progress=False)
    assert weights(folder) == weights(whole)
    same = ("loss", "clusters", "agreement", "unclustered")
    found, expected = ([[r.get(k) for k in same] for r in read_history(f)] for f in (folder, whole))
    assert found == expected
    again = crosscam.adapt(source, rendered, folder, labeled=rendered, settings=SETTINGS, resume=True, progress=False)
    assert again.after is not None
    assert again.after["mAP"] == json.loads((whole / "adapt.json").read_text())["after"]["mAP"]


def test_what_does_not_fit_the_folder_is_refused(
    rendered: ReidDataset, source: Path, whole: Path, tmp_path: Path
) -> None:
    other = untrained(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="an adaptation of other weights"):
        crosscam.adapt(other, rendered, whole, settings=SETTINGS, resume=True, progress=False)
    with pytest.raises(RecipeError, match=r"model\.\*: the network of .* is adapted as it is"):
        recipe_for(source, ["model.dim=4"])
    with pytest.raises(CheckpointError, match="already holds"):
        crosscam.adapt(source, rendered, whole, settings=SETTINGS, progress=False)


def test_an_adaptation_goes_on_with_the_images_tracks_and_times_that_it_began_with(
    rendered: ReidDataset, source: Path, whole: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(rendered.root, moved)
    same = replace(rendered, root=moved, train=tuple(_moved(s, rendered.root, moved) for s in rendered.train))
    first, *others = same.train

    def step(report: StepReport) -> None:
        if report.batch == 3:
            raise KeyError("killed")

    folder, recipe = tmp_path / "killed", recipe_for(source, SETTINGS)
    with pytest.raises(KeyError):
        run_adaptation(source, recipe, rendered, folder, listeners=Listeners(step=step))
    other = untrained(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="an adaptation of other weights"):
        crosscam.adapt(other, rendered, folder, settings=SETTINGS, resume=True, progress=False)
    changes = {
        "tracks or times changed": [replace(first, track="elsewhere"), replace(first, time=7.5)],
        "was trained on other data": [replace(first, camid=9)],
    }
    for message, changed in changes.items():
        for sample in changed:
            for place in (folder, whole):
                edited = replace(same, train=(sample, *others))
                with pytest.raises(CheckpointError, match=message):
                    crosscam.adapt(source, edited, place, settings=SETTINGS, resume=True, progress=False)
    fewer = replace(same, train=tuple(others))
    with pytest.raises(CheckpointError, match="was trained on other data"):
        crosscam.adapt(source, fewer, folder, settings=SETTINGS, resume=True, progress=False)
    # Copies elsewhere are the same images; another image under an old name is not.
    bytes_before = first.path.read_bytes()
    first.path.write_bytes(others[0].path.read_bytes())
    for place in (folder, whole):
        with pytest.raises(CheckpointError, match="training images changed"):
            crosscam.adapt(source, same, place, settings=SETTINGS, resume=True, progress=False)
    first.path.write_bytes(bytes_before)
    crosscam.adapt(source, same, folder, settings=SETTINGS, resume=True, progress=False)
    assert weights(folder) == weights(whole)


def _moved(sample: Sample, old: Path, new: Path) -> Sample:
    return replace(sample, path=new / sample.path.relative_to(old))


def test_without_scikit_learn_the_extra_is_named(
    rendered: ReidDataset, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscam.adaptation.pseudo_labels.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"needs scikit-learn: pip install 'crosscam\[adapt\]'"):
        crosscam.adapt(source, rendered, tmp_path / "run", settings=SETTINGS, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_test_split_is_never_learned(rendered: ReidDataset) -> None:
    assert [s.path for s in without_labels(rendered).train] == [s.path for s in rendered.train]
    assert {s.pid for s in without_labels(rendered).train} == {0}


# What each camera makes of red, green and blue.
CASTS = {1: (1.0, 1.0, 1.0), 2: (0.5, 0.85, 1.0), 3: (1.0, 0.7, 0.4)}


def through_colored_glass(rendered: ReidDataset, folder: Path) -> ReidDataset:
    """The drawn training people at cameras whose colors are off; all of them are queries and gallery, too."""
    samples = []
    for number, sample in enumerate(rendered.train):
        pixels = np.asarray(Image.open(sample.path).convert("RGB").resize((48, 128))) * CASTS[sample.camid]
        path = folder / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        samples.append(Sample(path, sample.pid, sample.camid))
    return ReidDataset("glass", folder, tuple(samples), tuple(samples), tuple(samples))


def test_people_are_found_better_at_other_cameras(rendered: ReidDataset, tmp_path: Path) -> None:
    """The network that comes with crosscam never saw drawn people or such colors."""
    dataset = through_colored_glass(rendered, tmp_path)
    settings = ["adapt.k1=6", "adapt.k2=2", "adapt.min_images=2", "data.batch_ids=8", "data.batch_images=2"]
    settings += ["data.augment.erase=none", "evaluation.flip=false", "train.epochs=1"]
    settings += ["optim.lr_backbone=1e-3", "optim.lr_head=2e-3"]
    found = crosscam.adapt("rrid-nano", dataset, tmp_path / "run", labeled=dataset, settings=settings, progress=False)
    assert found.before is not None
    assert found.after is not None
    assert found.after["mAP"] > found.before["mAP"] + 0.04
    assert "are learned from, too" in found.notes[-1]
