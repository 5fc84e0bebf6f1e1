"""Networks of any origin on one test: ``python benchmarks/networks.py DATA --model NAME|RUN|FILE ... [--plain]``.

For the official Market-1501 (3,368 queries against 19,732 images, single-query protocol), VIPeR (all 632 people,
camera A against camera B), and any other data set with a query and a gallery. A file (ONNX, OpenVINO) needs its
``network.json``, as ``crosscam import-network`` writes it. ``--plain`` leaves the mirror pass out, for half the time.
Prints the scores with 95 % intervals over the tested people, and writes ``benchmarks/results/networks.json``; rows of
other calls stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from crosscam.data.datasets.readers import read_dataset, recognize
from crosscam.data.records import ReidDataset
from crosscam.experiments.scoring import ranking_labels
from crosscam.inference.extractor import Extractor
from crosscam.metrics.intervals import mean_interval
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.training.provenance import versions

RESULT = Path(__file__).parent / "results" / "networks.json"


def read_test(path: Path) -> ReidDataset:
    """A data set; of VIPeR all people."""
    kinds = recognize(path)
    return read_dataset(path, protocol="all") if kinds and kinds[0] == "viper" else read_dataset(path)


def scored(model: Path, dataset: ReidDataset, *, plain: bool) -> dict[str, Any]:
    """One network on one test, as a row of the results."""
    # A run folder goes through OpenVINO for speed; a file has its own engine.
    extractor = Extractor.load(model, flip=not plain, **({} if model.is_file() else {"engine": "openvino"}))
    query, gallery = (extractor([s.path for s in samples]) for samples in (dataset.query, dataset.gallery))
    result = evaluate_descriptors(query, gallery, *ranking_labels(dataset))
    pids = np.array([s.pid for s in dataset.query])
    hit = np.where(result.first_match > 0, result.first_match == 1, np.nan)
    rank1, mean_ap = mean_interval(hit[None], pids), mean_interval(result.average_precision[None], pids)
    return {
        "model": model.stem if model.is_file() else str(model),
        "fingerprint": extractor.fingerprint,
        "test": dataset.name,
        "data": dataset.fingerprint(),
        "mirrored": not plain,
        "queries": result.num_queries,
        "gallery": len(dataset.gallery),
        "rank1": result.rank1,
        "rank1_interval": [rank1.low, rank1.high],
        "mAP": result.mAP,
        "mAP_interval": [mean_ap.low, mean_ap.high],
        **versions(),
    }


def main() -> None:
    """Describe, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", default=[Path("rrid-mini")])
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    dataset = read_test(args.data)
    for model in args.model:
        found = scored(model, dataset, plain=args.plain)
        rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
        mine = [found[key] for key in ("fingerprint", "data", "mirrored")]
        kept = [row for row in rows if [row[key] for key in ("fingerprint", "data", "mirrored")] != mine]
        RESULT.write_text(json.dumps([*kept, found], indent=2) + "\n", encoding="utf-8")
        told = [f"{100 * found[k]:.1f} [{100 * found[k + '_interval'][0]:.1f}, {100 * found[k + '_interval'][1]:.1f}] %"
                for k in ("rank1", "mAP")]  # fmt: skip
        print(f"{found['model']} on {dataset.name}: rank-1 {told[0]}, mAP {told[1]}", flush=True)


if __name__ == "__main__":
    main()
