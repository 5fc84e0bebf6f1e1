"""How cost grows with the gallery, and what compressed descriptors save and lose.

    python benchmarks/growth.py [--sizes 10000 100000 1000000]
    python benchmarks/growth.py --data data/market751/holdout.csv --run runs/market751-study/rrid-s/seed0

Each codec is fitted on the training part's descriptors and scored on the test part, which holds other people; without
``--data`` and ``--run`` descriptors are made up, and their scores mean nothing. Then searches are timed in galleries of
several sizes, whose images repeat (only speed is of interest), and seconds = a + b x N is fitted. What goes beyond the
sizes that ran is marked as extrapolated. Writes benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from evaluation import clustered_descriptors, trained_noise
from numpy.typing import NDArray

import crosscam
from crosscam.retrieval.compression import Codec, Half, Rows, fit_int8, fit_principal, followed_by, search
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.metrics import evaluate_ranking
from crosscam.retrieval.product_quantiser import fit_product_quantiser

SIZES = (10_000, 100_000, 1_000_000)
MOST_GB = 2.0
NEAREST = 10
FAR, CITY = 10_000_000, 100_000_000
MACHINE_GB, DAY_HOURS = 64, 24
DESCRIBING = "ResNet-18 (rrid-s-scratch), 192 x 96, random weights", "ResNet-50 (rrid-f), 384 x 128, random weights"


@dataclass(frozen=True)
class Full:
    """float32, for comparison."""

    dim: int

    @property
    def bytes_each(self) -> int:
        return 4 * self.dim

    def encode(self, descriptors: Rows) -> NDArray[Any]:
        return np.asarray(descriptors, dtype=np.float32)

    decode = project = encode

    def distances(self, queries: Rows, codes: NDArray[Any]) -> Rows:
        return pairwise_distances(queries, codes)


def made_up(dim: int = 1792) -> dict[str, NDArray[Any]]:
    """Descriptors of persons with ten pictures each: training images of some, queries and gallery of others."""
    pids = np.repeat(np.arange(1, 501), 10), np.arange(501, 751), np.repeat(np.arange(501, 751), 10)
    labels = np.concatenate(pids), pids[2], np.concatenate(pids), pids[2]
    everyone, gallery = clustered_descriptors(labels, dim, trained_noise(dim))
    train, query = everyone[:5000], everyone[5000:5250]
    cameras = {"query_camids": np.zeros(250, dtype=int), "gallery_camids": np.ones(2500, dtype=int)}
    return {
        "train": train,
        "query": query,
        "gallery": gallery,
        "query_pids": pids[1],
        "gallery_pids": pids[2],
        **cameras,
    }


def described(data: Path, run: Path) -> dict[str, NDArray[Any]]:
    """The same of photographs, by a trained network."""
    dataset, extractor = crosscam.read_dataset(data), crosscam.Extractor.load(run)
    parts = {"train": dataset.train, "query": dataset.query, "gallery": dataset.gallery}
    found: dict[str, NDArray[Any]] = {}
    for name, samples in parts.items():
        found[name] = extractor([s.path for s in samples])
        found[f"{name}_pids"] = np.array([s.pid for s in samples])
        found[f"{name}_camids"] = np.array([s.camid for s in samples])
    return found


def codecs(train: Rows) -> dict[str, Codec]:
    """Each way to keep a descriptor, fitted."""
    dim = train.shape[1]
    plain, whitened = fit_principal(train, 256), fit_principal(train, 256, whiten=0.5)
    numbers = whitened.project(train)
    found: dict[str, Codec] = {
        "float32": Full(dim),
        "float16": Half(dim),
        "int8": fit_int8(train),
        "256 principal numbers, float16": plain,
        "256 half-whitened, float16": whitened,
        "256 wholly whitened, float16": fit_principal(train, 256, whiten=1.0),
        "256 half-whitened, int8": followed_by(whitened, fit_int8(numbers)),
        "256 half-whitened, 64 bytes": followed_by(whitened, fit_product_quantiser(numbers, 64)),
    }
    for parts in (dim // 16, dim // 32):
        found[f"product quantised, {parts} bytes"] = fit_product_quantiser(train, parts)
    return found


def quality(codec: Codec, x: dict[str, NDArray[Any]], exact: NDArray[np.int64]) -> dict[str, float]:
    """Scores of what was kept, and how many of the ten nearest are still among the ten nearest."""
    codes = codec.encode(x["gallery"])
    labels = x["query_pids"], x["gallery_pids"], x["query_camids"], x["gallery_camids"]
    result = evaluate_ranking(codec.distances(x["query"], codes), *labels)
    found, _ = search(codec, x["query"], codes, NEAREST)
    refined, _ = search(codec, x["query"], codes, NEAREST, exact=x["gallery"])
    return {
        "mAP": result.mAP,
        "rank1": result.rank1,
        "rank10": result.rank10,
        "recall_at_1": float((found[:, 0] == exact[:, 0]).mean()),
        "recall_at_10": shared(found, exact),
        "recall_at_10_of_100_ranked_again": shared(refined, exact),
    }


def shared(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, exact, strict=True)]))


def speed(codec: Codec, x: dict[str, NDArray[Any]], options: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds of a search for several queries at once, in galleries of several sizes."""
    few, query = codec.encode(x["gallery"]), x["query"][: options.queries]
    rows = []
    for size in options.sizes:
        if size * codec.bytes_each > options.most_gb * 1e9:
            continue
        codes = few[np.random.default_rng(0).integers(0, len(few), size)]
        search(codec, query, codes[:1000], NEAREST)
        times = [machine.seconds(lambda c=codes: search(codec, query, c, NEAREST)) for _ in range(options.repeats)]
        rows.append({"images": size, "seconds_per_query": statistics.median(times) / len(query)})
        del codes
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
        keeping.append({"codec": name, "gb": gb, "machines": machines, "seconds_per_query": seconds})
    return {"crops": CITY, "machine_gb": MACHINE_GB, "describing": describing, "keeping": keeping}


def main() -> None:
    """Fit, score, time, extrapolate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument(
        "--descriptors", type=Path, help="in place of both: .npz with train, query, gallery, query_pids..."
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most-gb", type=float, default=MOST_GB, help="larger galleries are left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = "made up"
    if options.descriptors:
        with np.load(options.descriptors) as arrays:
            x, source = {key: arrays[key] for key in arrays.files}, options.descriptors.name
    elif options.data and options.run:
        x, source = described(options.data, options.run), f"{options.data.name}, {'/'.join(options.run.parts[-2:])}"
    else:
        x = made_up()
    exact, _ = search(Full(x["query"].shape[1]), x["query"], x["gallery"], NEAREST)
    print(f"descriptors: {source}; {len(x['train'])} to fit on, {len(x['query'])} queries, {len(x['gallery'])} images")
    print("| kept as | bytes | mAP | rank-1 | same first | same ten | ... ranked again | s/query at each size |")
    print("|---|---|---|---|---|---|---|---|")
    rows: dict[str, Any] = {}
    for name, codec in codecs(x["train"]).items():
        row = {"bytes_each": codec.bytes_each, **quality(codec, x, exact), "speed": speed(codec, x, options)}
        rows[name] = row | {"fit": fitted(row["speed"])}
        times = ", ".join(f"{s['seconds_per_query']:.4f}" for s in row["speed"])
        print(
            f"| {name} | {row['bytes_each']:,} | {100 * row['mAP']:.2f} | {100 * row['rank1']:.2f} | "
            f"{row['recall_at_1']:.3f} | {row['recall_at_10']:.3f} | "
            f"{row['recall_at_10_of_100_ranked_again']:.3f} | {times} |",
            flush=True,
        )
    about = machine.about("numpy", "torch", "numba")
    found = {"descriptors": source, "dim": x["train"].shape[1], "threads": options.threads, "queries": options.queries}
    sizes = {"fitted_on": len(x["train"]), "test_queries": len(x["query"]), "test_gallery": len(x["gallery"])}
    machine.write("growth", {**found, **sizes, "codecs": rows, "city": city(rows), "machine": about})


if __name__ == "__main__":
    main()
