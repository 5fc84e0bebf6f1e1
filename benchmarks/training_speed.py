"""Images a second of whole training steps on this machine: backbones, image sizes, fp32 against bf16.

    python benchmarks/training_speed.py [--steps 4] [--out benchmarks/results/training_speed.json]

One step is what a training does with a batch in memory: augment, forward, losses, backward, optimizer. The
median step counts. Measure on a quiet machine: another busy process costs far more than its share.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from crosscam.data.augment import augment
from crosscam.losses import rrid_loss
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.training.allocator import keep_freed_memory
from crosscam.training.optim import build_optimizer

SIZES = {
    "resnet18-half, 128 x 64, stripes 4 and 2": ("demo", "resnet18-half", 128, 64),
    "resnet18, 96 x 48, six stripes": ("rrid-s-scratch", "resnet18", 96, 48),
    "resnet18, 192 x 96, six stripes": ("rrid-s-scratch", "resnet18", 192, 96),
    "resnet50, 384 x 128, six stripes": ("rrid-s", "resnet50", 384, 128),
}
NUM_IDS = 500


def seconds_per_step(recipe: Recipe, height: int, width: int, precision: str, steps: int) -> float:
    """Median seconds of one step with 64 images, after one that does not count."""
    torch.manual_seed(0)
    model = build_model(recipe, NUM_IDS).to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(model, recipe.optim)
    pixels = torch.randint(0, 256, (64, 128, 64, 3), dtype=torch.uint8)
    pids = torch.arange(16).repeat_interleave(4)
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        inputs = augment(pixels, height, width, recipe.data.augment, generator)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(inputs)
        rrid_loss(output, pids).total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", default="", help="measure rows whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_speed.json"))
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()
    rows = []
    print(f"{'':44}{'fp32':>8}{'bf16':>8}   images/s, {torch.get_num_threads()} threads")
    for name, (recipe_name, backbone, height, width) in SIZES.items():
        if options.only not in name:
            continue
        base = find_recipe(recipe_name)
        recipe = replace(base, model=replace(base.model, backbone=backbone))
        speed = {p: 64 / seconds_per_step(recipe, height, width, p, options.steps) for p in ("fp32", "bf16")}
        print(f"{name:44}{speed['fp32']:8.1f}{speed['bf16']:8.1f}")
        rows.append({"name": name, **speed})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    options.out.write_text(json.dumps({**machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
