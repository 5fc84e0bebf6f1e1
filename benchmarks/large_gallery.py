"""Seconds and memory of scoring against 519,732 gallery images: Market-1501 with its 500,000 distractors.

    python benchmarks/large_gallery.py [--dims 1792] [--distractors 500000] [--queries 3368] [--kinds mapped half]

Descriptors are made up. "mapped" reads float32 from a memory-mapped file, "half" holds float16 in memory; each runs in
a process of its own, whose peak counts the descriptors, pages of mapped files included. RRID-F: ``--dims 1792 3840``
(twice the time; 8 GB of disk). Writes benchmarks/results/large_gallery.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from evaluation import clustered_descriptors, market_sized_labels, trained_noise

from crosscam.metrics.ranking import evaluate_descriptors

TARGET_GB = 4.0
ROWS_AT_ONCE = 8192


def write_gallery(file: Path, dim: int, distractors: int, threads: int) -> None:
    """(19,732 + distractors, dim) float32 of length 1 as .npy, and the queries and labels beside it."""
    torch.set_num_threads(threads)
    labels = market_sized_labels()
    query, gallery = clustered_descriptors(labels, dim, trained_noise(dim))
    np.savez(file.with_suffix(".npz"), query=query, **dict(zip("abcd", labels, strict=True)))
    total = len(gallery) + distractors
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(total, dim))
    out[: len(gallery)] = gallery
    generator = torch.Generator().manual_seed(0)
    for first in range(len(gallery), total, ROWS_AT_ONCE):
        x = torch.randn(min(ROWS_AT_ONCE, total - first), dim, generator=generator)
        out[first : first + len(x)] = torch.nn.functional.normalize(x).numpy()
    out.flush()


def score(file: Path, kind: str, queries: int, threads: int) -> dict[str, Any]:
    """In the child: open, score, and tell seconds and the peak."""
    torch.set_num_threads(threads)
    mapped = np.load(file, mmap_mode="r")
    with np.load(file.with_suffix(".npz")) as arrays:
        query, query_pids, gallery_pids, query_camids, gallery_camids = (arrays[k] for k in ("query", *"abcd"))
    distractors = len(mapped) - len(gallery_pids)
    gallery_pids = np.concatenate([gallery_pids, np.zeros(distractors, dtype=np.int64)])
    gallery_camids = np.concatenate([gallery_camids, np.ones(distractors, dtype=np.int64)])
    gallery = mapped if kind == "mapped" else _as_half(file)
    labels = query_pids[:queries], gallery_pids, query_camids[:queries], gallery_camids
    began, processor = time.perf_counter(), time.process_time()
    result = evaluate_descriptors(query[:queries], gallery, *labels)
    taken, processor = time.perf_counter() - began, time.process_time() - processor
    products = 2 * queries * len(gallery) * gallery.shape[1]
    return {
        "gallery": len(gallery),
        "queries": result.num_queries,
        "dim": gallery.shape[1],
        "kind": kind,
        "descriptors_gb": round(gallery.nbytes / 1e9, 2),
        "peak_gb": round(machine.peak_gb(), 2),
        "seconds": round(taken, 2),
        "processor_seconds": round(processor, 2),
        "gflop_per_second": round(products / taken / 1e9, 1),
        "mAP": result.mAP,
    }


def _as_half(file: Path) -> np.ndarray[Any, Any]:
    """float16 in memory, read without ever holding the float32 file."""
    shape = np.load(file, mmap_mode="r").shape
    half = np.empty(shape, dtype=np.float16)
    for first in range(0, len(half), ROWS_AT_ONCE):
        half[first : first + ROWS_AT_ONCE] = np.load(file, mmap_mode="r")[first : first + ROWS_AT_ONCE]
    return half


def main() -> None:
    """Draw, score in children, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[1792])
    parser.add_argument("--distractors", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--kinds", nargs="+", choices=("mapped", "half"), default=["mapped", "half"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--place", type=Path, help="a folder for the descriptors; by default a temporary one")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        file, kind = options.child
        if kind == "write":
            write_gallery(Path(file), options.dims[0], options.distractors, options.threads)
            print("{}")
            return
        print(json.dumps(score(Path(file), kind, options.queries, options.threads)))
        return
    rows = []
    print("| numbers | held as | descriptors, GB | peak memory, GB | seconds | Gflop/s | mAP |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.place) as folder:
        file = Path(folder) / "gallery.npy"
        for dim in options.dims:
            sizes = ["--dims", str(dim), "--distractors", str(options.distractors), "--queries", str(options.queries)]
            common = [*sizes, "--threads", str(options.threads)]
            machine.in_child(__file__, "--child", str(file), "write", *common)
            for kind in options.kinds:
                row = machine.in_child(__file__, "--child", str(file), kind, *common)
                rows.append(row)
                print(
                    f"| {row['dim']:,} | {kind} | {row['descriptors_gb']} | {row['peak_gb']} | {row['seconds']} | "
                    f"{row['gflop_per_second']} | {100 * row['mAP']:.2f} % |",
                    flush=True,
                )
    about = machine.about("numpy", "torch")
    machine.write("large_gallery", {"threads": options.threads, "target_gb": TARGET_GB, "rows": rows, "machine": about})


if __name__ == "__main__":
    main()
