"""k-reciprocal re-ranking as it is commonly written: dense matrices over all pairs, and a full sort of each row.

For the comparison in reranking.py alone. It follows Zhong et al., CVPR 2017, in the way of the widely used scripts: an
N x N matrix of distances, one of ranks and one of neighbourhoods, N = Q + G, and a loop over images.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
RERANK = "torchreid/utils/rerank.py"


def dense_rerank(squared: Matrix, num_query: int, k1: int = 20, k2: int = 6, share: float = 0.3) -> Matrix:
    """(Q, G) re-ranked distances from squared distances (N, N) of all images, queries first; they are overwritten."""
    original = squared
    original /= squared.max(axis=1, keepdims=True)
    ranks = np.argsort(original, axis=1, kind="stable").astype(np.int32)
    encoded = np.zeros_like(original)
    for image in range(len(original)):
        own = mutual(ranks, image, k1)
        members = [own]
        for neighbour in own:
            theirs = mutual(ranks, int(neighbour), round(k1 / 2))
            if len(np.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                members.append(theirs)
        everybody = np.unique(np.concatenate(members))
        weight = np.exp(-original[image, everybody])
        encoded[image, everybody] = weight / weight.sum()
    original = original[:num_query]
    if k2 > 1:
        averaged = np.empty_like(encoded)
        for image in range(len(encoded)):
            averaged[image] = encoded[ranks[image, :k2]].mean(axis=0)
        encoded = averaged
    del ranks
    holders = [np.flatnonzero(encoded[:, image]) for image in range(len(encoded))]
    result = np.empty_like(original)
    for query in range(num_query):
        overlap = np.zeros(len(encoded), dtype=np.float32)
        for image in np.flatnonzero(encoded[query]):
            overlap[holders[image]] += np.minimum(encoded[query, image], encoded[holders[image], image])
        result[query] = (1 - share) * (1 - overlap / (2 - overlap)) + share * original[query]
    return result[:, num_query:]


def mutual(ranks: NDArray[np.int32], image: int, k: int) -> NDArray[np.int32]:
    """The image's k nearest, itself counted besides, that have it among theirs."""
    near = ranks[image, : k + 1]
    return near[(ranks[near, : k + 1] == image).any(axis=1)]


def torchreid_rerank(clone: Path) -> Callable[..., Any]:
    """``re_ranking`` of a clone of KaiyangZhou/deep-person-reid, a bare one too."""
    file = clone / RERANK
    if file.exists():
        text = file.read_bytes()
    else:
        show = subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{RERANK}"], capture_output=True)
        if show.returncode:
            sys.exit(f"No {RERANK} in {clone}. Expected a clone of github.com/KaiyangZhou/deep-person-reid.")
        text = show.stdout
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "torchreid_rerank.py"
        copy.write_bytes(text)
        spec = importlib.util.spec_from_file_location("torchreid_rerank", copy)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{RERANK} cannot be loaded.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    function: Callable[..., Any] = module.re_ranking
    return function
