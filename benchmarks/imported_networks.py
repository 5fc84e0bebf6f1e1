"""A network from elsewhere, scored by a plain script and by ``crosscam evaluate``: the same numbers.

The script is what one writes without crosscam: Pillow, OpenVINO, NumPy. It prints its scores beside those of
``crosscam evaluate FILE --data DATA --no-flip --out SCORES``.

    python benchmarks/imported_networks.py person-reidentification-retail-0287.xml people.csv scores.json
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image


def descriptors(file: str, paths: list[Path]) -> np.ndarray:
    """(N, D) of length 1: 256 x 128 pictures, BGR, 0 to 255, one at a time."""
    network = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = []
    for path in paths:
        picture = Image.open(path).convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
        numbers = np.asarray(picture, np.float32)[:, :, ::-1].transpose(2, 0, 1)[None]
        row = network(np.ascontiguousarray(numbers))[0].reshape(-1)
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def scores(query: np.ndarray, gallery: np.ndarray, labels: list[np.ndarray]) -> tuple[float, float]:
    """mAP and rank-1, each query without the gallery pictures of its person at its camera."""
    query_pids, query_cams, pids, cams = labels
    precisions, first = [], []
    for row, pid, cam in zip(query, query_pids, query_cams, strict=True):
        kept = ~((pids == pid) & (cams == cam)) & (pids != -1)
        ranked = (pids[kept] == pid)[np.argsort(-(gallery[kept] @ row), kind="stable")]
        hits = np.flatnonzero(ranked)
        if len(hits):
            precisions.append(np.mean(np.arange(1, len(hits) + 1) / (hits + 1)))
            first.append(ranked[0])
    return float(np.mean(precisions)), float(np.mean(first))


def main(file: str, table: str, found: str) -> None:
    """Score a table of paths, pid, camid and split, and compare with what 'crosscam evaluate' wrote."""
    with open(table, encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    parts = [[row for row in rows if row["split"] == split] for split in ("query", "gallery")]
    both = [descriptors(file, [Path(table).parent / row["path"] for row in part]) for part in parts]
    labels = [np.array([int(row[name]) for row in part]) for part in parts for name in ("pid", "camid")]
    mean_ap, rank1 = scores(*both, labels)
    ours = json.loads(Path(found).read_text(encoding="utf-8"))[0]
    print(f"plain script:      mAP {mean_ap:.9f}, rank-1 {rank1:.9f}")
    print(f"crosscam evaluate: mAP {ours['mAP']:.9f}, rank-1 {ours['rank1']:.9f}")
    worst = max(abs(mean_ap - ours["mAP"]), abs(rank1 - ours["rank1"]))
    print(f"largest difference {worst:.1e}")
    sys.exit(0 if worst <= 1e-6 else 1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
