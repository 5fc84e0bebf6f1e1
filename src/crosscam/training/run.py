"""The state of a training: what changes from step to step, how it is saved, and how it is taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.loading import Images
from crosscam.data.records import ReidDataset
from crosscam.errors import TrainingError
from crosscam.inference.describing import training_descriptors
from crosscam.losses.system_losses import Loss
from crosscam.models.output import ReidOutput
from crosscam.models.rrid import RRID
from crosscam.models.systems import begin_epoch
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_to_json
from crosscam.system.cores import chip_has_bf16
from crosscam.system.distributed import ALONE
from crosscam.training.learned import learned_from
from crosscam.training.plan import build_optimizer, checked_labels
from crosscam.training.provenance import provenance_of
from crosscam.training.teachers import Distiller, build_distiller, unlabeled_paths
from crosscam.training.trained_on import Digests, readable_digests, save_trained_on


class RunState:
    """A network in training.

    Args:
        recipe: the experiment.
        dataset: its ``train`` subset is learned.
        folder: the run folder.

    Attributes:
        world: the processes that train together.
        labels: (N,) class numbers of the training images.
        model: the network, on its device, once it is built (:meth:`start`).
        optimizer: of its weights.
        average: average of the weights, by name; None without.
        distiller: the losses of the teachers with their maps; None without teachers.
        epoch: current epoch, 1-based.
        batch: batches done in it.
        steps: optimizer steps done in all.
        unlabeled: further images, for the teachers alone.
        images_seen: images of all epochs and processes, repetitions counted.
        sums: totals of this epoch: each loss term times images, the images, and the seconds.

    Raises:
        DataError: too few identities or images.
        RecipeError: images without labels that are not there.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, recipe: Recipe, dataset: ReidDataset, folder: Path) -> None:
        self.recipe, self.dataset, self.folder, self.world = recipe, dataset, folder, ALONE
        self.labels = self.first_labels()
        self.unlabeled = unlabeled_paths(recipe.distill)
        self.average: dict[str, Tensor] | None = None
        self.distiller: Distiller | None = None
        self.epoch, self.batch, self.steps, self.images_seen = 1, 0, 0, 0
        self.sums: dict[str, float] = {}
        # Of earlier processes of this run, less what this one had used before; it may train several.
        self._cpu_seconds = 0.0

    @property
    def num_ids(self) -> int:
        """K, identities to classify."""
        return int(self.labels.max()) + 1

    # What a training without labels does in another way; see crosscam.adaptation.adapter.

    def first_labels(self) -> NDArray[np.int64]:
        """(N,) class numbers of the training images when the training begins."""
        return checked_labels(self.recipe, self.dataset)

    def build(self, *, pretrained: bool) -> nn.Module:
        """The network before its first step; without ``pretrained``, one that gets all its weights next."""
        if pretrained:
            return checkpoint.initial_model(self.recipe, self.num_ids)
        return build_model(self.recipe, self.num_ids, pretrained=False)

    def begin_phase(self) -> bool:
        """Prepare a system with stages for the epoch; whether what is trained may have changed."""
        return begin_epoch(self.recipe.model, self.model, self.epoch, resumed=self.batch > 0)

    def renew_labels(self, images: Images) -> None:
        """Called before the first epoch and each one; labels of people stay as they are."""

    def loss_of(self, output: ReidOutput, targets: Tensor, indices: NDArray[np.int64]) -> Loss:
        """The loss of one batch.

        Args:
            output: what the network gave for B images.
            targets: (B,) class numbers.
            indices: (B,) of the images.
        """
        del indices
        return self.recipe.loss.compute(output, targets)

    @cached_property
    def digests(self) -> Digests:
        """(N + M,) of the files of the training images and of those without labels; DataError if one cannot be read."""
        return readable_digests([*(s.path for s in self.dataset.train), *self.unlabeled])

    @cached_property
    def learned(self) -> dict[str, str]:
        """What the training learns from, as digests that a training that goes on must find again."""
        return learned_from(self.recipe, self.dataset, self.digests)

    def save_origin(self) -> None:
        """Write whom the training learns from."""
        start = checkpoint.trained_start(self.recipe)
        save_trained_on(self.folder, self.dataset, self.unlabeled, start, self.digests)

    def provenance(self, record: Mapping[str, float]) -> dict[str, Any]:
        """Where the weights come from, after the epoch of ``record``."""
        told = provenance_of(self.recipe, self.dataset, record, self.images_seen)
        return told | {"data": told["data"] | {checkpoint.LEARNED: self.learned}}

    def further_record(self) -> dict[str, float]:
        """What else is written down of an epoch."""
        return {}

    def further_state(self) -> dict[str, Any]:
        """What else is needed to go on."""
        return {}

    def restore_further(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`further_state` gave."""

    def start(self, *, pretrained: bool = True) -> None:
        """Build the network as it is before its first step; the seed alone decides the weights.

        Args:
            pretrained: False for a run that is restored next.
        """
        recipe, device = self.recipe, self.world.device
        torch.manual_seed(recipe.train.seed)
        self.model = self.build(pretrained=pretrained).to(device)
        if recipe.train.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.train.ema:
            self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizer = build_optimizer(self.model, recipe.optim)
        precision = recipe.train.precision
        self.bf16 = precision == "bf16" or (precision == "auto" and chip_has_bf16(device))
        self._cpu_seconds = -time.process_time()

    def follow_teachers(self, dims: Sequence[int]) -> None:
        """Add the losses of teachers, behind :meth:`start`; their maps are trained at the rate of the head.

        Args:
            dims: length of each teacher's descriptors.
        """
        distill, rate = self.recipe.distill, self.recipe.optim.lr_head
        self.distiller = build_distiller(distill, self.model, dims).to(self.world.device)
        if distill.mapping:
            self.optimizer.add_param_group({"params": [*self.distiller.parameters()], "lr": rate, "base_lr": rate})

    def restore(self, state: Mapping[str, Any]) -> str:
        """Go to where ``state`` was taken; a sentence about the number of threads it goes on with."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.distiller is not None:
            self.distiller.load_state_dict(state["distiller"])
        if state["average"] is not None:
            self.average = {k: v.to(self.world.device) for k, v in state["average"].items()}
        self.epoch, self.batch, self.steps = state["epoch"], state["batch"], state["step"]
        self.images_seen, self.sums = state["images_seen"], dict(state["sums"])
        self.restore_further(state)
        self._cpu_seconds += state["cpu_seconds"]
        processes = self.world.size
        if state.get("processes", processes) == processes:
            # The number of threads changes the order of sums, and so the last bits.
            torch.set_num_threads(state["threads"])
            return (
                f"Going on with {state['threads']} threads, as the training began, so that its numbers stay the same."
            )
        return f"Going on with {torch.get_num_threads()} threads in each of {processes} processes."

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "distiller": None if self.distiller is None else self.distiller.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.steps,
            "images_seen": self.images_seen,
            "sums": self.sums,
            "threads": torch.get_num_threads(),
            "processes": self.world.size,
            "cpu_seconds": self.cpu_seconds,
            **self.further_state(),
        }

    def save(self) -> None:
        """Write all that is needed to go on from here.

        Raises:
            TrainingError: the weights are not finite, or the disk is full; the last state stays.
        """
        self._check_weights()
        of_what = {
            "name": self.recipe.name,
            "recipe": recipe_to_json(self.recipe),
            "data": self.dataset.fingerprint(),
            checkpoint.LEARNED: self.learned,
        }
        checkpoint.save_state(self.folder, of_what | self.state())

    def save_readable(self, record: Mapping[str, float]) -> None:
        """Write what others read: the weights, and where they come from."""
        checkpoint.save_weights(self.folder, self.average or self.model.state_dict())
        checkpoint.save_provenance(self.folder, self.provenance(record))

    def _check_weights(self) -> None:
        """A gradient that is not finite shows in the weights one step before it shows in the loss."""
        for name, value in self.model.state_dict().items():
            if not torch.isfinite(value).all():
                raise TrainingError(
                    f"The weights {name} are not finite after step {self.steps}, in or after epoch {self.epoch}. The "
                    "last checkpoint is untouched. Lower optim.lr_backbone and optim.lr_head, or set optim.clip_norm."
                )

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of this process and the earlier ones of this run."""
        return self._cpu_seconds + time.process_time()

    def add(self, name: str, value: float) -> None:
        """Add to one of the epoch's totals."""
        self.sums[name] = self.sums.get(name, 0.0) + value

    def update(self) -> None:
        """One optimizer step on the gradients at hand, and one of the moving average."""
        if self.recipe.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is None or not self.recipe.train.ema:
            return
        # A short memory at first, or the random beginning would weigh for long.
        decay = min(self.recipe.train.ema, (1 + self.steps) / (10 + self.steps))
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def current_model(self) -> nn.Module:
        """The model to use, in evaluation mode and the same in every process; a copy where the recipe averages."""
        model = self.model
        if self.average is not None:
            model = deepcopy(model)
            model.load_state_dict(self.average)
        # The running statistics of batch normalization can be each process's own.
        self.world.take_from_first(model.buffers())
        return model.eval()

    def fit_projection(self, images: Images) -> None:
        """Fit the projection of the model to use to the training's images, where it has one, and keep it."""
        model = self.current_model()
        if not isinstance(model, RRID) or model.projection is None:
            return
        projection, model.projection = model.projection, None
        try:
            found = training_descriptors(model, self.recipe, images)
        finally:
            model.projection = projection
        projection.fit(found)
        self.world.take_from_first(projection.state_dict().values())
        for kept in (self.model.state_dict(), self.average or {}):
            for name, value in projection.state_dict(prefix="projection.").items():
                if name in kept:
                    kept[name].copy_(value)

    def check_losses(self, losses: Mapping[str, float]) -> None:
        """Refuse to learn from a loss that is not finite.

        Raises:
            TrainingError: one of the terms is not.
        """
        for name, value in losses.items():
            if name != "loss" and not math.isfinite(value):
                raise TrainingError(
                    f"The {name} loss is {value} at epoch {self.epoch}, batch {self.batch + 1} (step {self.steps + 1})."
                    " Lower optim.lr_backbone and optim.lr_head, or use train.precision=fp32."
                )
