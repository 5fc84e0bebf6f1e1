"""How far the whole evaluation, from descriptors to scores, is from its limit: the bare matrix product.

    python benchmarks/descriptors_to_scores.py [--labels LABELS] [--runs 5] [--dim 3840]

At the size of Market-1501 (3,368 queries, 19,732 gallery images) with its labels, or with made-up ones of the same
counts. All are timed in turn in one process on the same descriptors; the ratio, pair by pair, is what counts: to
``torch.mm``, which is what a user would write and what crosscam calls, and to a 1x1 convolution, which is faster on
some processors and sums differently with another number of threads. Average precisions are compared with those of
the whole distance matrix. Writes ``benchmarks/results/descriptors_to_scores.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import torch
from evaluation import clustered_descriptors, read_labels

from crosscam.metrics.ranking import evaluate_descriptors, evaluate_ranking
from crosscam.retrieval.distances import pairwise_distances

RESULT = Path(__file__).parent / "results" / "descriptors_to_scores.json"
TARGET = 1.15


def seconds(call: Callable[[], object]) -> float:
    """Of the clock."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def by_convolution(q: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """(Q, G) by oneDNN: the queries are the pixels of one image, the gallery the filters of a 1x1 convolution."""
    pixels = q.view(1, len(q), 1, q.shape[1]).permute(0, 3, 1, 2)
    out = torch.nn.functional.conv2d(pixels, g.view(*g.shape, 1, 1))
    return out.permute(0, 2, 3, 1).reshape(len(q), len(g))


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dim", type=int, default=3840)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    labels = read_labels(options.labels)
    query, gallery = clustered_descriptors(labels, options.dim, noise=4.0)
    q, g = torch.from_numpy(query), torch.from_numpy(gallery)
    result = evaluate_descriptors(query, gallery, *labels)
    plain = evaluate_ranking(pairwise_distances(query, gallery), *labels)
    apart = np.nanmax(np.abs(result.average_precision - plain.average_precision))
    out = torch.empty(len(q), len(g))
    times = [
        (
            seconds(lambda: evaluate_descriptors(query, gallery, *labels)),
            seconds(lambda: torch.mm(q, g.T, out=out)),
            seconds(lambda: by_convolution(q, g)),
        )
        for _ in range(options.runs)
    ]
    ratios = [whole / product for whole, product, _ in times]
    row = {
        "queries": len(q),
        "gallery": len(g),
        "dim": options.dim,
        "threads": options.threads,
        "mAP": result.mAP,
        "largest_difference_to_whole_matrix": float(apart),
        "whole_seconds": statistics.median(w for w, _, _ in times),
        "product_seconds": statistics.median(p for _, p, _ in times),
        "convolution_seconds": statistics.median(b for _, _, b in times),
        "ratio": statistics.median(ratios),
        "ratio_to_convolution": statistics.median(w / b for w, _, b in times),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "target": TARGET,
        "machine": machine.about("numpy", "torch"),
    }
    RESULT.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    print("| descriptors to scores, s | torch.mm, s | ratio | least to most | convolution, s | ratio |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {row['whole_seconds']:.2f} | {row['product_seconds']:.2f} | {row['ratio']:.2f} | "
        f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f} | {row['convolution_seconds']:.2f} | "
        f"{row['ratio_to_convolution']:.2f} |"
    )
    print(f"largest difference of an average precision to that of the whole distance matrix: {apart:.1e}")


if __name__ == "__main__":
    main()
