"""Neighborhoods of k-reciprocal re-ranking by the paper's definitions: with sets, and dense."""

from __future__ import annotations

from typing import Any

import numpy as np


def dense_neighborhoods(descriptors: Any, k1: int, k2: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, N) squared distances, and (N, N) neighborhoods, one in each row."""
    x = np.asarray(descriptors, np.float64)
    n = len(x)
    distance = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(i: int, k: int) -> set[int]:
        # N(p, k) holds the image itself and its k nearest others.
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    encoded = np.zeros((n, n))
    for i in range(n):
        own = reciprocal(i, k1)
        expanded = set(own)
        for j in own:
            theirs = reciprocal(j, round(k1 / 2))
            if len(own & theirs) > 2 / 3 * len(theirs):
                expanded |= theirs
        members = sorted(expanded)
        weights = np.exp(-distance[i, members] / distance[i].max())
        encoded[i, members] = weights / weights.sum()
    if k2 > 1:
        encoded = np.stack([encoded[order[i, :k2]].mean(axis=0) for i in range(n)])
    return distance, encoded


def dense_jaccard(encoded: np.ndarray) -> np.ndarray:
    """(N, N) Jaccard distances of the rows."""
    return np.stack([1 - np.minimum(a, encoded).sum(1) / np.maximum(a, encoded).sum(1) for a in encoded])
