"""Descriptors as a few bytes: each part of the vector is replaced by the nearest of 256 centres, and named by one byte.

Source: Jegou, Douze & Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011. The distance of a query
to an image is a sum over the parts of distances to centres, which are looked up ("asymmetric": the query is exact).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.retrieval.compression import BLOCK_ROWS, Codes, Rows, decoded_distances
from crosscam.retrieval.counting import uses_compiled

CENTRES = 256
ROUNDS = 12
# From so many queries on, decoding the images once and multiplying is faster than looking up for each query.
MULTIPLY_FROM = 64


@dataclass(frozen=True, eq=False)
class ProductQuantiser:
    """One byte for each part of a descriptor. See :func:`fit_product_quantiser`.

    Attributes:
        centres: (M, 256, D / M) float32, those of each part.
    """

    centres: Rows

    @property
    def bytes_each(self) -> int:
        return len(self.centres)

    def encode(self, descriptors: Rows) -> Codes:
        parts = _parts(torch.from_numpy(np.ascontiguousarray(descriptors, dtype=np.float32)), len(self.centres))
        centres = torch.from_numpy(self.centres)
        codes = np.empty((len(descriptors), len(self.centres)), dtype=np.uint8)
        for first in range(0, len(descriptors), BLOCK_ROWS):
            for m, centre in enumerate(centres):
                codes[first : first + BLOCK_ROWS, m] = _nearest(parts[m, first : first + BLOCK_ROWS], centre).numpy()
        return codes

    def decode(self, codes: Codes) -> Rows:
        count = len(self.centres)
        return self.centres[np.arange(count), codes].reshape(len(codes), -1)

    def project(self, queries: Rows) -> Rows:
        return np.asarray(queries, dtype=np.float32)

    def tables(self, queries: Rows) -> Rows:
        """(Q, M, 256) squared distance of each part of the queries (Q, D) to each of its centres."""
        parts = _parts(torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)), len(self.centres))
        centres = torch.from_numpy(self.centres)
        square = (
            parts.square().sum(2)[..., None] + centres.square().sum(2)[:, None] - 2 * parts @ centres.transpose(1, 2)
        )
        result: Rows = square.clamp(min=0).transpose(0, 1).contiguous().numpy()
        return result

    def distances(self, queries: Rows, codes: Codes) -> Rows:
        if len(queries) >= MULTIPLY_FROM:
            return decoded_distances(self, queries, codes)
        return np.sqrt(look_up(self.tables(queries), codes))


def fit_product_quantiser(descriptors: Rows, num_bytes: int, *, seed: int = 0) -> ProductQuantiser:
    """Centres by k-means in each part.

    Args:
        descriptors: (N, D), at least 256 and better ten times as many.
        num_bytes: parts, M; D must be a multiple.
        seed: of the centres' first choice.
    Raises:
        ValueError: too few descriptors, or D is not a multiple.
    """
    x = torch.from_numpy(np.ascontiguousarray(descriptors, dtype=np.float32))
    if len(x) < CENTRES:
        raise ArgumentError(f"There are {len(x)} descriptors. Expected at least {CENTRES} to fit centres on.")
    if num_bytes < 1 or x.shape[1] % num_bytes:
        raise ArgumentError(
            f"num_bytes is {num_bytes}. Expected a divisor of the {x.shape[1]} numbers of a descriptor."
        )
    generator = torch.Generator().manual_seed(seed)
    return ProductQuantiser(torch.stack([_k_means(part, generator) for part in _parts(x, num_bytes)]).numpy())


def look_up(tables: Rows, codes: NDArray[Any], backend: str = "auto") -> Rows:
    """Sums of looked up entries.

    Args:
        tables: (Q, M, 256).
        codes: (N, M) uint8.
        backend: "numba", "numpy", or "auto", as in counting.py.
    Returns:
        (Q, N) float32.
    """
    result = np.zeros((len(tables), len(codes)), dtype=np.float32)
    if backend == "numba" or (backend == "auto" and uses_compiled(len(tables) * codes.size)):
        from crosscam.retrieval.compiled import compiled_loops, look_up_kernel

        with compiled_loops():
            look_up_kernel(tables, np.ascontiguousarray(codes), result)
        return result
    for query, table in enumerate(tables):
        for m, entries in enumerate(table):
            result[query] += entries[codes[:, m]]
    return result


def _parts(x: Tensor, count: int) -> Tensor:
    """(N, D) -> (M, N, D / M)."""
    return x.view(len(x), count, x.shape[1] // count).transpose(0, 1)


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """(N,) the nearest centre of each point, the first of equals."""
    return (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)


def _k_means(points: Tensor, generator: torch.Generator) -> Tensor:
    """(256, d) centres of (N, d) points; an empty one starts again at a point of a crowded one."""
    centres = points[torch.randperm(len(points), generator=generator)[:CENTRES]].clone()
    for _ in range(ROUNDS):
        nearest = _nearest(points, centres)
        members = torch.bincount(nearest, minlength=CENTRES)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        empty = torch.nonzero(members == 0).flatten()
        sums[empty] = points[torch.argsort(members[nearest], descending=True, stable=True)[: len(empty)]]
        centres = sums / members.clamp(min=1)[:, None]
    return centres
