"""Images a second of whole training steps: a plain eager loop against crosscam's.

    python benchmarks/training_speed.py [--steps 4] [--only small|large] [--device cuda] [--out FILE]

A plain step is what one writes first: fp32, images as planes, a linear layer, a normalisation, a classifier and a loss
for each part, one after another; its batches are made beforehand. It runs in a process of its own, so that nothing
crosscam sets up helps it or hinders it. A crosscam step takes decoded images from memory, augments them, and computes
in bf16, channels_last, with one product for the parts of a scale, one for all losses, and an optimiser in one pass.
Both learn with the same network, weights and batch size, and take turns step by step; medians count, and the ratio is
of medians. Before that both compute the first loss in fp32 on the same batch.

On a GPU (--device cuda) the batch is 64, and two more things are told: the share of the chip's peak, by the operations
of the products and convolutions (--peak, TFLOP/s of dense bf16), and the hours for the authors' schedule of 4.14
million images. Writes ``benchmarks/results/training_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, cross_entropy, linear
from torch.utils.flop_counter import FlopCounterMode

from crosscam.data.augment import augment
from crosscam.data.loading import ImagesInMemory
from crosscam.data.resizing import prepare
from crosscam.inference.engines.base import num_threads
from crosscam.losses import batch_hard_triplet, rrid_loss
from crosscam.models.output import ReidOutput
from crosscam.models.stripes import PartLinear, PartUnits
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.system.cores import chip_has_bf16, keep_freed_memory
from crosscam.training.plan import build_optimizer

RESULT = Path(__file__).parent / "results" / "training_speed.json"
# Recipe, backbone, title, batch on a CPU.
ROWS = {
    "small": ("rrid-s-scratch", "resnet18-half", "ResNet-18 of half width, RRID-S", 64),
    "large": ("rrid-f", "resnet50", "ResNet-50, RRID-F", 16),
}
NUM_IDS = 751
INSTANCES = 4
CUDA_BATCH = 64
AUTHORS_IMAGES = 4_140_000
MEMORY_IMAGES = 512


def plain_linear(self: PartLinear, parts: Tensor) -> Tensor:
    """Layer by layer."""
    pairs = zip(parts.unbind(1), self.weight, self.bias, strict=True)
    return torch.stack([linear(part, weight.T, bias) for part, weight, bias in pairs], dim=1)


def plain_units(self: PartUnits, parts: Tensor) -> Tensor:
    """Unit by unit."""
    y, norm, out = self.linear(parts), self.norm, []
    for k, part in enumerate(y.unbind(1)):
        own = slice(k * y.shape[2], (k + 1) * y.shape[2])
        statistics_ = (norm.running_mean[own], norm.running_var[own])
        normed = batch_norm(part, *statistics_, norm.weight[own], norm.bias[own], True, norm.momentum, norm.eps)
        out.append(torch.relu(normed))
    return torch.stack(out, dim=1)


def plain_stripes(feature_map: Tensor, num_parts: int, pooling: str = "max") -> Tensor:
    """Stripe by stripe."""
    stripes = feature_map.chunk(num_parts, dim=2)
    return torch.stack([s.amax((2, 3)) if pooling == "max" else s.mean((2, 3)) for s in stripes], dim=1)


def plain_loss(output: ReidOutput, pids: Tensor) -> Tensor:
    """Loss by loss."""
    triplets = [batch_hard_triplet(e, pids, 1.2) for e in output.embeddings]
    classes = [cross_entropy(one, pids) for one in output.logits]
    return sum(triplets[1:], triplets[0]) + 2 * sum(classes[1:], classes[0])


def built(only: str, device: torch.device) -> tuple[nn.Module, Recipe]:
    """The network with the same random weights everywhere."""
    name, backbone, _, _ = ROWS[only]
    base = find_recipe(name)
    recipe = replace(base, model=replace(base.model, backbone=backbone))
    torch.manual_seed(0)
    return build_model(recipe, NUM_IDS, pretrained=False).to(device).train(), recipe


def some_pixels(count: int) -> Tensor:
    """(count, 128, 64, 3) uint8, always the same."""
    return torch.randint(0, 256, (count, 128, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def identities(batch: int, device: torch.device) -> Tensor:
    """(B,) each identity four times."""
    return torch.arange(batch // INSTANCES, device=device).repeat_interleave(INSTANCES)


class PlainLoop:
    """The eager loop in fp32."""

    def __init__(self, only: str, device: torch.device, batch: int) -> None:
        self.model, recipe = built(only, device)
        optim = recipe.optim
        if optim.name == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.model.parameters(), optim.lr_head, optim.momentum, weight_decay=optim.weight_decay
            )
        else:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), optim.lr_head)
        pixels = some_pixels(batch).to(device)
        self.inputs = prepare(pixels, recipe.data.height, recipe.data.width).contiguous()
        self.pids, self.device = identities(batch, device), device

    def first_loss(self) -> float:
        """Before any step."""
        return plain_loss(self.model(self.inputs), self.pids).item()

    def step(self) -> float:
        """Seconds of one."""
        began = now(self.device)
        self.optimizer.zero_grad()
        plain_loss(self.model(self.inputs), self.pids).backward()
        self.optimizer.step()
        return now(self.device) - began


class CrosscamLoop:
    """The steps of crosscam's training, without its book-keeping."""

    def __init__(self, only: str, device: torch.device, batch: int) -> None:
        model, self.recipe = built(only, device)
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.model, self.recipe.optim)
        self.images = ImagesInMemory.__new__(ImagesInMemory)
        self.images.images = some_pixels(MEMORY_IMAGES)
        self.pids, self.device, self.batch = identities(batch, device), device, batch
        self.generator = torch.Generator(device).manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.bf16 = chip_has_bf16(device)
        self.waited = 0.0

    def first_loss(self) -> float:
        """In fp32, on the plain loop's batch."""
        data = self.recipe.data
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        inputs = prepare(some_pixels(self.batch).to(self.device), data.height, data.width)
        output = self.model(inputs.contiguous(memory_format=torch.channels_last))
        loss = rrid_loss(output, self.pids).total.item()
        self.model.load_state_dict(before)
        return loss

    def step(self) -> float:
        """Seconds of one."""
        data, began = self.recipe.data, now(self.device)
        order = [self.rng.integers(0, MEMORY_IMAGES, self.batch)]
        pixels = next(self.images.batches(order)).to(self.device, non_blocking=True)
        self.waited += time.perf_counter() - began
        inputs = augment(pixels, data.height, data.width, data.augment, self.generator)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model(inputs)
        rrid_loss(output, self.pids).total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return now(self.device) - began

    def tera_operations(self) -> float:
        """Of one step, products and convolutions alone; a multiplication with its addition counts as two."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops() / 1e12


def now(device: torch.device) -> float:
    """The clock, once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def serve_plain_loop(end: Connection, only: str, device: str, batch: int, threads: int) -> None:
    """In a process of its own: first its loss, then the seconds of each step."""
    torch.set_num_threads(threads)
    with (
        mock.patch.object(PartLinear, "forward", plain_linear),
        mock.patch.object(PartUnits, "forward", plain_units),
        mock.patch("crosscam.models.rrid.pool_stripes", plain_stripes),
    ):
        loop = PlainLoop(only, torch.device(device), batch)
        end.send(loop.first_loss())
        while end.recv():
            end.send(loop.step())


@contextmanager
def plain_loop(only: str, device: torch.device, batch: int) -> Iterator[tuple[float, Callable[[], float]]]:
    """Its first loss, and what asks it for one step."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    arguments = (there, only, str(device), batch, torch.get_num_threads())
    process = context.Process(target=serve_plain_loop, args=arguments)
    process.start()

    def once() -> float:
        here.send(True)
        found: float = here.recv()
        return found

    try:
        yield here.recv(), once
    finally:
        here.send(False)
        process.join()


def measure(only: str, device: torch.device, batch: int, steps: int, peak: float) -> dict[str, Any]:
    """One row."""
    loop = CrosscamLoop(only, device, batch)
    data = loop.recipe.data
    loss = loop.first_loss()
    with plain_loop(only, device, batch) as (plain_first, once):
        once()
        loop.step()
        loop.waited = 0.0
        times = [(once(), loop.step()) for _ in range(steps)]
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    row = {
        "name": f"{ROWS[only][2]}, {data.height} x {data.width}",
        "batch": batch,
        "precision": "bf16" if loop.bf16 else "fp32",
        "plain_images_per_second": round(batch / plain, 1),
        "crosscam_images_per_second": round(batch / ours, 1),
        "ratio": round(plain / ours, 2),
        "ratio_least": round(min(p / o for p, o in times), 2),
        "ratio_most": round(max(p / o for p, o in times), 2),
        "loss_difference": abs(loss - plain_first) / abs(plain_first),
        "share_of_time_for_input": round(loop.waited / sum(o for _, o in times), 4),
    }
    if device.type == "cuda":
        row["share_of_peak"] = round(loop.tera_operations() / ours / peak, 4)
        row["hours_for_authors_schedule"] = round(AUTHORS_IMAGES * ours / batch / 3600, 2)
    return row


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", choices=tuple(ROWS))
    parser.add_argument("--batch", type=int, help=f"images; {CUDA_BATCH} on a GPU, fewer on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of a GPU; 989 for an H100 or H200 (SXM)")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(num_threads())
    device = torch.device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    rows = []
    print(f"{'images/s':48}{'batch':>6}{'plain':>8}{'crosscam':>10}{'ratio':>7}")
    for only, (_, _, _, few) in ROWS.items():
        if options.only not in (None, only):
            continue
        batch = options.batch or (CUDA_BATCH if device.type == "cuda" else few)
        row = measure(only, device, batch, options.steps, options.peak)
        rows.append(row)
        speeds = f"{row['plain_images_per_second']:8.1f}{row['crosscam_images_per_second']:10.1f}"
        print(f"{row['name']:48}{batch:6}{speeds}{row['ratio']:7.2f}")
        if device.type == "cuda":
            print(f"  {100 * row['share_of_peak']:.1f} % of {options.peak:.0f} TFLOP/s", end="; ")
            print(f"{row['hours_for_authors_schedule']} hours for {AUTHORS_IMAGES:,} images", end="; ")
            print(f"{100 * row['share_of_time_for_input']:.1f} % of the time for input")
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "rows": rows,
        "machine": platform.machine(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "commit": asked.stdout.strip(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
