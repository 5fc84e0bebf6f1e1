"""Milliseconds of one call for the people of one frame: crosscam's tracker features against a plain eager loop.

    python benchmarks/latency.py [--seconds 4] [--only large|small] [--out FILE]

A call takes a frame of 1920 x 1080 and 1, 8 or 32 boxes, and gives descriptors; one pass for each box (no mirror
image). The plain loop is what most trackers do: crop, Pillow's resize, ToTensor and Normalize one by one, stack, and
the network in eval mode in fp32, in a process of its own. All take turns call by call until the seconds are used up.
The ratio is of medians. The 99th percentile is told from a hundred calls on. Weights are random: they cost no less.
Writes ``benchmarks/results/latency.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from crosscam.data.crops import crop_boxes
from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD
from crosscam.errors import EngineError
from crosscam.inference.engines.base import num_threads
from crosscam.inference.engines.registry import candidates
from crosscam.inference.extractor import Extractor
from crosscam.inference.tracker_features import TrackerFeatures
from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe

RESULT = Path(__file__).parent / "results" / "latency.json"
NETWORKS = {
    "large": ("rrid-f", "resnet50", "ResNet-50, RRID-F"),
    "small": ("rrid-s-scratch", "resnet18-half", "ResNet-18 of half width, RRID-S"),
}
BOXES = (1, 8, 32)
ENGINES = ("torch", "torch-bf16", "openvino-bf16")
FEWEST, MANY = 4, 100
Features = Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.float32]]


class PlainLoop:
    """Box by box through Pillow, and the network as it stands."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.size = model.eval(), (recipe.data.width, recipe.data.height)
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    @torch.no_grad()
    def __call__(self, frame: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N, 4) boxes -> (N, D) of length 1."""
        images = []
        for crop in crop_boxes(frame, boxes, "bgr"):
            small = np.array(Image.fromarray(crop).resize(self.size, Image.Resampling.BILINEAR))
            tensor = torch.from_numpy(small).permute(2, 0, 1).contiguous().float().div(255)
            images.append((tensor - self.mean) / self.std)
        output: ReidOutput = self.model(torch.stack(images))
        found: NDArray[np.float32] = nn.functional.normalize(output.descriptor, dim=1).numpy()
        return found


def network_of(recipe_name: str, backbone: str) -> tuple[nn.Module, Recipe]:
    """Random weights without classifiers."""
    base = find_recipe(recipe_name)
    recipe = replace(base, model=replace(base.model, backbone=backbone))
    torch.manual_seed(0)
    return build_model(recipe, 0, pretrained=False).eval(), recipe


def scene(count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A frame of soft noise and people-shaped boxes of several sizes."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (54, 96, 3), dtype=np.uint8))
    frame = np.array(coarse.resize((1920, 1080), Image.Resampling.BICUBIC))
    height = rng.uniform(120, 480, count)
    left, top = rng.uniform(0, 1700, count), rng.uniform(0, 590, count)
    return frame, np.stack((left, top, left + 0.42 * height, top + height), axis=1)


def seconds(features: Features, frame: NDArray[np.uint8], boxes: NDArray[np.float64]) -> float:
    """Of one call."""
    began = time.perf_counter()
    features(frame, boxes)
    return time.perf_counter() - began


def serve_plain_loop(end: Connection, names: tuple[str, str], threads: int) -> None:
    """In a process of its own: for each number of boxes the seconds of one call and the descriptors."""
    torch.set_num_threads(threads)
    loop = PlainLoop(*network_of(*names))
    while count := end.recv():
        frame, boxes = scene(count)
        began = time.perf_counter()
        found = loop(frame, boxes)
        end.send((time.perf_counter() - began, found))


@contextmanager
def plain_loop(names: tuple[str, str]) -> Iterator[Callable[[int], tuple[float, NDArray[np.float32]]]]:
    """Asks that process for one call at a time."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_plain_loop, args=(there, names, torch.get_num_threads()))
    process.start()

    def once(count: int) -> tuple[float, NDArray[np.float32]]:
        here.send(count)
        found: tuple[float, NDArray[np.float32]] = here.recv()
        return found

    try:
        yield once
    finally:
        here.send(0)
        process.join()


def opened(model: nn.Module, recipe: Recipe) -> dict[str, TrackerFeatures]:
    """Tracker features of each engine that runs here."""
    found = {}
    for name in ENGINES:
        if name not in candidates("cpu", int8=False):
            continue
        features = TrackerFeatures(Extractor(model, recipe, flip=False, engine=name))
        try:
            features(*scene(1))
        except EngineError as error:
            print(f"{name} is left out: {error}")
            continue
        found[name] = features
    return found


def measure(
    engines: dict[str, TrackerFeatures],
    once: Callable[[int], tuple[float, NDArray[np.float32]]],
    count: int,
    budget: float,
) -> list[dict[str, Any]]:
    """Rows of one number of boxes; the first call of each does not count."""
    frame, boxes = scene(count)
    expected = once(count)[1]
    cosines = {name: float((f(frame, boxes) * expected).sum(axis=1).min()) for name, f in engines.items()}
    times: dict[str, list[float]] = {"eager loop": [], **{name: [] for name in engines}}
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times["eager loop"]) < FEWEST:
        times["eager loop"].append(once(count)[0])
        for name, features in engines.items():
            times[name].append(seconds(features, frame, boxes))
    rows = []
    for name, found in times.items():
        ms = np.array(found) * 1000
        many = len(ms) >= MANY
        rows.append(
            {
                "boxes": count,
                "engine": name,
                "p50_ms": round(float(np.median(ms)), 2),
                "p99_ms": round(float(np.percentile(ms, 99)), 2) if many else None,
                "slowest_ms": round(float(ms.max()), 2),
                "calls": len(ms),
                "ratio": round(float(np.median(times["eager loop"]) / np.median(found)), 2),
                "cosine_min": None if name == "eager loop" else cosines[name],
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    print(f"{'boxes':>5}  {'engine':15}{'p50 ms':>9}{'p99 ms':>9}{'slowest':>9}{'calls':>7}{'ratio':>7}")
    for row in rows:
        p99 = "" if row["p99_ms"] is None else f"{row['p99_ms']:.1f}"
        print(
            f"{row['boxes']:5}  {row['engine']:15}{row['p50_ms']:9.1f}{p99:>9}{row['slowest_ms']:9.1f}"
            f"{row['calls']:7}{row['ratio']:7.2f}"
        )


def main() -> None:
    """Measure, print, write; a network that is not measured keeps what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each number of boxes of each network")
    parser.add_argument("--only", choices=tuple(NETWORKS))
    parser.add_argument("--boxes", type=int, nargs="+", default=list(BOXES))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(num_threads())
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    with tempfile.TemporaryDirectory() as cache:
        # Graphs of random weights are of no use to anybody later.
        os.environ["CROSSCAM_CACHE"] = cache
        for only, (recipe_name, backbone, title) in NETWORKS.items():
            if options.only not in (None, only):
                continue
            model, recipe = network_of(recipe_name, backbone)
            title = f"{title}, {recipe.data.height} x {recipe.data.width}"
            rows = []
            with plain_loop((recipe_name, backbone)) as once:
                engines = opened(model, recipe)
                for count in options.boxes:
                    rows += measure(engines, once, count, options.seconds)
            print(f"\n{title}\n")
            show(rows)
            result.setdefault("networks", {})[title] = rows
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result |= {
        "frame": "1920 x 1080",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "commit": asked.stdout.strip(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
