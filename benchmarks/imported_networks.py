r"""A network from elsewhere, scored by a plain script and by crosscam: the same numbers.

The script is what one writes without crosscam: Pillow, OpenVINO, NumPy. It prints its scores beside those that
``crosscam evaluate FILE --data DATA --no-flip --out SCORES`` or ``benchmarks/networks.py`` wrote.

    python benchmarks/imported_networks.py person-reidentification-retail-0277.xml Market-1501-v15.09.15 \
        benchmarks/results/networks.json
    python benchmarks/imported_networks.py osnet.onnx people.csv scores.json --rgb
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def descriptors(file: str, paths: list[Path], rgb: bool) -> np.ndarray:
    """(N, D) of length 1: 256 x 128 images, one at a time; BGR, 0 to 255, or RGB without ImageNet's mean."""
    network = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
        numbers = np.asarray(image, np.float32)
        numbers = (numbers / 255 - MEAN) / STD if rgb else numbers[:, :, ::-1]
        row = network(np.ascontiguousarray(numbers.transpose(2, 0, 1)[None]))[0].reshape(-1)
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def scores(query: np.ndarray, gallery: np.ndarray, labels: list[np.ndarray]) -> tuple[float, float]:
    """mAP and rank-1, each query without the gallery images of its person at its camera."""
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


def images(data: Path) -> list[list[tuple[Path, int, int]]]:
    """Query and gallery as (path, identity, camera): of a table, or of Market-1501's folder."""
    if data.is_file():
        with data.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
        of_split = [[row for row in rows if row["split"] == split] for split in ("query", "gallery")]
        return [[(data.parent / r["path"], int(r["pid"]), int(r["camid"])) for r in part] for part in of_split]
    named = [
        [(path, re.match(r"(-?\d+)_c(\d)", path.name)) for path in sorted((data / folder).glob("*.jpg"))]
        for folder in ("query", "bounding_box_test")
    ]
    return [[(path, int(found[1]), int(found[2])) for path, found in part if found] for part in named]


def reported(file: Path, name: str) -> tuple[float, float]:
    """mAP and rank-1 that crosscam wrote."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    # Of several networks and datasets in networks.json, this one on Market-1501.
    row = next(r for r in rows if r.get("model", name) == name and r.get("data", "market1501") == "market1501")
    return row["mAP"], row["rank1"]


def main() -> None:
    """Score, and compare with what crosscam wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("data", type=Path, help="a table of path, pid, camid and split, or Market-1501's folder")
    parser.add_argument("scores", type=Path)
    parser.add_argument("--rgb", action="store_true", help="RGB without ImageNet's mean in place of BGR, 0 to 255")
    given = parser.parse_args()
    parts = images(given.data)
    both = [descriptors(given.file, [path for path, _, _ in part], given.rgb) for part in parts]
    labels = [np.array([row[column] for row in part]) for part in parts for column in (1, 2)]
    mean_ap, rank1 = scores(*both, labels)
    found_ap, found_rank1 = reported(given.scores, Path(given.file).stem)
    print(f"{Path(given.file).stem}: {len(parts[0]):,} queries, {len(parts[1]):,} gallery images")
    print(f"plain script: mAP {mean_ap:.9f}, rank-1 {rank1:.9f}")
    print(f"crosscam:     mAP {found_ap:.9f}, rank-1 {found_rank1:.9f}")
    worst = max(abs(mean_ap - found_ap), abs(rank1 - found_rank1))
    print(f"largest difference {worst:.1e}")
    sys.exit(0 if worst <= 1e-6 else 1)


if __name__ == "__main__":
    main()
