"""What a training takes, worked out before it runs: parameters, arithmetic, memory, and time on this machine.

The network is laid out without memory (torch's device ``meta``) and one step of it is counted: the floating-point
operations of its products and convolutions, forward and backward, and the bytes that are kept for the way back. What
is left out: reading images, the losses, element-wise operations, and mixed precision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.choices import SGD
from crosscam.recipes.recipe import Recipe
from crosscam.training.plan import freeze_stages

# Of Market-1501, by which published times are told.
IDS, IMAGES = 751, 12_936
COUNTED_IMAGES = 4
# What Python and torch take before a network is there.
BASE_BYTES = 400_000_000
MEASURED_SECONDS = 0.4
BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Of one training.

    Attributes:
        parameters: numbers that are learned or fixed.
        flops: floating-point operations of one image in training, forward and backward.
        saved_bytes: kept of one image for the way back, in fp32.
        batch: images of a step.
        epoch_images: images of an epoch, repetitions counted.
        epochs: passes.
        memory: bytes to expect at the peak.
    """

    parameters: int
    flops: float
    saved_bytes: float
    batch: int
    epoch_images: int
    epochs: int
    memory: float

    def seconds(self, flops_per_second: float) -> float:
        """Time of the whole training at a speed."""
        return self.flops * self.epoch_images * self.epochs / flops_per_second


def cost_of(recipe: Recipe, *, num_ids: int = IDS, num_images: int = IMAGES) -> Cost:
    """The cost of training a recipe.

    Args:
        recipe: the experiment.
        num_ids: identities to classify.
        num_images: images of the training subset.
    """
    data, train = recipe.data, recipe.train
    with torch.device("meta"):
        model = build_model(recipe, num_ids, pretrained=False)
        images = torch.empty(COUNTED_IMAGES, 3, data.height, data.width)
    model.train()
    freeze_stages(model, recipe)
    flops, saved = _one_step(model, images)
    batch = data.batch_ids * data.batch_images + recipe.distill.unlabeled_images
    repeated = data.batch_images if data.sampler == "anchors" else 1
    labeled = data.batch_ids * data.batch_images
    epoch_images = round(num_images * repeated * batch / labeled)
    parameters = sum(p.numel() for p in model.parameters())
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # Weights and their average; a gradient and the optimizer's moments of what is learned.
    moments = 1 if isinstance(recipe.optim, SGD) else 2
    weights = BYTES * (parameters * (2 if train.ema or train.swa_epochs else 1) + learned * (1 + moments))
    cached = 0 if data.cache == "stream" else 3 * num_images * data.height * data.width
    memory = BASE_BYTES + weights + batch * saved / COUNTED_IMAGES + cached
    return Cost(parameters, flops / COUNTED_IMAGES, saved / COUNTED_IMAGES, batch, epoch_images, train.epochs, memory)


def _one_step(model: nn.Module, images: Tensor) -> tuple[float, float]:
    """Operations of a step forward and backward, and bytes that are kept between the two."""
    kept: dict[int, Tensor] = {}
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor  # held, so that no other storage gets this number
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output: ReidOutput = model(images)
        total = torch.stack([part.float().sum() for part in (*output.embeddings, *output.logits)]).sum()
        saved = float(sum(t.untyped_storage().nbytes() for t in kept.values()))
        total.backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()), saved


def speed(now: Callable[[], float] = time.perf_counter) -> float:
    """Floating-point operations per second of this machine in training, measured for a moment.

    The measure is a small network of ResNet's shapes, forward and backward, with the threads that a training takes.
    """
    layers = [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()] * 2
    network = nn.Sequential(*layers, nn.Conv2d(64, 256, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(8, 64, 64, 32).to(memory_format=torch.channels_last).requires_grad_()

    def step() -> None:
        network(images).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    steps, begin = 0, now()
    while steps < 2 or now() - begin < MEASURED_SECONDS:
        step()
        steps += 1
    return steps * float(counter.get_total_flops()) / (now() - begin)
