"""How the cost of an exact search grows with the gallery, in float32 and float16, and what a city's day would take.

    python benchmarks/growth.py [--sizes 10000 100000 1000000]

Descriptors are made up and repeat (only speed is of interest). Searches are timed in galleries of several sizes, and
seconds = a + b x N is fitted. What goes beyond the sizes that ran is marked as extrapolated. Writes
benchmarks/results/growth.json. Product quantization and other codes are left to faiss.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from typing import Any

import machine
import numpy as np
import torch
from evaluation import clustered_descriptors, trained_noise
from numpy.typing import NDArray

from crosscam.retrieval.distances import pairwise_distances

SIZES = (10_000, 100_000, 1_000_000)
KEPT_AS = {"float32": np.float32, "float16": np.float16}
MOST_GB = 2.0
NEAREST = 10
# Images that are widened to float32 at a time.
BLOCK_ROWS = 16_384
FAR, CITY = 10_000_000, 100_000_000
MACHINE_GB, DAY_HOURS = 64, 24
DESCRIBING = "ResNet-18 (rrid-s-scratch), 192 x 96, random weights", "ResNet-50 (rrid-f), 384 x 128, random weights"

Rows = NDArray[np.floating[Any]]


def made_up(dim: int, queries: int) -> tuple[Rows, Rows]:
    """Descriptors of 250 persons: (queries, dim) and (2500, dim)."""
    pids = np.arange(queries) % 250 + 1, np.repeat(np.arange(1, 251), 10)
    cameras = np.zeros(queries, dtype=int), np.ones(2500, dtype=int)
    query, gallery = clustered_descriptors((*pids, *cameras), dim, trained_noise(dim))
    return query, gallery


def nearest(queries: Rows, kept: Rows, k: int) -> torch.Tensor:
    """(Q, k) indices of the nearest kept rows, nearest first."""
    best, index = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for first in range(0, len(kept), BLOCK_ROWS):
        block = np.asarray(kept[first : first + BLOCK_ROWS], dtype=np.float32)
        near = torch.from_numpy(pairwise_distances(queries, block)).topk(min(k, len(block)), dim=1, largest=False)
        best, index = torch.cat([best, near.values], 1), torch.cat([index, near.indices + first], 1)
        best, order = best.topk(min(k, best.shape[1]), dim=1, largest=False)
        index = index.gather(1, order)
    return index


def speed(gallery: Rows, query: Rows, options: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds of a search for several queries at once, in galleries of several sizes."""
    rows = []
    for size in options.sizes:
        if size * gallery[0].nbytes > options.most_gb * 1e9:
            continue
        kept = gallery[np.random.default_rng(0).integers(0, len(gallery), size)]
        nearest(query, kept[:1000], NEAREST)
        times = [machine.seconds(lambda k=kept: nearest(query, k, NEAREST)) for _ in range(options.repeats)]
        rows.append({"images": size, "seconds_per_query": statistics.median(times) / len(query)})
        del kept
    return rows


def fitted(rows: list[dict[str, float]]) -> dict[str, float]:
    """seconds = a + b x images, by least squares of relative errors, and what it gives beyond what ran."""
    n, t = (np.array([row[key] for row in rows]) for key in ("images", "seconds_per_query"))
    design = np.stack([np.ones(len(n)), n], axis=1) / t[:, None]
    a, b = np.linalg.lstsq(design, np.ones(len(n)), rcond=None)[0]
    if a < 0:  # no time is saved by being empty
        a, b = 0.0, float((1 / t * n).sum() / ((n / t) ** 2).sum())
    worst = float(np.abs((a + b * n) / t - 1).max())
    return {"a": float(a), "b": float(b), "largest_relative_error": worst, "extrapolated_10M": float(a + b * FAR)}


def city(rows: dict[str, Any]) -> dict[str, Any]:
    """100 million crops a day: arithmetic from measured figures, nothing of it measured at that size."""
    file = machine.RESULTS / "extraction.json"
    speeds = json.loads(file.read_text(encoding="utf-8"))["speed"] if file.exists() else {}
    describing = []
    for name in DESCRIBING:
        engines = {row["engine"]: row["images_per_second"] for row in speeds[name]["rows"]} if name in speeds else {}
        for engine in (speeds[name]["auto"], "openvino-int8") if engines else ():
            hours = CITY / engines[engine] / 3600
            machines = int(np.ceil(hours / DAY_HOURS))
            describing.append(
                {"network": name, "engine": engine, "images_per_second": engines[engine]}
                | {"machine_hours": hours, "machines_for_a_day": machines}
            )
    keeping = []
    for name, row in rows.items():
        gb = CITY * row["bytes_each"] / 1e9
        machines = int(np.ceil(gb / MACHINE_GB))
        seconds = row["fit"]["a"] + row["fit"]["b"] * CITY / machines
        keeping.append({"kept_as": name, "gb": gb, "machines": machines, "seconds_per_query": seconds})
    return {"crops": CITY, "machine_gb": MACHINE_GB, "describing": describing, "keeping": keeping}


def main() -> None:
    """Time, extrapolate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--dim", type=int, default=1792)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most-gb", type=float, default=MOST_GB, help="larger galleries are left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    query, gallery = made_up(options.dim, options.queries)
    rows: dict[str, Any] = {}
    for name, kind in KEPT_AS.items():
        kept = gallery.astype(kind)
        times = speed(kept, query, options)
        rows[name] = {"bytes_each": kept[0].nbytes, "speed": times, "fit": fitted(times)}
        told = [f"{row['seconds_per_query']:.4f} s in {row['images']:,}" for row in times]
        print(f"{name}: {', '.join(told)}", flush=True)
    about = {"dim": options.dim, "threads": options.threads, "queries": options.queries}
    machine.write("growth", {**about, "rows": rows, "city": city(rows), "machine": machine.about("numpy", "torch")})


if __name__ == "__main__":
    main()
