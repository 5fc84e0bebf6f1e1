"""A network on the official Market-1501 test: ``python benchmarks/official_market.py MARKET [--model NAME] [--plain]``.

3,368 queries against 19,732 images, single-query protocol. ``--plain`` leaves the mirror pass out, for half the time.
Prints the scores with 95 % intervals over the tested people, and writes ``benchmarks/results/official_market.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from crosscam.data.datasets.readers import read_dataset
from crosscam.experiments.scoring import ranking_labels
from crosscam.inference.extractor import Extractor
from crosscam.metrics.intervals import mean_interval
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.training.provenance import versions

RESULT = Path(__file__).parent / "results" / "official_market.json"


def main() -> None:
    """Describe, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=Path("rrid-mini"))
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    dataset = read_dataset(args.data)
    extractor = Extractor.load(args.model, engine="openvino", flip=not args.plain)
    query, gallery = (extractor([s.path for s in samples]) for samples in (dataset.query, dataset.gallery))
    result = evaluate_descriptors(query, gallery, *ranking_labels(dataset))
    pids = np.array([s.pid for s in dataset.query])
    hit = np.where(result.first_match > 0, result.first_match == 1, np.nan)
    rank1, mean_ap = mean_interval(hit[None], pids), mean_interval(result.average_precision[None], pids)
    found = {
        "model": str(args.model),
        "fingerprint": extractor.fingerprint,
        "data": dataset.fingerprint(),
        "mirrored": not args.plain,
        "queries": result.num_queries,
        "gallery": len(dataset.gallery),
        "rank1": result.rank1,
        "rank1_interval": [rank1.low, rank1.high],
        "mAP": result.mAP,
        "mAP_interval": [mean_ap.low, mean_ap.high],
        **versions(),
    }
    rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
    mine = found["fingerprint"], found["mirrored"]
    kept = [row for row in rows if (row["fingerprint"], row["mirrored"]) != mine]
    RESULT.write_text(json.dumps([*kept, found], indent=2) + "\n", encoding="utf-8")
    print(f"{args.model}: rank-1 {100 * rank1.value:.1f} [{100 * rank1.low:.1f}, {100 * rank1.high:.1f}] %, "
          f"mAP {100 * mean_ap.value:.1f} [{100 * mean_ap.low:.1f}, {100 * mean_ap.high:.1f}] %")  # fmt: skip


if __name__ == "__main__":
    main()
