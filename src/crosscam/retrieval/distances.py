"""Euclidean distances between query and gallery descriptors, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from crosscam.errors import ArgumentError

Descriptors = Tensor | NDArray[np.floating[Any]]
Float = TypeVar("Float", np.float32, np.float64)

# Distances of a block of queries: about 64 MB.
BLOCK_ELEMENTS = 16_000_000

# Where the squared distance is this small beside the squared lengths, the product formula has lost its digits.
CANCELLATION = 1e-2
# Elements that the exact recomputation holds at a time.
REFINE_ELEMENTS = 4_000_000
# Descriptors that the center is taken from.
CENTER_ROWS = 2048

# Fewer rows or columns than this go through other code of the matrix product, which rounds differently.
LEAST = 16


@overload
def pairwise_distances(query: Tensor, gallery: Descriptors, *, squared: bool = False) -> Tensor: ...
@overload
def pairwise_distances(query: NDArray[Any], gallery: NDArray[Any], *, squared: bool = False) -> NDArray[np.float32]: ...
def pairwise_distances(
    query: Descriptors, gallery: Descriptors, *, squared: bool = False
) -> Tensor | NDArray[np.float32]:
    """Euclidean distance of every query to every gallery descriptor.

    Close pairs keep their digits: the gallery's mean is taken off first, and a pair much closer than its vectors
    are long is computed from the difference itself. A descriptor's distance to itself is exactly 0.

    Args:
        query: (Q, D) floating tensor, on any device, or array.
        gallery: (G, D); it is moved to the query's device.
        squared: give squared distances.
    Returns:
        (Q, G) float32; a tensor on the query's device, or an array for arrays.
    Raises:
        ValueError: a shape is not as above, or a descriptor is not finite.
    """
    q, g = as_matrices(query, gallery)
    result = torch.empty(len(q), len(g), dtype=torch.float32, device=q.device)
    for first, block in distance_blocks(q, g, squared=squared):
        result[first : first + len(block)] = block
    return result if isinstance(query, Tensor) else result.numpy()


@torch.no_grad()
def distance_blocks(query: Descriptors, gallery: Descriptors, *, squared: bool = False) -> Iterator[tuple[int, Tensor]]:
    """The rows of :func:`pairwise_distances`, a block of queries at a time.

    Args:
        query: (Q, D).
        gallery: (G, D).
        squared: give squared distances.
    Yields:
        The index of the block's first query, and (B, G) float32 on the query's device; the last block may be shorter.
    """
    q, g = as_matrices(query, gallery)
    rows = max(1, BLOCK_ELEMENTS // max(1, len(g)))
    mean = center_of(g).to(g.dtype).to(g.device)
    g = g - mean
    g_square = square_norms(g)
    for first in range(0, len(q), rows):
        yield first, centered_distances(q[first : first + rows] - mean, g, g_square, squared)


def center_of(descriptors: Descriptors) -> Tensor:
    """(D,) float64 on the CPU: about the middle of (N, D) descriptors, from some thousand of them, evenly spaced.

    Taking it off changes no distance, but keeps the digits of one. Few rows do, and a file need not be read twice.
    """
    count = len(descriptors)
    if not count:
        return torch.zeros(descriptors.shape[1], dtype=torch.float64)
    rows = np.linspace(0, count - 1, min(count, CENTER_ROWS)).astype(np.int64)
    if isinstance(descriptors, Tensor):
        return descriptors[torch.from_numpy(rows).to(descriptors.device)].float().cpu().double().mean(dim=0)
    return torch.from_numpy(np.asarray(descriptors[rows], dtype=np.float32)).double().mean(dim=0)


def centered_distances(q: Tensor, g: Tensor, g_square: Tensor, squared: bool) -> Tensor:
    """(B, G) distances of centered descriptors (B, D) and (G, D)."""
    q_square = square_norms(q)
    products = inner_products(q, g)
    lengths = q_square[:, None] + g_square
    square = products.mul_(-2.0).add_(lengths)
    rows, columns = torch.nonzero(square < lengths.mul_(CANCELLATION), as_tuple=True)
    for part, values in _pair_blocks(q, g, rows, columns):
        square[rows[part], columns[part]] = values
    square.clamp_(min=0.0)
    return (square if squared else square_root(square)).to(torch.float32)


@torch.no_grad()
def pair_distances(descriptors: Tensor, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
    """Squared Euclidean distance of single pairs, from the difference itself.

    Args:
        descriptors: (N, D) floating, on any device.
        first: (P,) index of one image of each pair.
        second: (P,) index of the other.
    Returns:
        (P,) float32.
    """
    x = descriptors if descriptors.dtype == torch.float64 else descriptors.float()
    rows, columns = (torch.from_numpy(index).to(x.device) for index in (first, second))
    # Not a list of small results: each would lie between freed large blocks, which the allocator then cannot use again.
    result = np.empty(len(first), dtype=np.float32)
    for part, values in _pair_blocks(x, x, rows, columns):
        result[part] = values.float().cpu().numpy()
    return result


def _pair_blocks(q: Tensor, g: Tensor, rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of the pairs (rows, columns), (P,), some at a time."""
    step = max(1, REFINE_ELEMENTS // max(1, q.shape[1]))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        yield part, square_norms(q[rows[part]] - g[columns[part]])


def square_root(x: Tensor) -> Tensor:
    """Square roots of a tensor, which may be overwritten; on a CPU rounded correctly, as numpy's are."""
    if x.device.type != "cpu":
        return x.sqrt_()
    values = x.numpy()
    return torch.from_numpy(np.sqrt(values, out=values))


def unit_rows(rows: NDArray[Float]) -> NDArray[Float]:
    """(N, D) rows scaled to length 1; a row of zeros, as a block behind a ReLU may be, stays."""
    unit: NDArray[Float] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def square_norms(x: Tensor) -> Tensor:
    """(N,) squared length of each row."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=1)
    return norms.square_()


def as_matrices(query: Descriptors, gallery: Descriptors) -> tuple[Tensor, Tensor]:
    """(Q, D) and (G, D) floating tensors on the query's device.

    Raises:
        ValueError: other shapes, or a descriptor that is not finite.
    """
    q = query.detach() if isinstance(query, Tensor) else torch.from_numpy(np.ascontiguousarray(query))
    g = gallery.detach() if isinstance(gallery, Tensor) else torch.from_numpy(np.ascontiguousarray(gallery))
    check_shapes(q, g)
    # float64 stays: a caller that passes it wants the digits. Everything narrower is computed in float32.
    dtype = torch.float64 if torch.float64 in (q.dtype, g.dtype) else torch.float32
    q, g = q.to(dtype), g.to(device=q.device, dtype=dtype)
    for name, x in (("query", q), ("gallery", g)):
        if (row := first_not_finite(x)) is not None:
            raise not_finite(name, row)
    return q, g


def check_shapes(query: Descriptors, gallery: Descriptors) -> None:
    """Refuse (ValueError) descriptors that are not (Q, D) and (G, D)."""
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ArgumentError(
            f"Query descriptors are {tuple(query.shape)} and gallery descriptors {tuple(gallery.shape)}. "
            "Expected (Q, D) and (G, D) from one model."
        )


def first_not_finite(x: Tensor) -> int | None:
    """The first row of (N, D) that holds NaN or infinity."""
    # A sum is finite only of finite numbers, and takes one pass; where it is not, the row is looked for.
    if torch.isfinite(x.sum()) or (finite := torch.isfinite(x).all(dim=1)).all():
        return None
    return int((~finite).nonzero()[0])


def not_finite(name: str, row: int) -> ArgumentError:
    """What to raise for it; ``name`` is query or gallery."""
    return ArgumentError(
        f"The descriptor of {name} {row} is not finite. Expected finite numbers; "
        "check the image and the weights it was computed with."
    )


def inner_products(q: Tensor, g: Tensor) -> Tensor:
    """(Q, D) and (G, D) -> (Q, G) inner products in full single precision, the same digits in every process.

    ``torch.mm``, always. By MKL, the BLAS of torch's own builds for x86 processors, its sums do not depend on which
    other rows and columns are multiplied beside them, nor on the number of threads, as long as there are some of each;
    few are filled up. By OpenBLAS the last digit does (Debian's torch). A 1x1 convolution of oneDNN's is
    faster on some processors, but sums differently with another number of threads; ``docs/log.md``. Reduced precision
    that the caller may have asked for elsewhere (autocast, coarse products) is set aside.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(q.device.type, enabled=False):
            if q.device.type == "cpu" and q.dtype == torch.float32 and min(len(q), len(g)) < LEAST:
                return torch.mm(_filled(q), _filled(g).T)[: len(q), : len(g)].contiguous()
            return torch.mm(q, g.T)
    finally:
        torch.set_float32_matmul_precision(precision)


def _filled(x: Tensor) -> Tensor:
    """(N, D) with rows of zeros up to the least number."""
    return pad(x, (0, 0, 0, max(0, LEAST - len(x))))
