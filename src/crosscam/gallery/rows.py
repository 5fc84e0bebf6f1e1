"""How a descriptor is kept, so that one matrix product ranks under any weights.

With weights w over the blocks b, the squared distance of query q and entry g is

    sum_b w_b |q_b - g_b|^2  =  sum_b w_b |q_b|^2  -  ( [2 w q, -w] . [g, |g_b|^2] )

so a kept row is the descriptor followed by the squared length of each of its blocks, and a query is one row as well.
The product is in float32 and only chooses candidates; distances come from
:func:`crosscam.explain.parts.part_contributions`.
"""

from __future__ import annotations

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
