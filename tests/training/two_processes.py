"""What each of two processes does under torchrun, for test_distributed.py: python two_processes.py DATA PLACE.

Starting costs more than all the work, so that everything is done in one start. What was found is written to
PLACE/found0.json and found1.json; at the end the second process is killed, and the first one writes what it says to
that to PLACE/lost0.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from small_training import small_recipe
from torch import Tensor, nn

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.errors import CrosscamError, StoppedError
from crosscam.experiments.experiment import run_experiment
from crosscam.inference.bulk import describe_stream, entries_of, run_here
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.system.distributed import Split, World, joined_world
from crosscam.training.callbacks import Listeners, StepReport
from crosscam.training.plan import checked_labels, epoch_batches
from crosscam.training.sync_batch import WholeBatchNorm
from crosscam.training.trainer import train

EPOCHS = 2
# Batches of five identities, so that the parts are uneven, and a last one of one identity, which cannot be divided.
# Steps are small: rounding grows from step to step as in any training, and would hide what is looked for.
TOGETHER = (
    f"train.epochs={EPOCHS}",
    "train.sync_batch_norm=true",
    "train.accumulate=2",
    "train.checkpoint_steps=1",
    "data.sampler=anchors",
    "data.batch_ids=5",
    "data.augment.jitter=0.2",
    "data.augment.shift=0.1",
    "optim.name=sgd",
    "optim.lr_backbone=1e-4",
    "optim.lr_head=1e-3",
    "evaluation.batch_size=8",
)
TRAINING_IMAGES = 41
STREAMED, PART_SIZE = 25, 4


def recipe_and_data(dataset: ReidDataset) -> tuple[Recipe, ReidDataset]:
    """What is trained together."""
    return small_recipe(*TOGETHER), replace(dataset, train=dataset.train[:TRAINING_IMAGES])


def described(dataset: ReidDataset, out: Path, world: World | None = None) -> None:
    """Extract some of the images with a network of random weights."""
    torch.manual_seed(0)
    recipe = small_recipe()
    extractor = Extractor(build_model(recipe, 0), recipe)
    run, entries = run_here(extractor, STREAMED), entries_of(dataset)[:STREAMED]
    describe_stream(entries, out, fingerprint=extractor.fingerprint, run=run, part_size=PART_SIZE, world=world)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """A text that changes with any bit of the weights."""
    return hashlib.sha256(b"".join(weights[k].contiguous().numpy().tobytes() for k in sorted(weights))).hexdigest()


def main(root: Path, place: Path) -> None:
    """All of it."""
    # torchrun ends the other process as soon as one is gone; the training itself listens for that, as it always does.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    dataset = read_dataset(root)
    rank = os.environ["RANK"]
    try:
        with joined_world() as world:
            found = look(dataset, place, world)
            (place / f"found{rank}.json").write_text(json.dumps(found))
            world.barrier()
            recipe, part = recipe_and_data(dataset)
            train(recipe, part, place / "killed", listeners=Listeners(step=lambda r: end(r, signal.SIGKILL)))
    except CrosscamError as error:
        (place / f"lost{rank}").write_text(f"{type(error).__name__}: {error}")


def look(dataset: ReidDataset, place: Path, world: World) -> dict[str, Any]:
    """What the test compares, JSON-ready."""
    recipe, part = recipe_and_data(dataset)
    labels = checked_labels(recipe, part)
    order = epoch_batches(recipe, labels, 1)
    shares = [batch[world.split(len(batch), recipe.data.batch_images).rows].tolist() for batch in order]
    found: dict[str, Any] = {"labels": labels.tolist(), "shares": shares}
    found["norms"] = [
        norm_difference(nn.BatchNorm2d(5), (10, 5, 3, 2), world),
        norm_difference(nn.BatchNorm1d(4, momentum=None), (10, 4), world),
        norm_difference(nn.BatchNorm1d(4, affine=False, track_running_stats=False), (10, 4, 3), world),
    ]
    losses: list[float] = []
    try:
        stop = Listeners(step=lambda r: losses.append(r.loss) or end(r, signal.SIGTERM))
        train(recipe, part, place / "together", listeners=stop)
    except StoppedError as error:
        found["stopped"] = str(error)
    goes_on = Listeners(step=lambda r: losses.append(r.loss))
    scores = run_experiment(recipe, part, place / "together", resume=True, listeners=goes_on)
    found["losses"], found["scores"] = losses, [s.to_dict() for s in scores]

    tail: list[float] = []
    train(recipe, part, place / "one", resume=True, listeners=Listeners(step=lambda r: tail.append(r.loss)))
    found["tail"] = tail
    own = small_recipe("train.ema=0.9", "train.epochs=1", "train.frozen_stages=1")
    found["own"] = digest_of(train(own, part, place / "own").state_dict())
    described(dataset, place / "shared.npz", world)
    return found


def end(report: StepReport, number: signal.Signals) -> None:
    """The second process hears a signal in the midst of the second epoch, within an accumulation."""
    if os.environ["RANK"] == "1" and (report.epoch, report.batch) == (2, 3):
        os.kill(os.getpid(), number)


def norm_difference(norm: nn.Module, shape: tuple[int, ...], world: World) -> float:
    """Largest difference of a normalization together from one of the whole: outputs, gradients, running statistics."""
    generator = torch.Generator().manual_seed(0)
    # Far from zero and in double precision, so that a formula that loses digits or is a little wrong shows.
    x, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    x = 3 * x + 100
    rows = Split((7, 3), world.rank).rows
    whole, together = norm.double(), deepcopy(norm).double()
    results = []
    for layer, part, mode in ((whole, slice(None), nullcontext()), (together, rows, WholeBatchNorm())):
        leaf = x[part].clone().requires_grad_()
        with mode:
            y = layer(leaf)
        (y * gradient[part]).sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad for p in layer.parameters()), *layer.buffers()])
    for summed in together.parameters():
        dist.all_reduce(summed.grad)
    expected, found = results
    expected[:2] = (value[rows] for value in expected[:2])
    return max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
