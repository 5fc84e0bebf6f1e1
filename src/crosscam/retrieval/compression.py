"""Descriptors in fewer bytes: float16, int8, and fewer numbers by principal components.

Product quantisation is in product_quantiser.py. A codec is fitted on descriptors that need not be those it will hold,
for instance of the training images. Queries are never compressed: a query as it is is compared with a gallery image as
it was kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import pairwise_distances

Rows = NDArray[np.float32]
Codes = NDArray[Any]

# Images decoded at a time.
BLOCK_ROWS = 16_384
INT8_LIMIT = 127


class Codec(Protocol):
    """A way to keep descriptors."""

    @property
    def bytes_each(self) -> int:
        """Bytes of one image."""

    def encode(self, descriptors: Rows) -> Codes:
        """(N, D) -> (N, W), what is kept."""

    def decode(self, codes: Codes) -> Rows:
        """(N, W) -> (N, K), to be compared with projected queries."""

    def project(self, queries: Rows) -> Rows:
        """(Q, D) -> (Q, K); where only bytes are saved, and not numbers, the queries themselves."""

    def distances(self, queries: Rows, codes: Codes) -> Rows:
        """Euclidean distances (Q, N) of queries (Q, D) to images as they are kept (N, W)."""


@dataclass(frozen=True)
class Half:
    """float16: two bytes a number.

    Attributes:
        dim: numbers of a descriptor, D.
    """

    dim: int

    @property
    def bytes_each(self) -> int:
        return 2 * self.dim

    def encode(self, descriptors: Rows) -> Codes:
        return np.asarray(descriptors, dtype=np.float16)

    def decode(self, codes: Codes) -> Rows:
        return np.asarray(codes, dtype=np.float32)

    def project(self, queries: Rows) -> Rows:
        return np.asarray(queries, dtype=np.float32)

    def distances(self, queries: Rows, codes: Codes) -> Rows:
        return decoded_distances(self, queries, codes)


@dataclass(frozen=True, eq=False)
class Int8:
    """One byte a number, in steps of its own for each dimension. See :func:`fit_int8`.

    Attributes:
        centre: (D,) middle of each dimension.
        step: (D,) positive.
    """

    centre: Rows
    step: Rows

    @property
    def bytes_each(self) -> int:
        return len(self.centre)

    def encode(self, descriptors: Rows) -> Codes:
        steps = np.rint((descriptors - self.centre) / self.step)
        codes: Codes = np.clip(steps, -INT8_LIMIT, INT8_LIMIT).astype(np.int8)
        return codes

    def decode(self, codes: Codes) -> Rows:
        decoded: Rows = codes * self.step + self.centre
        return decoded

    def project(self, queries: Rows) -> Rows:
        return np.asarray(queries, dtype=np.float32)

    def distances(self, queries: Rows, codes: Codes) -> Rows:
        return decoded_distances(self, queries, codes)


@dataclass(frozen=True, eq=False)
class Principal:
    """Fewer numbers, kept by another codec. See :func:`fit_principal`.

    Attributes:
        centre: (D,) mean of the descriptors it was fitted on.
        basis: (D, K) principal directions, scaled where they are whitened.
        then: how the K numbers are kept.
    """

    centre: Rows
    basis: Rows
    then: Codec

    @property
    def bytes_each(self) -> int:
        return self.then.bytes_each

    def encode(self, descriptors: Rows) -> Codes:
        return self.then.encode(_projected(descriptors, self.centre, self.basis))

    def decode(self, codes: Codes) -> Rows:
        return self.then.decode(codes)

    def project(self, queries: Rows) -> Rows:
        return self.then.project(_projected(queries, self.centre, self.basis))

    def distances(self, queries: Rows, codes: Codes) -> Rows:
        return self.then.distances(_projected(queries, self.centre, self.basis), codes)


def fit_int8(descriptors: Rows) -> Int8:
    """Steps so that the widest value of each dimension is the last of 127; wider ones, met later, are cut.

    Args:
        descriptors: (N, D), N >= 1.
    Raises:
        ValueError: no descriptors, or not finite.
    """
    x = _checked(descriptors)
    low, high = x.min(axis=0), x.max(axis=0)
    step = (high - low) / (2 * INT8_LIMIT)
    return Int8(centre=(low + high) / 2, step=np.where(step > 0, step, np.float32(1)))


def fit_principal(descriptors: Rows, dim: int, *, whiten: float = 0.0) -> Principal:
    """Principal components, in float16; for another codec see :func:`followed_by`.

    Projected descriptors are scaled to length 1 again, as descriptors are.

    Args:
        descriptors: (N, D), more than ``dim``.
        dim: numbers kept, K <= D.
        whiten: 0 keeps the lengths of the directions, 1 makes all equally long; between, a compromise: direction i is
            divided by its standard deviation to this power. Jegou & Chum, "Negative evidences and co-occurrences in
            image retrieval", ECCV 2012.
    Raises:
        ValueError: a bad argument, or descriptors that are not finite.
    """
    x = torch.from_numpy(_checked(descriptors)).double()
    if not 1 <= dim <= min(x.shape[1], len(x) - 1):
        raise ArgumentError(
            f"dim is {dim}. Expected 1 to {min(x.shape[1], len(x) - 1)} for {len(x)} descriptors of {x.shape[1]} "
            "numbers; choose a smaller one or fit on more descriptors."
        )
    if not 0.0 <= whiten <= 1.0:
        raise ArgumentError(f"whiten is {whiten}. Expected 0 (not at all) to 1 (wholly).")
    centre = x.mean(dim=0)
    x = x - centre
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    values, vectors = values.flip(0)[:dim], vectors.flip(1)[:, :dim]
    # The sign of a direction is nobody's; the largest entry is made positive, so that every machine finds the same.
    sign = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    scale = values.clamp(min=1e-12 * float(values[0])).sqrt() ** -whiten
    basis = vectors * sign * scale
    return Principal(centre.float().numpy(), basis.float().contiguous().numpy(), Half(dim))


def followed_by(principal: Principal, then: Codec) -> Principal:
    """The same numbers, kept by another codec, which was fitted on ``principal.project`` of descriptors."""
    return Principal(principal.centre, principal.basis, then)


def decoded_distances(codec: Codec, queries: Rows, codes: Codes) -> Rows:
    """(Q, N) distances of queries to what was kept, decoded a block at a time."""
    projected = codec.project(queries)
    result = np.empty((len(projected), len(codes)), dtype=np.float32)
    for first in range(0, len(codes), BLOCK_ROWS):
        block = codec.decode(codes[first : first + BLOCK_ROWS])
        result[:, first : first + len(block)] = pairwise_distances(projected, block)
    return result


def search(
    codec: Codec, queries: Rows, codes: Codes, k: int, *, exact: Rows | None = None, looked_at: int = 100
) -> tuple[NDArray[np.int64], Rows]:
    """The k images nearest to each query among those kept.

    Args:
        codec: what the codes were made by.
        queries: (Q, D).
        codes: (N, W).
        k: images wanted, at most N.
        exact: (N, D) descriptors as they were, memory-mapped for instance; with them, ``looked_at`` images are found by
            the codes, and these are ranked by their exact distance.
        looked_at: see there; at least k.
    Returns:
        (Q, k) index of each image, nearest first, and (Q, k) its distance.
    """
    wanted = min(len(codes), max(k, looked_at) if exact is not None else k)
    if not 1 <= k <= len(codes):
        raise ArgumentError(f"k is {k}. Expected 1 to {len(codes)}, the number of images kept.")
    best = torch.empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64)
    for first in range(0, len(codes), BLOCK_ROWS):
        block = torch.from_numpy(codec.distances(queries, codes[first : first + BLOCK_ROWS]))
        near = block.topk(min(wanted, block.shape[1]), dim=1, largest=False)
        best, index = torch.cat([best, near.values], 1), torch.cat([index, near.indices + first], 1)
        best, order = best.topk(min(wanted, best.shape[1]), dim=1, largest=False)
        index = index.gather(1, order)
    if exact is not None:
        for row, chosen in enumerate(index):
            found = pairwise_distances(np.asarray(queries[row : row + 1]), np.asarray(exact[chosen.numpy()]))[0]
            best[row] = torch.from_numpy(found)
        best, order = best.sort(dim=1, stable=True)
        index = index.gather(1, order)
    return index[:, :k].numpy(), best[:, :k].numpy()


def _projected(descriptors: Rows, centre: Rows, basis: Rows) -> Rows:
    x = torch.from_numpy(np.ascontiguousarray(descriptors, dtype=np.float32) - centre) @ torch.from_numpy(basis)
    result: Rows = torch.nn.functional.normalize(x, dim=1).numpy()
    return result


def _checked(descriptors: Rows) -> Rows:
    x = np.ascontiguousarray(descriptors, dtype=np.float32)
    if x.ndim != 2 or not len(x):
        raise ArgumentError(f"Descriptors have shape {x.shape}. Expected (N, D) with at least one row.")
    if not np.isfinite(x).all():
        raise ArgumentError("Descriptors hold NaN or infinity. Expected finite numbers; check the images they are of.")
    return x
