"""The training loop: one process, or several under torchrun; a run that is killed goes on with ``resume``.

Everything random in a step follows from the seed and the number of the epoch or step, never from what ran before. So
``state.pt`` needs no random state, and a resumed training on the CPU gives the same weights, bit for bit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crosscam.data.augment import augment
from crosscam.data.loading import Images, Progress, open_images
from crosscam.data.records import ReidDataset, labels_of
from crosscam.data.samplers import Batches, anchor_batches, identity_batches
from crosscam.errors import CheckpointError, DataError, TrainingError
from crosscam.losses import rrid_loss
from crosscam.models.rrid import RRID
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_to_json
from crosscam.training import checkpoint
from crosscam.training.allocator import keep_freed_memory
from crosscam.training.distributed import World, joined_world
from crosscam.training.logbook import Logbook
from crosscam.training.optim import build_optimizer, learning_rate_factor, set_learning_rate
from crosscam.training.provenance import provenance_of

Evaluate = Callable[[RRID], Mapping[str, float]]
TERMS = ("loss", "triplet", "cross_entropy")


@dataclass(frozen=True)
class StepReport:
    """Where a training stands, for a progress bar.

    Attributes:
        epoch, epochs: the current one, 1-based, and all.
        batch, batches: done in this epoch, and all.
        loss: of the last batch.
        images_per_second: over this epoch, in this process.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Listeners:
    """Who is told what; all optional.

    Attributes:
        reading: (images done, all) while images are decoded.
        step: after each batch.
        epoch: the record of each epoch, as in ``metrics.jsonl``.
    """

    reading: Progress | None = None
    step: Callable[[StepReport], None] | None = None
    epoch: Callable[[Mapping[str, float]], None] | None = None


@dataclass
class Run:
    """What changes while a training runs.

    Attributes:
        model, optimizer: being trained.
        average: moving average of the weights, by name; None without.
        epoch: current epoch, 1-based.
        batch: batches done in it.
        step: optimizer steps done in all.
        sums: totals of this epoch: the loss terms times images, the images and the seconds.
        cpu_seconds: processor time of earlier processes of this run.
    """

    model: RRID
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor] | None
    epoch: int = 1
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    images_seen: int = 0


def train(
    recipe: Recipe,
    dataset: ReidDataset,
    folder: Path,
    *,
    resume: bool = False,
    evaluate: Evaluate | None = None,
    listeners: Listeners | None = None,
) -> RRID:
    """Train a recipe on a data set's training images; the result is on the disk and returned.

    Args:
        recipe: the experiment.
        dataset: its ``train`` subset is learned.
        folder: the run folder; it is made. It must not hold another training.
        resume: go on with the training in ``folder``, or begin it if it was stopped before its first checkpoint.
        evaluate: scores of the current model, taken every ``recipe.evaluation.every`` epochs and written down.
        listeners: told of the progress.
    Returns:
        The trained model, with the averaged weights if the recipe averages.
    Raises:
        DataError: too few identities, or unreadable images.
        CheckpointError: ``folder`` holds another training.
        TrainingError: the loss is not finite, the disk is full, or the training was asked to stop.
    """
    labels = _check_labels(recipe, dataset)
    listeners = listeners or Listeners()
    if not resume and (folder / checkpoint.RECIPE).exists():
        raise CheckpointError(f"{folder} already holds a training. Go on with --resume, or choose another folder.")
    if not resume:
        for path in _planned_files(folder):
            path.unlink(missing_ok=True)
    with joined_world() as world:
        folder.mkdir(parents=True, exist_ok=True)
        run = _start(recipe, dataset, folder, world, int(labels.max()) + 1, resume)
        if run is None:
            return _finished(recipe, folder, int(labels.max()) + 1)
        world.barrier()
        images = open_images(
            [s.path for s in dataset.train], recipe.data.height, recipe.data.width, recipe.data.cache, listeners.reading
        )
        keep_freed_memory()
        with Logbook(folder, run.epoch - 1) if world.rank == 0 else nullcontext() as book, _stop_requests() as stop:
            while run.epoch <= recipe.train.epochs:
                _train_epoch(run, recipe, dataset, images, labels, folder, world, listeners, stop)
                record = _epoch_record(run, recipe, evaluate)
                run.epoch, run.batch, run.sums = run.epoch + 1, 0, {}
                if book is not None:
                    book.write(record)
                    _save(run, recipe, dataset, folder, record)
                if listeners.epoch:
                    listeners.epoch(record)
        if world.rank == 0:
            (folder / checkpoint.STATE).unlink(missing_ok=True)
        world.barrier()
        return _averaged(run)


def _check_labels(recipe: Recipe, dataset: ReidDataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    if not dataset.train:
        raise DataError(
            f"The training subset of {dataset.root} is empty. 'crosscam data doctor' says what the folder is."
        )
    labels = labels_of(dataset.train)
    num_ids = int(labels.max()) + 1
    if num_ids < 2:
        raise DataError(f"{dataset.root} has one training identity; telling people apart takes at least two.")
    if len(labels) < recipe.data.batch_images:
        raise DataError(
            f"{dataset.root} has {len(labels)} training images, fewer than the {recipe.data.batch_images} of one "
            "identity in a batch. Add images, or set data.batch_images."
        )
    if recipe.data.sampler == "identities" and num_ids < recipe.data.batch_ids:
        raise DataError(
            f"{dataset.root} has {num_ids} training identities, but a batch of recipe {recipe.name} takes "
            f"{recipe.data.batch_ids}. Add identities, or --set data.batch_ids={num_ids}."
        )
    return labels


def _planned_files(folder: Path) -> list[Path]:
    names = (checkpoint.STATE, checkpoint.WEIGHTS, checkpoint.PROVENANCE)
    return [folder / name for name in names]


def _start(recipe: Recipe, dataset: ReidDataset, folder: Path, world: World, num_ids: int, resume: bool) -> Run | None:
    """A new run, or the saved one; None if it is finished already."""
    state = checkpoint.load_state(folder, recipe, dataset.fingerprint()) if resume else None
    if resume and state is None and (folder / checkpoint.PROVENANCE).exists():
        return None
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe, num_ids).to(world.device)
    if recipe.train.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, recipe.optim)
    average = {k: v.clone() for k, v in model.state_dict().items()} if recipe.train.ema else None
    run = Run(model, optimizer, average)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        run.average = state["average"] and {k: v.to(world.device) for k, v in state["average"].items()}
        run.epoch, run.batch, run.step, run.sums = state["epoch"], state["batch"], state["step"], dict(state["sums"])
        run.cpu_seconds, run.images_seen = state["cpu_seconds"], state["images_seen"]
        # The number of threads changes the order of sums, and so the last bits.
        torch.set_num_threads(state["threads"])
    elif world.rank == 0:
        checkpoint.save_recipe(folder, recipe)
    return run


def _finished(recipe: Recipe, folder: Path, num_ids: int) -> RRID:
    model = build_model(recipe, num_ids)
    model.load_state_dict(checkpoint.load_weights(folder))
    return model


def _train_epoch(
    run: Run,
    recipe: Recipe,
    dataset: ReidDataset,
    images: Images,
    labels: np.ndarray[Any, np.dtype[np.int64]],
    folder: Path,
    world: World,
    listeners: Listeners,
    stop: Callable[[], bool],
) -> None:
    """What is left of the current epoch; saves in between as the recipe says and when asked to stop."""
    order = _epoch_batches(recipe, labels, run.epoch, world)
    if not order:
        raise DataError(
            f"{dataset.root} has too few images for one batch. Set data.batch_ids or data.batch_images lower."
        )
    model: nn.Module = DistributedDataParallel(run.model) if world.size > 1 else run.model
    model.train()
    began, seen = time.perf_counter(), 0
    for pixels in images.batches([world.share(b, recipe.data.batch_images) for b in order[run.batch :]]):
        indices = world.share(order[run.batch], recipe.data.batch_images)
        set_learning_rate(
            run.optimizer,
            learning_rate_factor(recipe.schedule, run.epoch, recipe.train.epochs, run.batch / len(order)),
        )
        ends_step = (run.batch + 1) % recipe.train.accumulate == 0 or run.batch + 1 == len(order)
        loss = _train_batch(run, model, recipe, pixels, torch.from_numpy(labels[indices]), world, ends_step)
        run.batch += 1
        seen += len(indices)
        if listeners.step:
            rate = seen / (time.perf_counter() - began)
            listeners.step(StepReport(run.epoch, recipe.train.epochs, run.batch, len(order), loss, rate))
        due = recipe.train.checkpoint_steps and run.batch % recipe.train.checkpoint_steps == 0
        if ends_step and run.batch < len(order) and (due or stop()):
            if world.rank == 0:
                checkpoint.save_state(folder, _state(run, recipe, dataset))
            if stop():
                raise TrainingError(
                    f"Stopped as asked in epoch {run.epoch}, batch {run.batch} of {len(order)}. Go on with --resume."
                )
    run.sums["seconds"] = run.sums.get("seconds", 0.0) + time.perf_counter() - began


def _epoch_batches(recipe: Recipe, labels: np.ndarray[Any, np.dtype[np.int64]], epoch: int, world: World) -> Batches:
    rng = np.random.default_rng([recipe.train.seed, epoch])
    size, images = recipe.data.batch_ids, recipe.data.batch_images
    if recipe.data.sampler == "identities":
        batches = identity_batches(labels, size, images, rng)
    else:
        batches = anchor_batches(labels, size * images, images, rng)
    # Every process needs at least two images of each batch, or it would wait for the others for ever.
    return [b for b in batches if len(b) // images >= world.size and len(b) >= 2 * world.size]


def _train_batch(
    run: Run, model: nn.Module, recipe: Recipe, pixels: Tensor, pids: Tensor, world: World, ends_step: bool
) -> float:
    """Forward, backward and, at the end of an accumulation, one step; the loss."""
    generator = _step_generator(recipe.train.seed, run.epoch, run.batch, world)
    height, width = _input_size(recipe, run.epoch)
    inputs = augment(pixels.to(world.device, non_blocking=True), height, width, recipe.data.augment, generator)
    if recipe.train.channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    pids = pids.to(world.device, non_blocking=True)
    wait = isinstance(model, DistributedDataParallel) and not ends_step
    with model.no_sync() if wait else nullcontext():  # type: ignore[operator]
        with torch.autocast(world.device.type, torch.bfloat16, enabled=recipe.train.precision == "bf16"):
            output = model(inputs)
        settings = recipe.loss
        loss = rrid_loss(
            output,
            pids,
            settings.margin,
            settings.cross_entropy_weight,
            label_smoothing=settings.label_smoothing,
            triplet_on=settings.triplet_on,
        )
        values = torch.stack((loss.total, loss.triplet, loss.cross_entropy)).detach().float().tolist()
        _check_finite(values, run)
        (loss.total / recipe.train.accumulate).backward()  # type: ignore[no-untyped-call]
    for name, value in zip(TERMS, values, strict=True):
        run.sums[name] = run.sums.get(name, 0.0) + value * len(pids)
    run.sums["images"] = run.sums.get("images", 0.0) + len(pids)
    run.images_seen += len(pids) * world.size
    if ends_step:
        _take_step(run, recipe)
    return float(values[0])


def _take_step(run: Run, recipe: Recipe) -> None:
    if recipe.optim.clip_norm is not None:
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.optim.clip_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.step += 1
    if run.average is not None:
        # A short memory at first, or the random beginning would weigh for long.
        decay = min(recipe.train.ema, (1 + run.step) / (10 + run.step))
        for name, value in run.model.state_dict().items():
            if value.dtype.is_floating_point:
                run.average[name].lerp_(value, 1 - decay)
            else:
                run.average[name].copy_(value)


def _check_finite(values: list[float], run: Run) -> None:
    for name, value in zip(TERMS[1:], values[1:], strict=True):
        if not np.isfinite(value):
            raise TrainingError(
                f"The {name} loss is {value} at epoch {run.epoch}, batch {run.batch + 1} (step {run.step + 1}). "
                "Lower optim.lr_backbone and optim.lr_head, or use train.precision=fp32."
            )


def _step_generator(seed: int, epoch: int, batch: int, world: World) -> torch.Generator:
    """Random numbers of one batch in one process; layers that draw by themselves are seeded too."""
    state = int(np.random.SeedSequence([seed, epoch, batch, world.rank]).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(state)
    return torch.Generator(world.device).manual_seed(state)


def _input_size(recipe: Recipe, epoch: int) -> tuple[int, int]:
    if epoch <= recipe.data.small_until * recipe.train.epochs:
        return recipe.data.small
    return recipe.data.height, recipe.data.width


def _epoch_record(run: Run, recipe: Recipe, evaluate: Evaluate | None) -> dict[str, float]:
    images = run.sums["images"]
    record = {
        "epoch": run.epoch,
        "step": run.step,
        **{name: run.sums[name] / images for name in TERMS},
        "lr": run.optimizer.param_groups[-1]["lr"],
        "images_per_second": images / run.sums["seconds"],
        "seconds": run.sums["seconds"],
        "cpu_seconds": run.cpu_seconds + time.process_time(),
    }
    every = recipe.evaluation.every
    if evaluate is not None and every and (run.epoch % every == 0 or run.epoch == recipe.train.epochs):
        model = _averaged(run)
        record.update(evaluate(model))
        model.train()
    return record


def _averaged(run: Run) -> RRID:
    """The model to use: the trained one, or a copy that carries the averaged weights."""
    if run.average is None:
        return run.model.eval()
    from copy import deepcopy

    model = deepcopy(run.model)
    model.load_state_dict(run.average)
    return model.eval()


def _state(run: Run, recipe: Recipe, dataset: ReidDataset) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipe": recipe_to_json(recipe),
        "data": dataset.fingerprint(),
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average,
        "epoch": run.epoch,
        "batch": run.batch,
        "step": run.step,
        "sums": run.sums,
        "threads": torch.get_num_threads(),
        "cpu_seconds": run.cpu_seconds + time.process_time(),
        "images_seen": run.images_seen,
    }


def _save(run: Run, recipe: Recipe, dataset: ReidDataset, folder: Path, record: Mapping[str, float]) -> None:
    """End of an epoch: first the state, from which everything can be made again, then the readable files."""
    checkpoint.save_state(folder, _state(run, recipe, dataset))
    checkpoint.save_weights(folder, run.average or run.model.state_dict())
    checkpoint.save_provenance(folder, provenance_of(recipe, dataset, record, run.images_seen))


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM only set a flag, so that a training saves before it stops; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        del frame
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # Only the main thread can listen for signals.
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
