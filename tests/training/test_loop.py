"""The training loop: what it writes, when it stops, and that an interrupted training ends as an uninterrupted one."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import Interruption, kill_at, same_weights, small_recipe, trained

from crosscam.data.loading import open_images
from crosscam.data.records import ReidDataset
from crosscam.data.resizing import prepare
from crosscam.errors import CheckpointError, DataError, StoppedError, TrainingError
from crosscam.losses import Loss
from crosscam.models.rrid import RRID
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.choices import RRIDLoss
from crosscam.training.callbacks import Listeners, StepReport, read_history
from crosscam.training.plan import epoch_batches, input_size, unseen_note, warmup_note
from crosscam.training.run import RunState
from crosscam.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def uninterrupted(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RRID]:
    """The small training, run to its end."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, trained(small_recipe(), rendered, folder)


def test_a_training_learns_and_writes_its_folder(rendered: ReidDataset, tmp_path: Path) -> None:
    fast = ["optim.lr_head=1e-2", "optim.lr_backbone=1e-2", "data.augment.erase=none"]
    recipe = small_recipe("train.epochs=6", *fast)
    steps: list[StepReport] = []
    epochs: list[float] = []
    reading: list[tuple[int, int]] = []
    listeners = Listeners(
        reading=lambda *done: reading.append(done),
        step=steps.append,
        epoch=lambda record: epochs.append(record["loss"]),
    )
    model = train(recipe, rendered, tmp_path / "run", evaluate=lambda m: {"mAP": 0.5}, listeners=listeners)
    assert not model.training
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.is_file()) == [
        "metrics.jsonl",
        "provenance.json",
        "recipe.json",
        "trained_on.json",
        "weights.safetensors",
    ]
    assert checkpoint.load_recipe(tmp_path / "run") == recipe
    history = read_history(tmp_path / "run")
    assert [r["epoch"] for r in history] == list(range(1, 7))
    assert [r["loss"] for r in history] == epochs
    assert history[-1]["triplet"] < 0.9 * history[0]["triplet"], "it learns"
    assert history[-1]["cross_entropy"] < history[0]["cross_entropy"], "it learns"
    for record in history:
        assert record["loss"] == pytest.approx(record["triplet"] + 2.0 * record["cross_entropy"], rel=1e-5)
        assert record["images_per_second"] > 0
        assert record["mAP"] == 0.5
    for epoch in range(1, 7):
        mine = [s for s in steps if s.epoch == epoch]
        assert [s.batch for s in mine] == list(range(1, mine[0].batches + 1))
    assert history[-1]["step"] == len(steps)
    assert reading[-1] == (len(rendered.train), len(rendered.train))
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["data"]["fingerprint"] == rendered.fingerprint()
    assert provenance["metrics"] == history[-1]
    assert provenance["images_seen"] == 8 * len(steps)


def test_the_same_seed_gives_the_same_losses_and_weights(
    rendered: ReidDataset, tmp_path: Path, uninterrupted: tuple[Path, RRID]
) -> None:
    # What the process did before must not matter: draw, and leave other seeds behind.
    torch.manual_seed(99)
    torch.rand(7)
    again = trained(small_recipe(), rendered, tmp_path / "again")
    assert same_weights(again.state_dict(), uninterrupted[1].state_dict())
    losses = [[r["loss"] for r in read_history(f)] for f in (tmp_path / "again", uninterrupted[0])]
    assert losses[0] == losses[1]
    other = trained(small_recipe("train.seed=1"), rendered, tmp_path / "other")
    assert not same_weights(other.state_dict(), again.state_dict())


VARIANTS = {
    "adamw": [],
    "sgd": ["optim.name=sgd", "optim.clip_norm=5"],
    "ema": ["train.ema=0.9"],
    "accumulate": ["train.accumulate=2"],
    "sizes-swa": ["data.small_until=0.5", "data.small=32,32", "train.swa_epochs=2"],
    "anchors": ["data.sampler=anchors", "data.augment.shift=0.1", "data.augment.jitter=0.2"],
    "bf16-stream": ["train.precision=bf16", "data.cache=stream"],
    "contiguous": ["train.channels_last=false"],
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_killed_training_ends_bit_for_bit_as_an_uninterrupted_one(
    rendered: ReidDataset, tmp_path: Path, settings: list[str]
) -> None:
    recipe = small_recipe("train.checkpoint_steps=2", *settings)
    whole = trained(recipe, rendered, tmp_path / "whole")
    folder = tmp_path / "killed"
    # In the first epoch, at the first batch after a checkpoint within the epoch, and in the second epoch.
    for resume, (epoch, batch) in enumerate([(1, 1), (1, 7), (2, 4)]):
        with pytest.raises(Interruption):
            train(recipe, rendered, folder, resume=bool(resume), listeners=kill_at(epoch, batch))
    found = trained(recipe, rendered, folder, resume=True)
    assert same_weights(found.state_dict(), whole.state_dict())
    whole_history, history = read_history(tmp_path / "whole"), read_history(folder)
    assert [r["epoch"] for r in history] == [1, 2]
    for a, b in zip(whole_history, history, strict=True):
        assert [a[k] for k in ("step", "loss", "triplet", "lr")] == [b[k] for k in ("step", "loss", "triplet", "lr")]
    assert not (folder / checkpoint.STATE).exists()
    provenance = [json.loads((f / checkpoint.PROVENANCE).read_text()) for f in (tmp_path / "whole", folder)]
    assert provenance[0]["images_seen"] == provenance[1]["images_seen"]


def count_steps(seen: list[tuple[int, int]]) -> Listeners:
    return Listeners(step=lambda report: seen.append((report.epoch, report.batch)))


def test_a_training_goes_on_from_its_last_checkpoint_and_not_from_the_start(
    rendered: ReidDataset, tmp_path: Path
) -> None:
    recipe = small_recipe("train.checkpoint_steps=3")
    with pytest.raises(Interruption):
        train(recipe, rendered, tmp_path / "run", listeners=kill_at(2, 5))
    seen: list[tuple[int, int]] = []
    train(recipe, rendered, tmp_path / "run", resume=True, listeners=count_steps(seen))
    assert seen[0] == (2, 4)


def test_checkpoints_count_steps_and_not_batches(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append((self.batch, self.steps)))
    recipe = small_recipe("train.accumulate=2", "train.checkpoint_steps=2", "train.epochs=1")
    train(recipe, rendered, tmp_path / "run")
    # The last one is at the end of the epoch.
    assert saved == [(4, 2), (8, 4), (0, 5)]


def test_a_stop_request_saves_at_once_and_resumes_bit_for_bit(
    rendered: ReidDataset, tmp_path: Path, uninterrupted: tuple[Path, RRID]
) -> None:
    def step(report: StepReport) -> None:
        if (report.epoch, report.batch) == (2, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match=r"epoch 2, batch 3 of \d+. Go on with --resume"):
        train(small_recipe(), rendered, tmp_path / "run", listeners=Listeners(step=step))
    assert signal.getsignal(signal.SIGTERM) is before
    seen: list[tuple[int, int]] = []
    model = train(small_recipe(), rendered, tmp_path / "run", resume=True, listeners=count_steps(seen))
    assert seen[0] == (2, 4)
    assert same_weights(model.state_dict(), uninterrupted[1].state_dict())


def test_a_stop_request_waits_for_the_end_of_an_accumulation(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe = small_recipe("train.accumulate=2", "train.epochs=1")
    whole = train(recipe, rendered, tmp_path / "whole")

    def step(report: StepReport) -> None:
        if report.batch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match="batch 4 of"):
        train(recipe, rendered, tmp_path / "run", listeners=Listeners(step=step))
    found = train(recipe, rendered, tmp_path / "run", resume=True)
    assert same_weights(found.state_dict(), whole.state_dict())


@pytest.mark.parametrize("victim", [checkpoint.WEIGHTS, checkpoint.PROVENANCE, checkpoint.STATE])
def test_a_kill_between_the_last_files_is_made_good(
    rendered: ReidDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: tuple[Path, RRID],
    victim: str,
) -> None:
    write = checkpoint.write_atomically
    epochs = 0

    def killed(path: Path, fill: object) -> None:
        nonlocal epochs
        if path.name == victim:
            epochs += 1
            if epochs == 2:
                raise Interruption
        write(path, fill)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", killed)
        with pytest.raises(Interruption):
            train(small_recipe(), rendered, tmp_path / "run")
    found = trained(small_recipe(), rendered, tmp_path / "run", resume=True)
    assert same_weights(found.state_dict(), uninterrupted[1].state_dict())
    provenance = json.loads((tmp_path / "run" / checkpoint.PROVENANCE).read_text())
    assert provenance["metrics"]["epoch"] == 2
    assert [r["epoch"] for r in read_history(tmp_path / "run")] == [1, 2]
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_folder_that_is_taken_is_refused(rendered: ReidDataset, uninterrupted: tuple[Path, RRID]) -> None:
    folder = uninterrupted[0]
    before = (folder / checkpoint.WEIGHTS).read_bytes()
    with pytest.raises(CheckpointError, match="already holds a training"):
        train(small_recipe(), rendered, folder)
    assert (folder / checkpoint.WEIGHTS).read_bytes() == before


def test_weights_of_unknown_origin_are_not_overwritten(rendered: ReidDataset, tmp_path: Path) -> None:
    (tmp_path / checkpoint.WEIGHTS).write_bytes(b"somebody's")
    with pytest.raises(CheckpointError, match="already holds a training"):
        train(small_recipe(), rendered, tmp_path)
    assert (tmp_path / checkpoint.WEIGHTS).read_bytes() == b"somebody's"


def test_a_finished_training_is_returned_as_it_is(rendered: ReidDataset, uninterrupted: tuple[Path, RRID]) -> None:
    folder, model = uninterrupted
    seen: list[tuple[int, int]] = []
    again = train(small_recipe(), rendered, folder, resume=True, listeners=count_steps(seen))
    assert not seen
    assert not again.training
    assert same_weights(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_or_other_data_are_refused(rendered: ReidDataset, tmp_path: Path, finished: bool) -> None:
    settings = ["train.epochs=1", "train.checkpoint_steps=1"]
    if finished:
        train(small_recipe(*settings), rendered, tmp_path)
    else:
        with pytest.raises(Interruption):
            train(small_recipe(*settings), rendered, tmp_path, listeners=kill_at(1, 2))
    with pytest.raises(CheckpointError, match=r"optim.lr_head=0.002 \(now 0.001\)") as caught:
        train(small_recipe(*settings, "optim.lr_head=0.001"), rendered, tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    fewer = replace(rendered, train=rendered.train[:-1])
    with pytest.raises(CheckpointError, match="other data"):
        train(small_recipe(*settings), fewer, tmp_path, resume=True)
    # A name and a description are no settings.
    train(small_recipe(*settings, "name=renamed"), rendered, tmp_path, resume=True)


def test_a_training_stopped_before_its_first_checkpoint_begins_again(
    rendered: ReidDataset, tmp_path: Path, uninterrupted: tuple[Path, RRID]
) -> None:
    with pytest.raises(Interruption):
        train(small_recipe(), rendered, tmp_path, listeners=kill_at(1, 3))
    assert (tmp_path / checkpoint.RECIPE).exists()
    assert not (tmp_path / checkpoint.STATE).exists()
    again = trained(small_recipe(), rendered, tmp_path, resume=True)
    assert same_weights(again.state_dict(), uninterrupted[1].state_dict())


@pytest.mark.parametrize("term", ["triplet", "cross_entropy"])
def test_a_loss_that_is_not_finite_stops_and_names_step_and_term(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    real = RRIDLoss.compute
    calls = 0

    def broken(*arguments: object, **keywords: object) -> Loss:
        nonlocal calls
        calls += 1
        loss = real(*arguments, **keywords)  # type: ignore[arg-type]
        if calls < 5:
            return loss
        nan = loss.total * math.nan
        return replace(loss, total=nan, **{term: nan})

    monkeypatch.setattr(RRIDLoss, "compute", broken)
    with pytest.raises(TrainingError) as caught:
        train(small_recipe("train.checkpoint_steps=2"), rendered, tmp_path)
    assert str(caught.value).startswith(f"The {term} loss is nan at epoch 1, batch 5 (step 5).")
    assert "\n" not in str(caught.value)
    state = torch.load(tmp_path / checkpoint.STATE, weights_only=True)
    assert state["batch"] == 4
    assert all(torch.isfinite(v).all() for v in state["model"].values())


def test_weights_that_are_not_finite_are_never_saved(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(report: StepReport) -> None:
        if report.batch == 4:
            with torch.no_grad():
                models[0].backbone.conv1.weight.fill_(math.inf)

    models: list[RRID] = []

    def remember(*arguments: object, **keywords: object) -> RRID:
        models.append(build_model(*arguments, **keywords))  # type: ignore[arg-type]
        return models[-1]

    monkeypatch.setattr("crosscam.recipes.checkpoint.build_model", remember)
    with pytest.raises(TrainingError, match=r"backbone\.conv1\.weight are not finite after step 4"):
        train(small_recipe("train.checkpoint_steps=2"), rendered, tmp_path, listeners=Listeners(step=step))
    state = torch.load(tmp_path / checkpoint.STATE, weights_only=True)
    assert state["batch"] == 2


def test_the_average_of_the_weights_is_what_is_saved(
    rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, torch.Tensor]] = []

    def update(run: RunState) -> None:
        step(run)
        states.append({name: value.clone() for name, value in run.model.state_dict().items()})

    step = RunState.update
    monkeypatch.setattr(RunState, "update", update)
    recipe = small_recipe("train.epochs=1", "train.ema=0.4", "evaluation.every=0")
    saved = trained(recipe, rendered, tmp_path).state_dict()
    name, counter = "backbone.layer4.0.conv2.weight", "backbone.bn1.num_batches_tracked"
    average = initial_weights(recipe, rendered)[name]
    for number, state in enumerate(states, start=1):
        # A short memory at first; from the sixth step on as long as the recipe says.
        decay = min(0.4, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * state[name]
    assert len(states) > 6
    torch.testing.assert_close(saved[name], average)
    assert (saved[name] - states[-1][name]).abs().max() > 1e-5
    assert torch.equal(saved[counter], states[-1][counter])


def initial_weights(recipe: object, dataset: ReidDataset) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    ids = len({s.pid for s in dataset.train})
    return build_model(recipe, ids).state_dict()  # type: ignore[arg-type]


def test_scores_are_taken_as_often_as_the_recipe_says(rendered: ReidDataset, tmp_path: Path) -> None:
    asked: list[bool] = []

    def evaluate(model: RRID) -> dict[str, float]:
        asked.append(model.training)
        return {"mAP": 0.25}

    train(small_recipe("train.epochs=5", "evaluation.every=2"), rendered, tmp_path, evaluate=evaluate)
    assert asked == [False] * 3
    assert [r["epoch"] for r in read_history(tmp_path) if "mAP" in r] == [2, 4, 5]


def test_scoring_does_not_change_the_training(
    rendered: ReidDataset, tmp_path: Path, uninterrupted: tuple[Path, RRID]
) -> None:
    def evaluate(model: RRID) -> dict[str, float]:
        torch.rand(3)
        with torch.inference_mode():
            return {"x": float(model(torch.randn(4, 3, 64, 32)).descriptor.sum())}

    model = train(small_recipe(), rendered, tmp_path, evaluate=evaluate)
    assert same_weights(model.state_dict(), uninterrupted[1].state_dict())


def test_the_small_size_comes_first() -> None:
    recipe = small_recipe("train.epochs=10", "data.small_until=0.5", "data.small=32,32")
    assert [input_size(recipe, e) for e in (1, 5, 6, 10)] == [(32, 32), (32, 32), (64, 32), (64, 32)]
    assert input_size(small_recipe(), 1) == (64, 32)


def test_a_batch_has_two_images_at_least() -> None:
    labels = torch.arange(7).repeat_interleave(3).numpy()
    recipe = small_recipe("data.sampler=anchors", "data.batch_ids=4")
    assert [len(b) for b in epoch_batches(recipe, labels, 1)] == [8] * 5 + [2]
    ones = small_recipe("data.sampler=anchors", "data.batch_ids=4", "loss.name=classification", "data.batch_images=1")
    assert [len(b) for b in epoch_batches(ones, labels, 1)] == [4] * 5
    first, second = (epoch_batches(recipe, labels, epoch) for epoch in (1, 2))
    assert first[0].tolist() != second[0].tolist()


def test_few_people_do_not_make_batches_smaller() -> None:
    """Only clusters do, whose number is not known before."""
    labels = torch.arange(3).repeat_interleave(20).numpy()
    recipe = small_recipe("data.sampler=shuffled", "data.batch_ids=8", "data.batch_images=4")
    assert len(epoch_batches(recipe, labels, 1)[0]) == 32


def test_data_that_cannot_make_a_batch_is_refused(rendered: ReidDataset, tmp_path: Path) -> None:
    one_id = replace(rendered, train=tuple(s for s in rendered.train if s.pid == rendered.train[0].pid))
    few = replace(rendered, train=rendered.train[:1] + rendered.train[-1:])
    for dataset, settings, expected in (
        (replace(rendered, train=()), [], "training subset .* is empty"),
        (one_id, [], "one training identity"),
        (rendered, ["data.batch_ids=40"], "a batch of recipe small takes 40.* --set data.batch_ids=14"),
        (few, ["data.batch_images=4"], "has 2 training images, fewer than the 4"),
    ):
        with pytest.raises(DataError, match=expected) as caught:
            train(small_recipe(*settings), dataset, tmp_path / "run")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_projection_is_fitted_to_the_training_images(rendered: ReidDataset, tmp_path: Path, average: float) -> None:
    recipe = small_recipe("model.project=3", f"train.ema={average}", "evaluation.every=0")
    model = trained(recipe, rendered, tmp_path / "whole")
    images = open_images([s.path for s in rendered.train], recipe.data.height, recipe.data.width)
    blocks = []
    with torch.no_grad():
        for pixels in images.batches([np.arange(len(images))]):
            blocks = model(prepare(pixels, recipe.data.height, recipe.data.width)).embeddings
    assert len(blocks) == 3
    for block in blocks:
        assert block.shape == (len(images), 3)
        assert block.mean(dim=0).abs().max() < 1e-3
        variances = torch.cov(block.T)
        assert variances.diagonal().min() > 0.5
        assert (variances - torch.diag(variances.diagonal())).abs().max() < 1e-3
    with pytest.raises(Interruption):
        train(recipe, rendered, tmp_path / "killed", listeners=kill_at(2, 1))
    resumed = trained(recipe, rendered, tmp_path / "killed", resume=True)
    assert same_weights(resumed.state_dict(), model.state_dict())


def test_blocks_can_be_cut_without_being_whitened(rendered: ReidDataset, tmp_path: Path) -> None:
    settings = "model.project=3", "evaluation.every=0", "train.epochs=1"
    whitened = trained(small_recipe(*settings), rendered, tmp_path / "whitened")
    cut = trained(small_recipe(*settings, "model.whiten=false"), rendered, tmp_path / "cut")
    before, after = whitened.state_dict(), cut.state_dict()
    # The setting is of the last step alone.
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"projection.linear.weight", "projection.linear.bias"}
    assert after["projection.linear.bias"].abs().max() == 0
    directions = after["projection.linear.weight"]
    torch.testing.assert_close(directions.transpose(1, 2) @ directions, torch.eye(3).expand(len(directions), 3, 3))


def test_a_network_is_scored_in_mid_training_with_a_projection_of_its_own(
    rendered: ReidDataset, tmp_path: Path
) -> None:
    fitted: list[torch.Tensor] = []

    def score(model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, RRID)
        assert model.projection is not None
        fitted.append(model.projection.linear.bias.clone())
        return {"mAP": 0.5}

    train(small_recipe("model.project=3"), rendered, tmp_path / "run", evaluate=score)
    assert len(fitted) == 2
    assert fitted[0].abs().max() > 0
    assert not torch.equal(*fitted)


def test_a_warm_up_that_never_ends_says_so() -> None:
    note = warmup_note(small_recipe("schedule.warmup_epochs=3"))
    assert note is not None
    assert "still rising when the training ends: schedule.warmup_epochs=3 with train.epochs=2" in note
    assert warmup_note(small_recipe("schedule.warmup_epochs=2")) is None


def test_an_epoch_of_a_part_of_the_images_says_so() -> None:
    labels = np.repeat(np.arange(16), [400, *[4] * 15])
    recipe = small_recipe("data.batch_ids=16", "data.batch_images=4", "data.sampler=identities")
    note = unseen_note(recipe, labels, 1)
    assert note is not None
    assert "64 of the 460 training images" in note
    assert "one identity has 400." in note
    assert unseen_note(small_recipe("data.sampler=anchors"), labels, 1) is None
    assert unseen_note(small_recipe("data.sampler=shuffled"), labels, 1) is None
    assert unseen_note(recipe, np.repeat(np.arange(16), 8), 1) is None


def test_it_says_so_once(rendered: ReidDataset, tmp_path: Path) -> None:
    first = rendered.train[0].pid
    some = [s for s in rendered.train if s.pid == first or s.camid == rendered.train[0].camid]
    lone = [s for i, s in enumerate(some) if s.pid == first or some[i - 1].pid != s.pid]
    uneven = replace(rendered, train=tuple(lone) + tuple(s for s in rendered.train if s.pid == first) * 8)
    said: list[str] = []
    recipe = small_recipe("data.batch_ids=8", "data.batch_images=2", "data.sampler=identities", "train.epochs=2")
    train(recipe, uneven, tmp_path / "run", listeners=Listeners(note=said.append))
    assert len(said) == 1
    assert "An epoch shows" in said[0]


def test_a_papers_recipe_from_random_weights_says_so_once(rendered: ReidDataset, tmp_path: Path) -> None:
    notes: list[str] = []
    recipe = replace(small_recipe("train.epochs=1"), name="rrid-f")
    train(recipe, rendered, tmp_path / "run", listeners=Listeners(note=notes.append))
    assert len([n for n in notes if n.startswith("rrid-f starts from random weights, its paper from ImageNet's")]) == 1
    notes.clear()
    train(small_recipe("train.epochs=1"), rendered, tmp_path / "demo", listeners=Listeners(note=notes.append))
    assert not any("random weights" in n for n in notes)
