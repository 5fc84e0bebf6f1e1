"""A training that runs: what changes from step to step, and how it is saved and taken up again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosscam.data.records import ReidDataset
from crosscam.errors import TrainingError
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_to_json
from crosscam.training import checkpoint
from crosscam.training.distillation import Distiller
from crosscam.training.optim import build_optimizer
from crosscam.training.provenance import provenance_of


@dataclass
class Run:
    """What changes while a training runs.

    Attributes:
        model: the network, on its device.
        optimizer: its optimizer.
        average: moving average of the weights, by name; None without.
        epoch: current epoch, 1-based.
        batch: batches done in it.
        step: optimizer steps done in all.
        images_seen: images of all epochs and processes, repetitions counted.
        sums: totals of this epoch: each loss term times images, the images, and the seconds.
        cpu_seconds: processor time of earlier processes of this run.
        cpu_start: the process's own when it took up this run; a process may train several.
        processes: how many train together.
        distiller: the losses of the teachers with their maps; None without teachers.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor] | None
    epoch: int = 1
    batch: int = 0
    step: int = 0
    images_seen: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    cpu_start: float = field(default_factory=time.process_time)
    processes: int = 1
    distiller: Distiller | None = None


def new_run(
    recipe: Recipe,
    num_ids: int,
    device: torch.device,
    processes: int,
    *,
    pretrained: bool = True,
    teacher_dims: Sequence[int] = (),
) -> Run:
    """A run before its first step; the seed alone decides the weights.

    Args:
        recipe: the experiment.
        num_ids: K, identities to classify.
        device: where to train.
        processes: how many train together.
        pretrained: False for a run that is restored next.
        teacher_dims: length of each teacher's descriptors; their maps are trained at the rate of the head.
    """
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe, num_ids, pretrained=pretrained).to(device)
    if recipe.train.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {k: v.clone() for k, v in model.state_dict().items()} if recipe.train.ema else None
    optimizer, distiller = build_optimizer(model, recipe.optim), _distiller(recipe, model, teacher_dims)
    if distiller is not None and recipe.distill.mapping:
        rate = recipe.optim.lr_head
        optimizer.add_param_group({"params": list(distiller.to(device).parameters()), "lr": rate, "base_lr": rate})
    return Run(model, optimizer, average, processes=processes, distiller=distiller)


def _distiller(recipe: Recipe, model: nn.Module, teacher_dims: Sequence[int]) -> Distiller | None:
    if not teacher_dims:
        return None
    projection = getattr(model, "projection", None)
    layout = layout_of(model)
    dim = layout[-1].stop if projection is None else projection.linear.weight[..., 0].numel()
    distill = recipe.distill
    return Distiller(dim, teacher_dims, similarity=distill.similarity, mapping=distill.mapping)


def restore(run: Run, state: Mapping[str, Any], device: torch.device) -> str:
    """Put a new run to where ``state`` was taken; a sentence about the number of threads it goes on with."""
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    if run.distiller is not None:
        run.distiller.load_state_dict(state["distiller"])
    if state["average"] is not None:
        run.average = {k: v.to(device) for k, v in state["average"].items()}
    run.epoch, run.batch, run.step = state["epoch"], state["batch"], state["step"]
    run.images_seen, run.sums, run.cpu_seconds = state["images_seen"], dict(state["sums"]), state["cpu_seconds"]
    if state.get("processes", run.processes) == run.processes:
        # The number of threads changes the order of sums, and so the last bits.
        torch.set_num_threads(state["threads"])
        return f"Going on with {state['threads']} threads, as the training began, so that its numbers stay the same."
    return f"Going on with {torch.get_num_threads()} threads in each of {run.processes} processes."


def save_state(run: Run, recipe: Recipe, dataset: ReidDataset, folder: Path) -> None:
    """Write all that is needed to go on from here.

    Raises:
        TrainingError: the weights are not finite, or the disk is full; the last state stays.
    """
    _check_weights(run)
    state = {
        "name": recipe.name,
        "recipe": recipe_to_json(recipe),
        "data": dataset.fingerprint(),
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average,
        "distiller": None if run.distiller is None else run.distiller.state_dict(),
        "epoch": run.epoch,
        "batch": run.batch,
        "step": run.step,
        "images_seen": run.images_seen,
        "sums": run.sums,
        "threads": torch.get_num_threads(),
        "processes": run.processes,
        "cpu_seconds": total_cpu_seconds(run),
    }
    checkpoint.save_state(folder, state)


def save_epoch(run: Run, recipe: Recipe, dataset: ReidDataset, folder: Path, record: Mapping[str, float]) -> None:
    """End of an epoch: first the state, from which everything can be made again, then the readable files."""
    save_state(run, recipe, dataset, folder)
    save_readable(run, recipe, dataset, folder, record)


def save_readable(run: Run, recipe: Recipe, dataset: ReidDataset, folder: Path, record: Mapping[str, float]) -> None:
    """Write what others read: the weights, and where they come from."""
    checkpoint.save_weights(folder, run.average or run.model.state_dict())
    checkpoint.save_provenance(folder, provenance_of(recipe, dataset, record, run.images_seen))


def _check_weights(run: Run) -> None:
    """A gradient that is not finite shows in the weights one step before it shows in the loss."""
    for name, value in run.model.state_dict().items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"The weights {name} are not finite after step {run.step}, in or after epoch {run.epoch}. The last "
                "checkpoint is untouched. Lower optim.lr_backbone and optim.lr_head, or set optim.clip_norm."
            )


def total_cpu_seconds(run: Run) -> float:
    """Processor seconds of this process and the earlier ones of this run."""
    return run.cpu_seconds + time.process_time() - run.cpu_start


def take_step(run: Run, recipe: Recipe) -> None:
    """One optimizer step on the gradients at hand, and one of the moving average."""
    if recipe.optim.clip_norm is not None:
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.optim.clip_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.step += 1
    if run.average is None:
        return
    # A short memory at first, or the random beginning would weigh for long.
    decay = min(recipe.train.ema, (1 + run.step) / (10 + run.step))
    for name, value in run.model.state_dict().items():
        if value.dtype.is_floating_point:
            run.average[name].lerp_(value, 1 - decay)
        else:
            run.average[name].copy_(value)


def averaged_model(run: Run) -> nn.Module:
    """The model to use: the trained one, or a copy with the averaged weights; in evaluation mode."""
    if run.average is None:
        return run.model.eval()
    model = deepcopy(run.model)
    model.load_state_dict(run.average)
    return model.eval()
