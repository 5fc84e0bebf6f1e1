"""How near students are to their teacher, on people whom they learned from and on people whom they did not.

``python benchmarks/student_gap.py DATA TEACHER --input "bgr 256x128 255" --model NAME|RUN ...``: five images of each of
60 training and 60 gallery people; prints, of all pairs of images, the mean squared difference between the similarities
of student and teacher, their correlation, and the mean similarity of images of the same person.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.images import decode_image
from crosscam.data.network_input import NetworkInput
from crosscam.data.records import Sample
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.inference.engines.network_runtimes import open_file
from crosscam.inference.extractor import Extractor

PEOPLE, IMAGES = 60, 5


def picked(samples: tuple[Sample, ...]) -> list[Sample]:
    """Some images of some people, without junk and distractors; the same at each call."""
    rng = np.random.default_rng(0)
    people: dict[int, list[Sample]] = {}
    for sample in samples:
        people.setdefault(sample.pid, []).append(sample)
    chosen = rng.choice(sorted(pid for pid in people if pid > 0), PEOPLE, replace=False)
    return [people[pid][i] for pid in chosen for i in rng.permutation(len(people[pid]))[:IMAGES]]


def compared(student: NDArray[np.float32], teacher: NDArray[np.float32], pids: NDArray[np.int64]) -> dict[str, float]:
    """Student and teacher (N, D), rows of length 1."""
    pairs = np.triu_indices(len(pids), 1)
    ours, theirs = (student @ student.T)[pairs], (teacher @ teacher.T)[pairs]
    same = (pids[:, None] == pids)[pairs]
    return {
        "squared difference": float(np.mean((ours - theirs) ** 2)),
        "correlation": float(np.corrcoef(ours, theirs)[0, 1]),
        "same person": float(ours[same].mean()),
        "of the teacher": float(theirs[same].mean()),
    }


def main() -> None:
    """Describe, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--input", default="rgb 256x128 imagenet")
    parser.add_argument("--model", nargs="+", required=True)
    args = parser.parse_args()
    dataset: Any = read_dataset(args.data)
    takes = NetworkInput.parse(args.input)
    network = ImportedNetwork(open_file(args.teacher, takes), takes, str(args.teacher))
    for name, samples in (("learned", picked(dataset.train)), ("not learned", picked(dataset.gallery))):
        paths = [sample.path for sample in samples]
        planes = [takes.sized(torch.from_numpy(decode_image(path))[None]) for path in paths]
        rows = np.concatenate([network(one).descriptor.numpy() for one in planes])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for model in args.model:
            found = compared(Extractor.load(model, flip=False)(paths), rows, np.array([s.pid for s in samples]))
            print(f"{model}, people {name}: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
