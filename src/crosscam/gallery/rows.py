"""How a descriptor is kept, so that one matrix product ranks under any weights.

With weights w over the blocks b, the squared distance of query q and entry g is

    sum_b w_b |q_b - g_b|^2  =  sum_b w_b |q_b|^2  -  ( [2 w q, -w] . [g, |g_b|^2] )

so a kept row is the descriptor followed by the squared length of each of its blocks, and a query is one row as well.
The product is in float32 and only chooses candidates; distances come from
:func:`crosscam.retrieval.contributions.part_contributions`.

Checksums are of two kinds, for two questions. A CRC-32 of each row, of each thumbnail and of each entry's own fields is
what ``verify``, ``backup`` and ``descriptors`` compare. A search reads every row, and a CRC of them all would take
longer than to open the gallery; it compares one sum for each segment, which runs at the speed of the memory (7 GB/s
against 1 GB/s).
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.models.output import Layout

Rows = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

LENGTH_TOLERANCE = 1e-3
_ROUNDING = 2.0**-24


def check_descriptors(descriptors: Floats, layout: Layout, what: str) -> Rows:
    """(N, D) float32 of length 1, or ValueError with the first row at fault."""
    dim = layout[-1].stop
    if descriptors.ndim != 2 or descriptors.shape[1] != dim:
        raise ArgumentError(f"The {what} must be (N, {dim}) for this gallery, found shape {descriptors.shape}.")
    rows = np.ascontiguousarray(descriptors, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
    if len(wrong):
        raise ArgumentError(
            f"Row {wrong[0]} of the {what} has length {lengths[wrong[0]]:.4g}. Expected 1, as an Extractor gives it."
        )
    return rows


def widen(descriptors: Rows, layout: Layout) -> Rows:
    """(N, D + L) rows to keep from (N, D) descriptors."""
    dim = layout[-1].stop
    wide = np.empty((len(descriptors), dim + len(layout)), np.float32)
    wide[:, :dim] = descriptors
    for place, block in enumerate(layout, start=dim):
        part = descriptors[:, block.start : block.stop]
        wide[:, place] = np.einsum("nd,nd->n", part, part)
    return wide


def check_layout(layout: Layout) -> None:
    """Refuse a layout whose blocks do not stand side by side from 0 on."""
    ends = [0, *(block.stop for block in layout)]
    names = {block.name for block in layout}
    covers = all(b.start == end and b.dim > 0 for b, end in zip(layout, ends, strict=False))
    if not layout or len(names) < len(layout) or not covers:
        raise ArgumentError("The blocks of a layout must have different names and cover the descriptor once, in order.")


def query_rows(queries: Rows, weights: NDArray[np.float64], layout: Layout) -> Rows:
    """(Q, D + L): the product with a kept row is larger for a nearer entry."""
    dim = layout[-1].stop
    wide = np.empty((len(queries), dim + len(layout)), np.float32)
    for block, weight in zip(layout, weights, strict=True):
        wide[:, block.start : block.stop] = 2 * weight * queries[:, block.start : block.stop]
    wide[:, dim:] = -weights
    return wide


def product_error(weights: NDArray[np.float64], layout: Layout) -> float:
    """How far apart two products may lie although the true squared distances are equal.

    The worst case of any order of summation in float32 (Higham, "Accuracy and Stability of Numerical Algorithms",
    section 3.1: n rounding errors each relative to the sum of the absolute terms, which is at most 3 max(w) for rows of
    length 1), for both of the two products.
    """
    terms = layout[-1].stop + len(layout) + 2
    return float(2 * terms * _ROUNDING * 3 * weights.max() * (1 + LENGTH_TOLERANCE) ** 2)


Keys = NDArray[np.int64]
Sums = NDArray[np.uint64]


def row_sums(rows: Rows) -> Sums:
    """(n,) the sum of each row's 32-bit words, modulo 2**32."""
    words = np.ascontiguousarray(rows).view(np.uint32)
    sums: Sums = np.add.reduce(words, axis=1, dtype=np.uint32).astype(np.uint64)
    return sums


def segment_sum(sums: Sums, numbers: Keys) -> int:
    """What some rows contribute to the sum of their segment, as a signed 64-bit number.

    Each row counts with an odd factor by its place, so that rows that changed places are noticed. Contributions of
    different rows add up, modulo 2**64.

    Args:
        sums: (n,) of :func:`row_sums`.
        numbers: (n,) places of the rows in their segment.
    """
    factors = 2 * numbers.astype(np.uint64) + np.uint64(1)
    return signed(int(np.add.reduce(sums * factors, dtype=np.uint64)))


def signed(value: int) -> int:
    """A number modulo 2**64 as SQLite keeps it."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def entry_crc(fields: tuple[Any, ...]) -> int:
    """CRC-32 of an entry's own fields, in the order of :data:`crosscam.gallery.database.CHECKED`."""
    return zlib.crc32(repr(fields).encode("utf-8", "surrogatepass"))


def value_crc(name: str, text: str) -> int:
    """CRC-32 of a document or of what a gallery says of itself."""
    # A damaged database may give bytes, which are never what was kept.
    return zlib.crc32(json.dumps([name, text], default=repr).encode())
