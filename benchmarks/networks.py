"""Networks of any origin on one test: ``python benchmarks/networks.py DATA --model NAME|RUN|FILE ... [--plain]``.

For the official Market-1501 (3,368 queries against 19,732 images, single-query protocol), VIPeR (all 632 people,
camera A against camera B), and any other dataset with a query and a gallery. A file (ONNX, OpenVINO) needs its
``network.json``, as ``crosscam import-network`` writes it. Mirror images count as the
network has it by default; ``--plain`` leaves them out, for half the time. Prints the scores with 95 % intervals over
the tested people, and writes ``benchmarks/results/networks.json``; rows of other calls stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rrid_mini import described, read_exams, scores

from crosscam.data.records import ReidDataset
from crosscam.inference.extractor import Extractor
from crosscam.training.provenance import versions

RESULT = Path(__file__).parent / "results" / "networks.json"
SAME = ("network", "fingerprint", "mirrored")


def scored(model: Path, dataset: ReidDataset, *, plain: bool) -> dict[str, Any]:
    """One network on one test, as a row of the results."""
    # A run folder goes through OpenVINO for speed; a file has its own engine.
    extractor = Extractor.load(
        model, flip=False if plain else None, **({} if model.is_file() else {"engine": "openvino"})
    )
    name = model.stem if model.is_file() else str(model)
    row = scores(name, dataset, described(extractor, dataset))
    return {**row, "network": extractor.fingerprint, "mirrored": extractor.flip, **versions()}


def main() -> None:
    """Describe, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", default=[Path("rrid-mini")])
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    dataset = read_exams(args.data)[0]
    for model in args.model:
        found = scored(model, dataset, plain=args.plain)
        rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
        kept = [row for row in rows if any(row[key] != found[key] for key in SAME)]
        RESULT.write_text(json.dumps([*kept, found], indent=2) + "\n", encoding="utf-8")
        told = [f"{100 * found[k]:.1f} [{100 * found[k + '_interval'][0]:.1f}, {100 * found[k + '_interval'][1]:.1f}] %"
                for k in ("rank1", "mAP")]  # fmt: skip
        print(f"{found['model']} on {dataset.name}: rank-1 {told[0]}, mAP {told[1]}", flush=True)


if __name__ == "__main__":
    main()
