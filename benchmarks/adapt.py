"""A network fitted to cameras without labels: ``python benchmarks/adapt.py RUN DATA [--people N] [--seeds 0 1]``.

RUN was trained on other data. DATA has training images, which are learned without their labels, and a test split,
which is scored before and after: the official Market-1501, or a split out of its training people to choose settings
(``crosscam data holdout``). ``--people N`` learns the images of its first N training people alone, for a shorter
measurement. An adaptation that was interrupted goes on. Prints a line for each seed, and writes
``benchmarks/results/adapt.json``; rows of other calls stay.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rrid_mini import described, scores

import crosscam
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.inference.extractor import Extractor
from crosscam.training.provenance import versions

RESULT = Path(__file__).parent / "results" / "adapt.json"
SAME = ("source", "data", "settings", "seed")
SCORES = ("mAP", "rank1")


def of_people(dataset: ReidDataset, people: int | None) -> ReidDataset:
    """The dataset with the training images of its first people alone."""
    if people is None:
        return dataset
    chosen = set(sorted({s.pid for s in dataset.train})[:people])
    return replace(dataset, train=tuple(s for s in dataset.train if s.pid in chosen))


def tested(run: Path, dataset: ReidDataset) -> dict[str, Any]:
    """Scores of a run on a test split, without the mirror pass."""
    # OpenVINO for speed.
    return scores(run.name, dataset, described(Extractor.load(run, flip=False, engine="openvino"), dataset))


def adapted(source: Path, dataset: ReidDataset, out: Path, settings: Sequence[str], seed: int) -> dict[str, Any]:
    """One adaptation, as a row of the results."""
    began = time.perf_counter()
    outcome = crosscam.adapt(source, dataset, out, settings=[*settings, f"train.seed={seed}"], resume=True)
    return {
        "source": outcome.source,
        "data": outcome.data,
        "settings": list(settings),
        "seed": seed,
        "input": [outcome.settings[f"data.{side}"] for side in ("height", "width")],
        "epochs": list(outcome.epochs),
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": outcome.epochs[-1]["cpu_seconds"],
        "threads": torch.get_num_threads(),
        **versions(),
    }


def main() -> None:
    """Adapt, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"), help="folder of the adapted networks")
    parser.add_argument("--people", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    dataset = of_people(read_dataset(args.data), args.people)
    found = [adapted(args.run, dataset, args.out / f"seed{seed}", args.set, seed) for seed in args.seeds]
    before = tested(args.run, dataset)
    for row in found:
        row |= {"before": before, "after": tested(args.out / f"seed{row['seed']}", dataset)}
        rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else []
        kept = [other for other in rows if any(other[key] != row[key] for key in SAME)]
        RESULT.write_text(json.dumps([*kept, row], indent=2) + "\n", encoding="utf-8")
        told = (f"{name} {100 * before[name]:.1f} to {100 * row['after'][name]:.1f} %" for name in SCORES)
        print(f"{dataset.name}, seed {row['seed']}: {', '.join(told)}, {row['wall_seconds'] / 60:.0f} min", flush=True)


if __name__ == "__main__":
    main()
