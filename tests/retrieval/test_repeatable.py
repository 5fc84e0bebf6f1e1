"""The same numbers in every process, whatever the clock says and however many threads there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Large enough for all that is taken only where it pays: several blocks, several threads.
SCRIPT = """
import hashlib, json, os, sys, tempfile
import numpy as np
import torch
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery
from crosscam.models.output import Block
from crosscam.calibration.fitting import calibrate
from crosscam.calibration.calibration import Origin
from crosscam.retrieval.distances import pairwise_distances
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.retrieval.reranking import rerank

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
rng = np.random.default_rng(0)
pids = np.arange(3600) // 12 + 1
camids = np.arange(3600) % 4 + 1
center = rng.normal(size=(301, 640)).astype(np.float32)
x = center[pids] + 4 * rng.normal(size=(3600, 640)).astype(np.float32)
x /= np.linalg.norm(x, axis=1, keepdims=True)
test = np.arange(3600) % 3 == 0
q, g = x[test], x[~test]
labels = pids[test], pids[~test], camids[test], camids[~test]
found = {
    "distances": pairwise_distances(q, g),
    "evaluation": evaluate_descriptors(q, g, *labels).average_precision,
    "re-ranking": rerank(q, g),
    "calibration": calibrate(x, pids, camids, Origin("toy", "0" * 16, "f" * 16)).to_json().encode(),
}
with tempfile.TemporaryDirectory() as folder:
    layout = (Block("whole", 0, 640, 1, "global", (0.0, 1.0)),)
    with create_gallery(folder + "/g", layout, ModelIdentity("f" * 16, "toy")) as gallery:
        gallery.add(g, [NewEntry(str(i), 1) for i in range(len(g))], model="f" * 16)
        hits = gallery.search(q[:40], 20, model="f" * 16)
        found["search"] = np.array([[(h.entry.id, h.distance) for h in some] for some in hits])
data = {k: v if isinstance(v, bytes) else np.asarray(v).tobytes() for k, v in found.items()}
print(json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in data.items()}))
"""


def digests(threads: int) -> dict[str, str]:
    """SHA-256 of each result, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def first() -> dict[str, str]:
    return digests(1)


@pytest.mark.parametrize("threads", [2, 3])
def test_every_process_gives_the_same_bytes(first: dict[str, str], threads: int) -> None:
    assert digests(threads) == first
