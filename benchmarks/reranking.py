"""Seconds and memory of k-reciprocal re-ranking, beside the common dense implementation, on the same distances.

    python benchmarks/reranking.py                    # half of Market-1501's size each way
    python benchmarks/reranking.py --market [--torchreid ../deep-person-reid]
    python benchmarks/reranking.py --large            # 3,368 x 100,000, crosscam alone

Descriptors are made up. Each implementation runs in a process of its own, from descriptors to re-ranked distances. The
dense one is dense_reranking.py, and torchreid's own code where a clone is given; both are handed crosscam's distances,
so that equal neighbours stay equal. Writes benchmarks/results/reranking.json, one row for each size; rows of other
sizes stay.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from dense_reranking import dense_rerank, torchreid_rerank
from evaluation import clustered_descriptors, trained_noise

from crosscam.metrics.ranking import evaluate_ranking
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.reranking import rerank

HALF, MARKET, LARGE = (1684, 9866), (3368, 19732), (3368, 100_000)
IMAGES_EACH = 18
RATIOS = ("times_as_long", "times_the_processor", "times_the_memory")
TARGETS = {"times_as_fast": 10.0, "share_of_memory": 0.2, "difference": 1e-5, "large_gb": 8.0}


def draw(file: Path, queries: int, gallery: int, dim: int) -> None:
    """Descriptors of persons with eighteen images each, and their identities."""
    rng = np.random.default_rng(0)
    gallery_pids = np.arange(gallery) // IMAGES_EACH + 1
    query_pids = rng.integers(1, gallery_pids.max() + 1, queries)
    query_x, gallery_x = clustered_descriptors(
        (query_pids, gallery_pids, query_pids, gallery_pids), dim, trained_noise(dim)
    )
    np.savez(file, query=query_x, gallery=gallery_x, query_pids=query_pids, gallery_pids=gallery_pids)


def run(file: Path, which: str, threads: int, clone: Path | None) -> dict[str, Any]:
    """In the child: one implementation, its result beside ``file``, its seconds and peak."""
    torch.set_num_threads(threads)
    with np.load(file) as arrays:
        query, gallery, query_pids, gallery_pids = (arrays[key] for key in arrays.files)
    idle, n = machine.peak_gb(), len(query)
    everyone = np.concatenate([query, gallery])
    kept: list[Any] = []
    steps: dict[str, Callable[[], Any]] = {}
    if which == "crosscam":
        del everyone
        rerank(query[:100], gallery[:5000])
        steps["rerank"] = lambda: rerank(query, gallery)
    elif which == "dense":
        steps["distances"] = lambda: kept.append(pairwise_distances(everyone, everyone, squared=True))
        steps["rerank"] = lambda: dense_rerank(kept.pop(), n)
    else:
        re_ranking = torchreid_rerank(clone or Path())
        steps["distances"] = lambda: kept.append(pairwise_distances(everyone, everyone))
        steps["rerank"] = lambda: re_ranking(kept[0][:n, n:], kept[0][:n, :n], kept.pop()[n:, n:])
    result: Any = None
    found: dict[str, Any] = {"seconds": 0.0, "processor_seconds": 0.0}
    for name, step in steps.items():
        began, processor = time.perf_counter(), time.process_time()
        result = step()
        found[f"{name}_seconds"] = time.perf_counter() - began
        found["seconds"] += found[f"{name}_seconds"]
        found["processor_seconds"] += time.process_time() - processor
    found["peak_gb"], found["idle_gb"] = machine.peak_gb(), idle
    np.save(file.with_name(f"{which}.npy"), result)
    cameras = np.zeros(len(query), dtype=int), np.ones(len(gallery), dtype=int)
    found["mAP"] = evaluate_ranking(result, query_pids, gallery_pids, *cameras).mAP
    return found


def compare(folder: Path, which: str) -> dict[str, float]:
    """How far a result is from crosscam's, a few rows at a time."""
    ours, theirs = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("crosscam", which))
    apart = [np.abs(ours[i : i + 100] - theirs[i : i + 100]) for i in range(0, len(ours), 100)]
    far = sum(int((a > TARGETS["difference"]).sum()) for a in apart)
    return {"difference": max(float(a.max()) for a in apart), "pairs_farther_than_1e-5": far}


def one_size(size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """All implementations at one size."""
    row: dict[str, Any] = {"queries": size[0], "gallery": size[1], "dim": options.dim, "threads": options.threads}
    peers = [] if size == LARGE else ["dense", *(["torchreid"] if options.torchreid else [])]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "descriptors.npz"
        draw(file, *size, options.dim)
        clone = ["--torchreid", str(options.torchreid)] if options.torchreid else []
        for which in ("crosscam", *peers):
            told = machine.in_child(__file__, "--child", str(file), which, "--threads", str(options.threads), *clone)
            if which != "crosscam":
                told |= compare(Path(folder), which)
                told["times_as_long"] = told["seconds"] / row["crosscam"]["seconds"]
                told["times_the_processor"] = told["processor_seconds"] / row["crosscam"]["processor_seconds"]
                told["times_the_memory"] = told["peak_gb"] / row["crosscam"]["peak_gb"]
            row[which] = told
            show(row, which)
    row["machine"] = machine.about("numpy", "torch")
    return row


def show(row: dict[str, Any], which: str) -> None:
    told = row[which]
    cells = [f"{row['queries']:,} x {row['gallery']:,}", which, f"{told['seconds']:.1f}"]
    cells += [f"{told['processor_seconds']:.1f}", f"{told['peak_gb']:.2f}", f"{100 * told['mAP']:.2f} %"]
    ratios = [f"{told[key]:.1f}" if key in told else "" for key in RATIOS]
    far = f"{told['difference']:.1e}" if "difference" in told else ""
    print("| " + " | ".join([*cells, *ratios, far]) + " |", flush=True)


def main() -> None:
    """Draw, run in children, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", action="store_true", help="at Market-1501's size")
    parser.add_argument("--large", action="store_true", help="against 100,000 gallery images")
    parser.add_argument("--torchreid", type=Path, help="a clone of KaiyangZhou/deep-person-reid")
    parser.add_argument("--dim", type=int, default=1792)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--size", type=int, nargs=2, metavar=("QUERIES", "GALLERY"), help="any other size")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run(Path(options.child[0]), options.child[1], options.threads, options.torchreid)))
        return
    sizes = [size for size, asked in ((MARKET, options.market), (LARGE, options.large)) if asked]
    sizes += [tuple(options.size)] if options.size else []
    print("| size | | s | s of processor | peak, GB | mAP | times: s | processor | memory | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = [one_size(size, options) for size in sizes or [HALF]]
    file = machine.RESULTS / "reranking.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    new = {(row["queries"], row["gallery"], row["dim"]) for row in rows}
    kept = [row for row in kept if (row["queries"], row["gallery"], row["dim"]) not in new]
    ordered = sorted([*kept, *rows], key=lambda row: (row["gallery"], row["dim"]))
    machine.write("reranking", {"targets": TARGETS, "rows": ordered})


if __name__ == "__main__":
    main()
