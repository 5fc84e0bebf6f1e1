"""Images a second of each engine against a plain eager loop of torch in fp32, and what each does to the ranking.

    python benchmarks/extraction.py [--run FOLDER --data TABLE] [--only large|small|scores] [--out FILE]

All engines take one pass for each image (no mirror image), 16 decoded images at once, as many threads as the machine
has cores. The plain loop is what other toolkits' extractors do: the network in eval mode, fp32, images as planes. It
runs in a process of its own, so that nothing an engine sets up helps it or hinders it; engines take turns of a second
and a half, and the best batch of each counts. --run is a trained run folder: its scores on --data tell what an engine
costs. Weights drawn at random have no ranking to keep, so for them the cosine alone is told.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.images import decode_image, resize_image
from crosscam.data.records import ReidDataset, camids_of, pids_of
from crosscam.data.resizing import prepare
from crosscam.inference.engines.autotune import choose_engine
from crosscam.inference.engines.base import Engine, Pixels, num_threads
from crosscam.inference.engines.graph import Network
from crosscam.inference.engines.onnx_engine import INT8_IMAGES
from crosscam.inference.engines.registry import candidates, open_engine
from crosscam.inference.exporting import drawn_noise
from crosscam.inference.extractor import Extractor
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe

BATCH = 16
# A quick network runs many batches in its turn: single ones scatter on a machine that is not all ours.
TURN_SECONDS = 1.5
RECIPES = {"large": ("rrid-f", "ResNet-50"), "small": ("rrid-s-scratch", "ResNet-18")}


def images(dataset: ReidDataset | None, count: int, size: tuple[int, int]) -> Pixels:
    """Photographs of the training subset, evenly spread, or soft noise where there is no dataset."""
    if dataset is None:
        return drawn_noise(count, size)
    step = max(1, len(dataset.train) // count)
    paths = [s.path for s in dataset.train[::step][:count]]
    return np.stack([resize_image(decode_image(path), *size) for path in paths])


def random_network(recipe: Recipe, dataset: ReidDataset | None) -> nn.Module:
    """Random weights, and batch normalisations that have seen some images: at their start they would hide errors."""
    torch.manual_seed(0)
    model = build_model(recipe, 0, pretrained=False).train()
    seen = images(dataset, 4 * BATCH, (recipe.data.height, recipe.data.width))
    with torch.no_grad():
        for start in range(0, len(seen), BATCH):
            model(prepare(torch.from_numpy(seen[start : start + BATCH]), recipe.data.height, recipe.data.width))
    return model.eval()


class PlainLoop:
    """The eager loop: nothing fused, nothing set up."""

    name = "eager loop"

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        self.model, self.size = model.eval(), size

    @torch.no_grad()
    def __call__(self, pixels: Pixels) -> np.ndarray:
        """(B, H, W, 3) uint8 -> (B, D) of length 1."""
        images = prepare(torch.from_numpy(pixels), *self.size).contiguous()
        output: ReidOutput = self.model(images)
        return nn.functional.normalize(output.descriptor, dim=1).numpy()


def serve_plain_loop(ends: Connection, model: nn.Module, size: tuple[int, int], pixels: Pixels, threads: int) -> None:
    """In a process of its own: answers each word with the seconds of one batch."""
    torch.set_num_threads(threads)
    engine = PlainLoop(model, size)
    engine(pixels)
    while ends.recv() == "again":
        ends.send(seconds(engine, pixels))


@contextmanager
def plain_loop(model: nn.Module, size: tuple[int, int], pixels: Pixels) -> Iterator[Any]:
    """Asks that process for one timing at each call."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_plain_loop, args=(there, model, size, pixels, torch.get_num_threads()))
    process.start()

    def once() -> float:
        here.send("again")
        found: float = here.recv()
        return found

    try:
        yield once
    finally:
        here.send("enough")
        process.join()


def seconds(engine: Engine, pixels: Pixels) -> float:
    """Of one batch."""
    began = time.perf_counter()
    engine(pixels)
    return time.perf_counter() - began


def speeds(network: Network, pixels: Pixels, rounds: int, compiled: bool) -> dict[str, Any]:
    """Images a second of every engine and its ratio to the plain loop, all in one run."""
    names = candidates("cpu", int8=True) + ["torch-compiled"] * compiled
    engines = {name: open_engine(name, network) for name in names}
    batch = pixels[:BATCH]
    expected = PlainLoop(network.model, network.card.size)(batch)
    cosines = {name: (engine(batch) * expected).sum(axis=1) for name, engine in engines.items()}
    with plain_loop(network.model, network.card.size, batch) as once:
        timers = {"eager loop": once} | {n: partial(seconds, e, batch) for n, e in engines.items()}
        best = {name: float("inf") for name in timers}
        for _ in range(rounds):
            for name, timer in timers.items():
                turn = time.perf_counter() + TURN_SECONDS
                while True:
                    best[name] = min(best[name], timer())
                    if time.perf_counter() > turn:
                        break
    chosen = choose_engine(replace(network, int8_images=None), batch)[0].name
    rows = [
        {
            "engine": name,
            "images_per_second": round(BATCH / best[name], 1),
            "ratio": round(best["eager loop"] / best[name], 2),
            "cosine_min": None if name == "eager loop" else float(cosines[name].min()),
            "cosine_mean": None if name == "eager loop" else float(cosines[name].mean()),
        }
        for name in timers
    ]
    return {"auto": chosen, "rows": rows}


def scores(network: Network, extractor: Extractor, dataset: ReidDataset) -> list[dict[str, Any]]:
    """mAP and rank-1 of every engine on a dataset, one pass for each image."""
    rows: list[dict[str, Any]] = []
    plain, expected = None, np.empty(0)
    decoded = [extractor.decoded([s.path for s in samples]) for samples in (dataset.query, dataset.gallery)]
    for name in candidates("cpu", int8=True):
        engine = open_engine(name, network)
        parts = [np.concatenate([engine(p[i : i + 64]) for i in range(0, len(p), 64)]) for p in decoded]
        labels = (f(s) for f in (pids_of, camids_of) for s in (dataset.query, dataset.gallery))
        result = evaluate_descriptors(*parts, *labels, protocol=dataset.protocol)
        found = np.concatenate(parts)
        if plain is None:
            plain, expected = result, found
        rows.append(
            {
                "engine": name,
                "mAP": result.mAP,
                "mAP_change": result.mAP - plain.mAP,
                "rank1": result.rank1,
                "cosine_min": float((found * expected).sum(axis=1).min()),
                "cosine_mean": float((found * expected).sum(axis=1).mean()),
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A Markdown table on standard output."""
    print(f"\n{title}\n")
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        cells = [
            f"{v:.5f}" if isinstance(v, float) and abs(v) < 1.5 and k != "ratio" else str(v) for k, v in row.items()
        ]
        print("| " + " | ".join("" if c == "None" else c for c in cells) + " |")


def main() -> None:
    """Measure, print, write JSON; a part that is not measured keeps what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="trained run folder")
    parser.add_argument("--data", type=Path, help="its dataset")
    parser.add_argument("--only", choices=("large", "small", "scores"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="torch-compiled, too; compiling takes minutes")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/extraction.json"))
    options = parser.parse_args()
    torch.set_num_threads(num_threads())
    dataset = read_dataset(options.data) if options.data else None
    trained = Extractor.load(options.run, flip=False, engine="torch") if options.run else None
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found |= {"machine": platform.machine(), "threads": num_threads(), "batch": BATCH, "torch": torch.__version__}
    for only, (name, backbone) in RECIPES.items():
        if options.only not in (None, only):
            continue
        recipe = find_recipe(name)
        extractor = Extractor(random_network(recipe, dataset), recipe, flip=False)
        height, width = extractor.card.size
        title = f"{backbone} ({name}), {height} x {width}, random weights"
        seen = images(dataset, 96, (height, width))
        network = Network(extractor.model, extractor.card, int8_images=seen[:64])
        result = speeds(network, seen[64:], options.rounds, options.compiled)
        found.setdefault("speed", {})[title] = result
        show(f"{title}; auto takes {result['auto']}", result["rows"])
    if options.only in (None, "scores") and trained is not None and dataset is not None:
        seen = images(dataset, INT8_IMAGES, trained.card.size)
        rows = scores(Network(trained.model, trained.card, int8_images=seen), trained, dataset)
        data = trained.recipe.data
        title = f"{trained.recipe.name}, {data.height} x {data.width}, trained; {dataset.name}, {dataset.fingerprint()}"
        found.setdefault("scores", {})[title] = rows
        show(title, rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
