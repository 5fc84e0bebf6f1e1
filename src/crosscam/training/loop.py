"""The training loop: one process, or several under torchrun; a run that is killed goes on with ``resume``.

Everything random in a step follows from the seed and the place of the step in the training, never from what ran before.
So ``state.pt`` needs no random state, and a resumed training on the CPU gives the same weights, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crosscam.data.augment import PartGenerator, augment
from crosscam.data.loading import Images, open_images
from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, DataError, StoppedError, TrainingError
from crosscam.models.systems import begin_epoch
from crosscam.recipes.catalogue import build_model, random_start
from crosscam.recipes.recipe import Recipe
from crosscam.training import checkpoint
from crosscam.training.allocator import keep_freed_memory
from crosscam.training.distributed import Split, World, joined_world
from crosscam.training.freezing import freeze_stages
from crosscam.training.listeners import Listeners, StepReport
from crosscam.training.logbook import Logbook, read_history
from crosscam.training.neighbours import Neighbours
from crosscam.training.optim import learning_rate_factor, set_learning_rate
from crosscam.training.plan import checked_labels, epoch_batches, input_size, unseen_note, with_unlabelled
from crosscam.training.precision import uses_bf16
from crosscam.training.run import (
    Run,
    averaged_model,
    new_run,
    restore,
    save_epoch,
    save_readable,
    save_state,
    take_step,
    total_cpu_seconds,
)
from crosscam.training.stopping import stop_requests
from crosscam.training.teachers import teacher_rows, unlabelled_paths
from crosscam.training.whitening import PROJECTION, fit_projection
from crosscam.training.whole_batch import WholeBatchNorm, whole_output

Evaluate = Callable[[nn.Module], Mapping[str, float]]
TERMS = ("loss", "triplet", "cross_entropy")


@dataclass(frozen=True)
class Job:
    """What stays the same while a training runs."""

    recipe: Recipe
    dataset: ReidDataset
    labels: NDArray[np.int64]
    folder: Path
    world: World
    listeners: Listeners
    bf16: bool
    unlabelled: tuple[Path, ...] = ()
    taught: tuple[Tensor, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The training images, and behind them those without labels."""
        return [*(s.path for s in self.dataset.train), *self.unlabelled]


def train(
    recipe: Recipe,
    dataset: ReidDataset,
    folder: Path,
    *,
    resume: bool = False,
    evaluate: Evaluate | None = None,
    listeners: Listeners | None = None,
) -> nn.Module:
    """Train a recipe on a data set's training images; the result is on the disk and returned.

    Args:
        recipe: the experiment.
        dataset: its ``train`` subset is learned.
        folder: the run folder; it is made. It must not hold another training.
        resume: go on with the training in ``folder``, or begin it if it was stopped before its first checkpoint.
        evaluate: scores of the current model, taken every ``recipe.evaluation.every`` epochs and written down. Called
            in every process, with the same model; the first one's scores count.
        listeners: told of the progress.
    Returns:
        The trained model, in evaluation mode, with the averaged weights if the recipe averages.
    Raises:
        DataError: too few identities, or unreadable images.
        CheckpointError: ``folder`` holds another training.
        BusyError: another process trains there.
        TrainingError: the loss is not finite, the disk is full, another process is lost, or the training was asked to
            stop.
    """
    labels = checked_labels(recipe, dataset)
    unlabelled = tuple(unlabelled_paths(recipe.distill))
    if not resume:
        checkpoint.check_free(folder)
    with joined_world() as world:
        bf16 = uses_bf16(recipe.train.precision, world.device)
        if recipe.distill.teachers and world.size > 1:
            raise TrainingError("Several processes cannot learn from distill.teachers. Train in one process.")
        job = Job(recipe, dataset, labels, folder, world, listeners or Listeners(), bf16, unlabelled)
        with world.only_writer(folder, folder=True):
            if not resume:
                # Once more: another training may have ended since.
                checkpoint.check_free(folder)
            return _train_joined(job, resume, evaluate)


def _train_joined(job: Job, resume: bool, evaluate: Evaluate | None) -> nn.Module:
    """The training of a process that has joined the others."""
    recipe, dataset, folder, world = job.recipe, job.dataset, job.folder, job.world
    note = random_start(recipe)
    if note:
        job.listeners.tell(note)
    started = _start(job, resume)
    if started is None:
        return _finished(job)
    run, job = started
    world.barrier()
    data, paths = recipe.data, job.paths
    images = open_images(paths, data.height, data.width, data.cache, job.listeners.reading)
    if world.rank == 0:
        # Not before: images that cannot be read must not leave a folder that looks like a training.
        checkpoint.save_recipe(folder, recipe)
        _say_what_is_unseen(job, run.epoch)
    keep_freed_memory()
    with Logbook(folder, run.epoch - 1) if world.rank == 0 else nullcontext() as book, stop_requests() as stop:
        if book is not None and run.epoch > recipe.train.epochs:
            # The last process ended between the last state and the files that are made from it.
            save_readable(run, recipe, dataset, folder, next(reversed(read_history(folder)), {}))
        _train_epochs(run, job, images, evaluate, book, stop)
    if world.rank == 0:
        (folder / checkpoint.STATE).unlink(missing_ok=True)
    model = _model_of_all(run, world)
    world.barrier()
    return model


def _say_what_is_unseen(job: Job, epoch: int) -> None:
    note = unseen_note(job.recipe, job.labels, epoch)
    if note:
        job.listeners.tell(note)


def _model_of_all(run: Run, world: World) -> nn.Module:
    """The model to use, the same in every process."""
    model = averaged_model(run)
    # The running statistics of batch normalisation can be each process's own.
    world.take_from_first(model.buffers())
    return model


def _train_epochs(
    run: Run, job: Job, images: Images, evaluate: Evaluate | None, book: Logbook | None, stop: Callable[[], bool]
) -> None:
    """All epochs that are left, each written down by the process that has the book."""
    recipe, neighbours = job.recipe, Neighbours()
    network: nn.Module | None = None
    while run.epoch <= recipe.train.epochs:
        # Before the wrapping, which must know what is trained.
        if begin_epoch(recipe.model, run.model, run.epoch, resumed=run.batch > 0) or network is None:
            network = DistributedDataParallel(run.model) if job.world.size > 1 else run.model
        _train_epoch(run, job, network, images, stop)
        scored = evaluate is not None and _is_scored(recipe, run.epoch)
        if scored or run.epoch == recipe.train.epochs:
            _fit_projection(run, job, images)
        record = _epoch_record(run, job, evaluate if scored else None)
        run.epoch, run.batch, run.sums = run.epoch + 1, 0, {}
        if book is not None:
            book.write(record)
            save_epoch(run, recipe, job.dataset, job.folder, record)
        if job.listeners.epoch:
            job.listeners.epoch(record)
        if (text := neighbours.noticed()) is not None:
            job.listeners.tell(text)


def _is_scored(recipe: Recipe, epoch: int) -> bool:
    every = recipe.evaluation.every
    return bool(every) and (epoch % every == 0 or epoch == recipe.train.epochs)


def _fit_projection(run: Run, job: Job, images: Images) -> None:
    """Fit the projection of the model to use, where it has one, and keep it in the run."""
    model = _model_of_all(run, job.world)
    if fit_projection(model, job.recipe, images):
        found = {k: v for k, v in model.state_dict().items() if k.startswith(PROJECTION)}
        job.world.take_from_first(found.values())
        for kept in (run.model.state_dict(), *([] if run.average is None else [run.average])):
            for name, value in found.items():
                kept[name].copy_(value)


def _start(job: Job, resume: bool) -> tuple[Run, Job] | None:
    """A new run, or the saved one, and the job with what its teachers say; None if it is finished already."""
    recipe, folder, world = job.recipe, job.folder, job.world
    # Every process has looked at the folder before the first one writes to it.
    world.barrier()
    folder.mkdir(parents=True, exist_ok=True)
    state = checkpoint.load_state(folder, recipe, job.dataset.fingerprint()) if resume else None
    if resume and state is None and (folder / checkpoint.PROVENANCE).exists():
        checkpoint.check_same_training(folder, recipe, job.dataset.fingerprint())
        return None
    if recipe.distill.teachers:
        job = replace(job, taught=teacher_rows(recipe.distill, job.paths, folder, job.listeners.reading))
    run = new_run(
        recipe,
        int(job.labels.max()) + 1,
        world.device,
        world.size,
        pretrained=state is None,
        teacher_dims=[rows.shape[1] for rows in job.taught],
    )
    if state is not None:
        job.listeners.tell(restore(run, state, world.device))
    if not world.same((run.epoch, run.batch, run.step)):
        raise CheckpointError(
            f"The processes found different states in {folder}. It must be on a disk that they share."
        )
    return run, job


def _finished(job: Job) -> nn.Module:
    model = build_model(job.recipe, int(job.labels.max()) + 1, pretrained=False)
    checkpoint.load_weights_into(model, job.folder, job.recipe)
    return model.to(job.world.device).eval()


def _train_epoch(run: Run, job: Job, model: nn.Module, images: Images, stop: Callable[[], bool]) -> None:
    """What is left of the current epoch; saves in between as the recipe says, and when asked to stop."""
    recipe, world = job.recipe, job.world
    order = with_unlabelled(
        epoch_batches(recipe, job.labels, run.epoch), recipe, job.labels, len(job.unlabelled), run.epoch
    )
    if not order:
        raise DataError(
            f"{job.dataset.root} has too few images for one batch. Set data.batch_ids or data.batch_images lower."
        )
    model.train()
    freeze_stages(run.model, recipe)
    splits = [world.split(len(batch), recipe.data.batch_images) for batch in order]
    began = last = time.perf_counter()
    seen = 0
    places = range(run.batch, len(order))
    for pixels in images.batches([order[i][splits[i].rows] for i in places]):
        indices = order[run.batch]
        ends_step = (run.batch + 1) % recipe.train.accumulate == 0 or run.batch + 1 == len(order)
        factor = learning_rate_factor(recipe.schedule, run.epoch, recipe.train.epochs, run.batch / len(order))
        set_learning_rate(run.optimizer, factor)
        loss = _train_batch(run, job, model, pixels, indices, splits[run.batch], ends_step)
        run.images_seen += len(indices)
        run.batch, seen, now = run.batch + 1, seen + len(indices), time.perf_counter()
        run.sums["seconds"] = run.sums.get("seconds", 0.0) + now - last
        last = now
        if job.listeners.step:
            rate = seen / (now - began)
            job.listeners.step(StepReport(run.epoch, recipe.train.epochs, run.batch, len(order), loss, rate))
        if ends_step and run.batch < len(order):
            _save_within_epoch(run, job, len(order), world.any(stop()))


def _save_within_epoch(run: Run, job: Job, num_batches: int, stop: bool) -> None:
    every = job.recipe.train.checkpoint_steps
    steps = run.batch // job.recipe.train.accumulate
    if (stop or (every and steps % every == 0)) and job.world.rank == 0:
        save_state(run, job.recipe, job.dataset, job.folder)
    if stop:
        raise StoppedError(
            f"Stopped as asked in epoch {run.epoch}, batch {run.batch} of {num_batches}. "
            "Go on with --resume; the demo goes on by itself."
        )


def _train_batch(
    run: Run, job: Job, model: nn.Module, pixels: Tensor, indices: NDArray[np.int64], split: Split, ends_step: bool
) -> float:
    """Forward, backward and, at the end of an accumulation, one step; the loss of the whole batch.

    Args:
        pixels: of this process's rows.
        indices: of all rows.
        split: which rows are this process's.
    """
    recipe, device = job.recipe, job.world.device
    pids = torch.from_numpy(job.labels[indices[indices < len(job.labels)]])
    inputs = _augmented(run, job, pixels, split)
    waits = isinstance(model, DistributedDataParallel) and not ends_step
    together = WholeBatchNorm() if recipe.train.sync_batch_norm and split.shared else nullcontext()
    with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
        with torch.autocast(device.type, torch.bfloat16, enabled=job.bf16), together:
            output = whole_output(model(inputs), split)
        loss = recipe.loss.compute(output.first(len(pids)), pids.to(device, non_blocking=True))
        total = loss.total
        if run.distiller is not None:
            rows = torch.from_numpy(indices)
            total = total + run.distiller(output.descriptor, [t[rows].to(device) for t in job.taught])
            taught = float((total - loss.total).detach())
            run.sums["distillation"] = run.sums.get("distillation", 0.0) + taught * len(pids)
        values = torch.stack((total, loss.triplet, loss.cross_entropy)).detach().float().tolist()
        _check_finite(values, run)
        (total / recipe.train.accumulate).backward()  # type: ignore[no-untyped-call]
    for name, value in zip(TERMS, values, strict=True):
        run.sums[name] = run.sums.get(name, 0.0) + value * len(pids)
    run.sums["images"] = run.sums.get("images", 0.0) + len(pids)
    if ends_step:
        take_step(run, recipe)
    return float(values[0])


def _augmented(run: Run, job: Job, pixels: Tensor, split: Split) -> Tensor:
    """What the network takes of these images; each is changed as it would be in a process that had the whole batch."""
    recipe, device = job.recipe, job.world.device
    place = (recipe.train.seed, run.epoch, run.batch)
    # Layers that draw by themselves (dropout) do so for each process's own images.
    torch.manual_seed(_seed(*place, job.world.rank))
    generator = PartGenerator.of(device, split.total, split.rows.start).manual_seed(_seed(*place, 0))
    height, width = input_size(recipe, run.epoch)
    inputs = augment(pixels.to(device, non_blocking=True), height, width, recipe.data.augment, generator)
    return inputs.contiguous(memory_format=torch.channels_last) if recipe.train.channels_last else inputs


def _check_finite(values: list[float], run: Run) -> None:
    for name, value in zip(TERMS[1:], values[1:], strict=True):
        if not math.isfinite(value):
            raise TrainingError(
                f"The {name} loss is {value} at epoch {run.epoch}, batch {run.batch + 1} (step {run.step + 1}). "
                "Lower optim.lr_backbone and optim.lr_head, or use train.precision=fp32."
            )


def _seed(*place: int) -> int:
    """A seed that follows from seed, epoch, batch and process."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)


def _epoch_record(run: Run, job: Job, evaluate: Evaluate | None) -> dict[str, float]:
    images, seconds = run.sums["images"], run.sums["seconds"]
    record = {
        "epoch": run.epoch,
        "step": run.step,
        **{name: run.sums[name] / images for name in (*TERMS, "distillation") if name in run.sums},
        "lr": run.optimizer.param_groups[-1]["lr"],
        "images_per_second": images / seconds,
        "seconds": seconds,
        "cpu_seconds": total_cpu_seconds(run),
    }
    if evaluate is not None:
        record.update(evaluate(_model_of_all(run, job.world)))
    return record
