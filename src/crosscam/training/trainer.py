"""The training loop: one process, or several under torchrun; a run that is killed goes on with ``resume``.

Everything random in a step follows from the seed and the place of the step in the training, never from what ran before.
So ``state.pt`` needs no random state, and a resumed training on the CPU gives the same weights, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crosscam.data.loading import Images, open_images
from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, DataError, StoppedError, TrainingError
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import random_start
from crosscam.recipes.recipe import Recipe
from crosscam.system.cores import keep_freed_memory
from crosscam.system.distributed import World, joined_world
from crosscam.system.files import make_folder
from crosscam.training.callbacks import Listeners, Logbook, Neighbors, StepReport, read_history, stop_requests
from crosscam.training.plan import (
    PlannedBatch,
    augmented,
    freeze_stages,
    planned_batches,
    set_learning_rate,
    unseen_note,
    warmup_note,
)
from crosscam.training.run import RunState
from crosscam.training.sync_batch import WholeBatchNorm, whole_output
from crosscam.training.teachers import teacher_rows
from crosscam.training.weight_averaging import average_epoch

Evaluate = Callable[[nn.Module], Mapping[str, float]]


def train(
    recipe: Recipe,
    dataset: ReidDataset,
    folder: Path,
    *,
    resume: bool = False,
    evaluate: Evaluate | None = None,
    listeners: Listeners | None = None,
) -> nn.Module:
    """Train a recipe on a dataset's training images; the result is on the disk and returned.

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
    trainer = Trainer(recipe, dataset, folder, resume=resume, listeners=listeners)
    with trainer.joined():
        return trainer.fit(evaluate)


class Trainer(RunState):
    """One training: what is learned, the network that learns it, and how far it has come.

    Args:
        recipe, dataset, folder, resume, listeners: see :func:`train`.

    Attributes:
        taught: (N, T) descriptors of each teacher.
        terms: names of the loss and its two terms.
        Others: see :class:`RunState`.

    Raises:
        DataError: too few identities or images.
        RecipeError: images without labels that are not there.
    """

    terms = ("loss", "triplet", "cross_entropy")

    def __init__(
        self,
        recipe: Recipe,
        dataset: ReidDataset,
        folder: Path,
        *,
        resume: bool = False,
        listeners: Listeners | None = None,
    ) -> None:
        super().__init__(recipe, dataset, folder)
        self.resume, self.listeners = resume, listeners or Listeners()
        self.taught: tuple[Tensor, ...] = ()
        self._network: nn.Module | None = None
        self._book: Logbook | None = None

    @contextmanager
    def joined(self) -> Iterator[World]:
        """Within the block the processes are joined, and no other training writes to the folder.

        Raises:
            BusyError: another process trains there.
            CheckpointError: it holds a training, and this one does not go on with one.
        """
        with joined_world() as self.world:
            if self.recipe.distill.teachers and self.world.size > 1:
                raise TrainingError("Several processes cannot learn from distill.teachers. Train in one process.")
            with self.world.only_writer(self.folder, folder=True):
                if not self.resume:
                    checkpoint.check_free(self.folder)
                yield self.world

    def fit(self, evaluate: Evaluate | None = None) -> nn.Module:
        """Do all epochs that are left, within :meth:`joined`; see :func:`train`."""
        recipe, folder, world = self.recipe, self.folder, self.world
        self.listeners.tell(random_start(recipe))
        if not self._begin():
            model = self.build(pretrained=False)
            checkpoint.load_weights_into(model, folder, recipe)
            return model.to(world.device).eval()
        data = recipe.data
        images = open_images(self._paths, data.height, data.width, data.cache, self.listeners.reading)
        self.renew_labels(images)
        if world.rank == 0:
            # Not before: images that cannot be read or learned must not leave a folder that looks like a training.
            checkpoint.save_recipe(folder, recipe)
            self.save_origin()
            self.listeners.tell(unseen_note(recipe, self.labels, self.epoch))
            self.listeners.tell(warmup_note(recipe))
        keep_freed_memory()
        with Logbook(folder, self.epoch - 1) if world.rank == 0 else nullcontext() as self._book:
            if self._book is not None and self.epoch > recipe.train.epochs:
                # The last process ended between the last state and the files that are made from it.
                self.save_readable(next(reversed(read_history(folder)), {}))
            self._train_epochs(images, evaluate)
        if world.rank == 0:
            (folder / checkpoint.STATE).unlink(missing_ok=True)
        model = self.current_model()
        world.barrier()
        return model

    def _begin(self) -> bool:
        """Build the network, and bring it to where the folder's state is; False if that training is finished."""
        recipe, folder, world = self.recipe, self.folder, self.world
        # Every process has looked at the folder before the first one writes to it.
        world.barrier()
        make_folder(folder)
        state = checkpoint.load_state(folder, recipe, self.dataset.fingerprint()) if self.resume else None
        if self.resume and state is None and (folder / checkpoint.PROVENANCE).exists():
            checkpoint.check_same_training(folder, recipe, self.dataset.fingerprint(), lambda: self.learned)
            return False
        if state is not None:
            checkpoint.check_learned(folder, state.get(checkpoint.LEARNED), lambda: self.learned)
        # Before the teachers read the images: weights that are missing are told of at once.
        self.start(pretrained=state is None)
        if recipe.distill.teachers:
            with torch.random.fork_rng([]):  # opening a teacher draws numbers; kept descriptors do not
                self.taught = teacher_rows(recipe.distill, self._paths, folder, self.listeners.reading, self.digests)
            self.follow_teachers([rows.shape[1] for rows in self.taught])
        if state is not None:
            self.listeners.tell(self.restore(state))
        if not world.same((self.epoch, self.batch, self.steps)):
            raise CheckpointError(
                f"The processes found different states in {folder}. It must be on a disk that they share."
            )
        world.barrier()
        return True

    @property
    def _paths(self) -> list[Path]:
        """The training images, and behind them those without labels."""
        return [*(s.path for s in self.dataset.train), *self.unlabeled]

    def evaluate(self, evaluate: Evaluate) -> Mapping[str, float]:
        """Scores of the current model."""
        return evaluate(self.current_model())

    def _train_epochs(self, images: Images, evaluate: Evaluate | None) -> None:
        """All epochs that are left, each written down by the process that has the book."""
        neighbors, every, last = Neighbors(), self.recipe.evaluation.every, self.recipe.train.epochs
        try:
            with stop_requests() as stop:
                while self.epoch <= last:
                    self.renew_labels(images)
                    self._train_epoch(images, stop)
                    scored = evaluate is not None and every and (self.epoch % every == 0 or self.epoch == last)
                    average_epoch(self, images)
                    if scored or self.epoch == last:
                        self.fit_projection(images)
                    self._end_epoch(evaluate if scored else None)
                    self.listeners.tell(neighbors.noticed())
        finally:
            # It must be gone before the processes part, see joined_world.
            self._network = None

    def _train_epoch(self, images: Images, stop: Callable[[], bool]) -> None:
        """What is left of the current epoch; saves in between as the recipe says, and when asked to stop."""
        recipe, world = self.recipe, self.world
        begun = self.begin_phase()
        self.model.train()
        freeze_stages(self.model, recipe)
        # Behind these: the wrapping must know what is trained.
        if begun or self._network is None:
            self._network = DistributedDataParallel(self.model) if world.size > 1 else self.model
        batches = planned_batches(recipe, self.labels, len(self.unlabeled), self.epoch, world)
        if not batches:
            raise DataError(
                f"{self.dataset.place} has too few images for one batch. Set data.batch_ids or data.batch_images lower."
            )
        began = last = time.perf_counter()
        seen = 0
        left = batches[self.batch :]
        for batch, pixels in zip(left, images.batches([b.indices[b.split.rows] for b in left]), strict=True):
            loss = self.step(batch, pixels)
            seen, now = seen + len(batch.indices), time.perf_counter()
            self.add("seconds", now - last)
            last = now
            if self.listeners.step:
                place = self.epoch, recipe.train.epochs, self.batch, len(batches)
                self.listeners.step(StepReport(*place, loss, seen / (now - began)))
            if batch.ends_step and self.batch < len(batches):
                self._save_within_epoch(len(batches), world.any(stop()))

    def _save_within_epoch(self, num_batches: int, stop: bool) -> None:
        every = self.recipe.train.checkpoint_steps
        due = every and self.batch // self.recipe.train.accumulate % every == 0
        if (stop or due) and self.world.rank == 0:
            self.save()
        if stop:
            raise StoppedError(
                f"Stopped as asked in epoch {self.epoch}, batch {self.batch} of {num_batches}. "
                "Go on with --resume; the demo goes on by itself."
            )

    def step(self, batch: PlannedBatch, pixels: Tensor) -> float:
        """Forward, backward and, at the end of an accumulation, one step of the optimizer.

        Args:
            batch: which images.
            pixels: (B_r, H, W, 3) uint8, those of this process.
        Returns:
            the loss of the whole batch.
        """
        train, split, device, network = self.recipe.train, batch.split, self.world.device, self._network
        assert network is not None
        labelled = batch.indices[batch.indices < len(self.labels)]
        pids = torch.from_numpy(self.labels[labelled])
        place = self.epoch, self.batch
        inputs = augmented(self.recipe, pixels.to(device, non_blocking=True), split, place, self.world.rank)
        set_learning_rate(self.optimizer, batch.rate)
        waits = isinstance(network, DistributedDataParallel) and not batch.ends_step
        whole = WholeBatchNorm() if train.sync_batch_norm and split.shared else nullcontext()
        with network.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16), whole:
                output = whole_output(network(inputs), split)
            loss = self.loss_of(output.first(len(pids)), pids.to(device, non_blocking=True), labelled)
            total = loss.total
            if self.distiller is not None:
                rows = torch.from_numpy(batch.indices)
                total = total + self.distiller(output.descriptor, [t[rows].to(device) for t in self.taught])
                self.add("distillation", float((total - loss.total).detach()) * len(pids))
            values = torch.stack((total, loss.triplet, loss.cross_entropy)).detach().float().tolist()
            losses: dict[str, float] = dict(zip(self.terms, values, strict=True))
            self.check_losses(losses)
            (total / train.accumulate).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            self.add(name, value * len(pids))
        self.add("images", len(pids))
        if batch.ends_step:
            self.update()
        self.images_seen += len(batch.indices)
        self.batch += 1
        return losses["loss"]

    def _end_epoch(self, evaluate: Evaluate | None) -> None:
        """Write down what the epoch gave, and go on to the next one."""
        images, seconds = self.sums["images"], self.sums["seconds"]
        record = {
            "epoch": self.epoch,
            "step": self.steps,
            **{name: self.sums[name] / images for name in (*self.terms, "distillation") if name in self.sums},
            **self.further_record(),
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": images / seconds,
            "seconds": seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        if evaluate is not None:
            record.update(self.evaluate(evaluate))
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        if self._book is not None:
            self._book.write(record)
            # First the state, from which everything can be made again, then the readable files.
            self.save()
            self.save_readable(record)
        if self.listeners.epoch:
            self.listeners.epoch(record)
