"""What each step of fitting rrid-mini brings, on people and cameras that the fit leaves out.

    python benchmarks/fit_steps.py KEPT TABLE.csv --leave CUHK01

KEPT, a folder, holds what ``docs/fit_rrid_mini.py`` kept: stripes and descriptors of the table's training images,
and of further images. The images whose path holds the word are the exam: one camera against the others; the heads
are fitted to the rest. Prints and writes ``benchmarks/results/fit_steps.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import Sample
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.training.provenance import versions

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from fit_rrid_mini import OWN, REST, LeastSquares, Stripes, block_inputs, directions, penalties

RESULT = Path(__file__).parent / "results" / "fit_steps.json"
ROWS = 1024
NUMBERS = 64


def blocks(data: Stripes) -> list[NDArray[np.float32]]:
    """The eight blocks' inputs (N, 2 C): stripes of two scales with their rests, and the two contrasts."""
    parts = [
        list(block_inputs(torch.from_numpy(data.stripes[i : i + ROWS]).float()))
        for i in range(0, len(data.stripes), ROWS)
    ]
    return [torch.cat([part[k] for part in parts]).numpy() for k in range(len(parts[0]))]


def fitted(inputs: NDArray[np.float32], targets: NDArray[np.float32], rest: float | None) -> tuple[Tensor, Tensor]:
    """Weights and bias of one block; rest None leaves the second half of the inputs out."""
    half = inputs.shape[1] // 2
    used = inputs if rest is not None else inputs[:, :half]
    squares = LeastSquares(used.shape[1], targets.shape[1])
    for i in range(0, len(used), ROWS):
        squares.add(torch.from_numpy(used[i : i + ROWS]), torch.from_numpy(targets[i : i + ROWS]))
    shares = [torch.full((half,), OWN)] + ([] if rest is None else [torch.full((half,), rest)])
    return squares.solve(torch.cat(shares))


def strongest(rows: Tensor, numbers: int) -> Tensor:
    """The strongest directions (T, c) of a block's rows."""
    return torch.linalg.eigh(rows.T @ rows)[1][:, -numbers:]


class Exam:
    """Images that no fit sees: one camera against the others.

    Args:
        samples: all images.
        chosen: which of them are the exam.
    """

    def __init__(self, samples: Sequence[Sample], chosen: NDArray[np.bool_]) -> None:
        self.pids, self.cams = (np.array([getattr(s, name) for s in samples])[chosen] for name in ("pid", "camid"))
        self.rows: dict[str, dict[str, float]] = {}

    def score(self, name: str, descriptors: Tensor) -> None:
        """Score descriptors of the exam's images, and print a line."""
        query = self.cams == self.cams.min()
        unit = torch.nn.functional.normalize(descriptors, dim=1).numpy()
        labels = self.pids[query], self.pids[~query], self.cams[query], self.cams[~query]
        found = evaluate_descriptors(unit[query], unit[~query], *labels)
        self.rows[name] = {"rank1": found.cmc_at(1), "mAP": found.mAP, "numbers": descriptors.shape[1]}
        print(f"{name:70} {descriptors.shape[1]:5}  rank-1 {100 * found.cmc_at(1):.1f}  mAP {100 * found.mAP:.1f}")


def score_parts(exam: Exam, tested: Sequence[Tensor], seen: Stripes) -> None:
    """The four parts of the finer scale: alone, and with the rest of the image."""
    inputs = blocks(seen)
    for name, rest in (
        ("four parts alone, no relation", None),
        ("four parts with the rest, no penalty on it", OWN),
        ("four parts with the rest", REST),
    ):
        solved = [fitted(inputs[i], seen.descriptors, rest) for i in range(4)]
        found = [tested[i][:, : len(weights)] @ weights + bias for i, (weights, bias) in enumerate(solved)]
        exam.score(name, torch.cat(found, dim=1))


def score_blocks(exam: Exam, tested: Sequence[Tensor], data: Stripes, name: str) -> None:
    """All eight blocks, whole and cut to 64 numbers in two ways."""
    inputs = blocks(data)
    half = inputs[0].shape[1] // 2
    solved = [fitted(x, data.descriptors, float(penalties(i, half)[-1])) for i, x in enumerate(inputs)]
    whole = [x @ w + b for x, (w, b) in zip(tested, solved, strict=True)]
    exam.score(f"eight blocks, {name}", torch.cat(whole, dim=1))
    some = [torch.from_numpy(x[:4096]) @ w + b for x, (w, b) in zip(inputs, solved, strict=True)]
    short = [y @ strongest(rows, NUMBERS) for y, rows in zip(whole, some, strict=True)]
    exam.score(f"eight blocks of {NUMBERS}, strongest directions, {name}", torch.cat(short, dim=1))
    turned = [y @ directions(i, y.shape[1], NUMBERS, 0) for i, y in enumerate(whole)]
    exam.score(f"eight blocks of {NUMBERS}, other directions each, {name}", torch.cat(turned, dim=1))


def main() -> None:
    """Fit, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kept", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--leave", required=True)
    args = parser.parse_args()
    samples = read_dataset(args.table).train
    left = np.array([args.leave in str(sample.path) for sample in samples])
    labeled, more = load(args.kept / "train-0.npz"), load(args.kept / "unlabelled-0.npz")
    exam = Exam(samples, left)
    seen = Stripes(labeled.stripes[~left], labeled.descriptors[~left])
    both = Stripes(np.concatenate([seen.stripes, more.stripes]), np.concatenate([seen.descriptors, more.descriptors]))
    tested = [torch.from_numpy(x) for x in blocks(Stripes(labeled.stripes[left], labeled.descriptors[left]))]
    exam.score("the published network itself", torch.from_numpy(labeled.descriptors[left]))
    score_parts(exam, tested, seen)
    score_blocks(exam, tested, seen, "labeled images")
    score_blocks(exam, tested, both, "and images without labels")
    people = len(set(exam.pids.tolist()))
    found = {"exam": args.leave, "images": int(left.sum()), "people": people, "rows": exam.rows, **versions()}
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def load(file: Path) -> Stripes:
    """What the fit kept."""
    with np.load(file) as kept:
        return Stripes(kept["stripes"], kept["descriptors"])


if __name__ == "__main__":
    main()
