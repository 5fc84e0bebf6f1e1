"""What each step of fitting rrid-mini brings, on people and cameras that the fit leaves out.

    python benchmarks/fit_steps.py RUN_FOLDER TABLE.csv --leave CUHK01

RUN_FOLDER holds what ``docs/fit_rrid_mini.py`` kept: stripes and descriptors of the table's training images, and of
further pictures. The images whose path holds the word are the exam: one camera against the others; the heads are
fitted to the rest. Prints and writes ``benchmarks/results/fit_steps.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.data.datasets.readers import read_dataset
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.training.provenance import versions

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from fit_rrid_mini import OWN, REST, LeastSquares, Stripes, block_inputs

RESULT = Path(__file__).parent / "results" / "fit_steps.json"
ROWS = 1024


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


def directions(count: int, total: int, numbers: int) -> list[Tensor]:
    """For each of the blocks, orthonormal (T, c); as many as span the descriptor are of one rotation."""
    found = []
    for rotation in range(-(-count * numbers // total)):
        square = torch.randn(total, total, generator=torch.Generator().manual_seed(rotation))
        found += torch.linalg.qr(square)[0].split(numbers, dim=1)
    return list(found[:count])


def strongest(rows: Tensor, numbers: int) -> Tensor:
    """The strongest directions (T, c) of a block's rows."""
    return torch.linalg.eigh(rows.T @ rows)[1][:, -numbers:]


def main() -> None:
    """Fit, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--leave", required=True)
    args = parser.parse_args()
    samples = read_dataset(args.table).train
    exam = np.array([args.leave in str(sample.path) for sample in samples])
    pids, cams = (np.array([getattr(s, name) for s in samples])[exam] for name in ("pid", "camid"))
    query = cams == cams.min()
    labeled = load(args.run / "train-0.npz")
    seen = Stripes(labeled.stripes[~exam], labeled.descriptors[~exam])
    more = load(args.run / "unlabelled-0.npz")
    both = Stripes(
        *(np.concatenate(pair) for pair in ((seen.stripes, more.stripes), (seen.descriptors, more.descriptors)))
    )
    tested = [torch.from_numpy(x) for x in blocks(Stripes(labeled.stripes[exam], labeled.descriptors[exam]))]
    results: dict[str, dict[str, float]] = {}

    def score(name: str, descriptors: Tensor) -> None:
        unit = torch.nn.functional.normalize(descriptors, dim=1).numpy()
        found = evaluate_descriptors(unit[query], unit[~query], pids[query], pids[~query], cams[query], cams[~query])
        results[name] = {"rank1": found.cmc_at(1), "mAP": found.mAP, "numbers": descriptors.shape[1]}
        print(
            f"{name:60} {descriptors.shape[1]:5} numbers  rank-1 {100 * found.cmc_at(1):.1f}  mAP {100 * found.mAP:.1f}"
        )

    score("the published network itself", torch.from_numpy(labeled.descriptors[exam]))
    for name, data, rest in (
        ("four parts alone, no relation", seen, None),
        ("four parts with the rest, no penalty on it", seen, OWN),
        ("four parts with the rest", seen, REST),
    ):
        inputs = blocks(data)
        solved = [fitted(inputs[i], data.descriptors, rest) for i in range(4)]
        width = 512 if rest is None else 1024
        score(name, torch.cat([tested[i][:, :width] @ w + b for i, (w, b) in enumerate(solved)], dim=1))
    for name, data in (("labeled images", seen), ("and pictures without labels", both)):
        inputs = blocks(data)
        solved = [fitted(x, data.descriptors, REST if i < 6 else OWN) for i, x in enumerate(inputs)]
        whole = [x @ w + b for x, (w, b) in zip(tested, solved, strict=True)]
        score(f"eight blocks, {name}", torch.cat(whole, dim=1))
        some = [torch.from_numpy(x[:4096]) @ w + b for x, (w, b) in zip(inputs, solved, strict=True)]
        short = [y @ strongest(rows, 64) for y, rows in zip(whole, some, strict=True)]
        score(f"eight blocks of 64, strongest directions, {name}", torch.cat(short, dim=1))
        turned = [y @ u for y, u in zip(whole, directions(8, whole[0].shape[1], 64), strict=True)]
        score(f"eight blocks of 64, other directions each, {name}", torch.cat(turned, dim=1))
    people = len(set(pids.tolist()))
    found = {"exam": args.leave, "images": int(exam.sum()), "people": people, "rows": results, **versions()}
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def load(file: Path) -> Stripes:
    """What the fit kept."""
    with np.load(file) as kept:
        return Stripes(kept["stripes"], kept["descriptors"])


if __name__ == "__main__":
    main()
