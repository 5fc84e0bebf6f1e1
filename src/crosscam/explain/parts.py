"""How much each body part contributes to the distance between two images.

A descriptor is one vector of named blocks, so the squared Euclidean distance between two of them is an exact
sum over the blocks. Nothing is approximated here: the parts add up to the distance that ranked the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.models.output import Block, Layout

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BodyProfile:
    """Contributions laid out over the height of the image.

    Attributes:
        edges: (R + 1,) edges of the bands, fractions of the image height from the top; empty without local blocks.
        bands: (N, R) squared distance that falls to each band.
        whole: (N,) squared distance of the global blocks, which saw the whole image.
    """

    edges: Array
    bands: Array
    whole: Array


def part_contributions(query: NDArray[np.floating], matches: NDArray[np.floating], layout: Layout) -> Array:
    """Squared Euclidean distance, block by block.

    Args:
        query: (D,) one query against every match, or (N, D) one query for each match.
        matches: (N, D) descriptors.
        layout: the L blocks of the descriptor; together they cover it once.
    Returns:
        (N, L) float64; each row sums to the squared distance of its pair.
    Raises:
        ValueError: shapes that do not fit, or a layout that leaves out or repeats a part of the descriptor.
    """
    if matches.ndim != 2:
        raise ArgumentError(f"matches must be (N, D), found shape {matches.shape}.")
    if query.shape not in (matches.shape, matches.shape[1:]):
        raise ArgumentError(
            f"query must be (D,) or (N, D) for matches of shape {matches.shape}, found shape {query.shape}."
        )
    _check_cover(layout, matches.shape[1])
    squares = np.square(query.astype(np.float64) - matches.astype(np.float64))
    columns = [squares[:, block.start : block.stop].sum(axis=1) for block in layout]
    return np.stack(columns, axis=1)


def body_profile(contributions: Array, layout: Layout) -> BodyProfile:
    """Fold the blocks of all scales into one profile over the image height.

    The bands are the stripes of the finest scale. A stripe of a coarser scale is spread evenly over the rows
    it saw; global blocks stay apart. Bands and whole together still sum to the squared distance.

    Args:
        contributions: (N, L) from :func:`part_contributions`.
        layout: the same L blocks.
    Raises:
        ValueError: another number of blocks than columns.
    """
    if contributions.ndim != 2 or contributions.shape[1] != len(layout):
        raise ArgumentError(
            f"contributions must be (N, {len(layout)}) for this layout, found shape {contributions.shape}."
        )
    is_local = np.array([block.kind == "local" for block in layout], dtype=bool)
    local = [block for block in layout if block.kind == "local"]
    whole = contributions[:, ~is_local].sum(axis=1)
    if not local:
        return BodyProfile(np.empty(0), np.empty((len(contributions), 0)), whole)
    edges = _finest_edges(local)
    overlap = np.array([_overlap(block, edges) for block in local])
    return BodyProfile(edges, contributions[:, is_local] @ overlap, whole)


def _check_cover(layout: Layout, length: int) -> None:
    """Refuse a layout whose blocks do not tile ``range(length)``."""
    position = 0
    for block in sorted(layout, key=lambda b: b.start):
        if block.start != position or block.stop <= block.start:
            raise ArgumentError(
                f"Block {block.name} of the layout is {block.start}:{block.stop}, expected it to start at {position}; "
                "the blocks must cover the descriptor once."
            )
        position = block.stop
    if position != length:
        raise ArgumentError(f"The layout covers {position} numbers, but the descriptors have {length}.")


def _finest_edges(local: list[Block]) -> Array:
    """(R + 1,) edges of the scale with most parts, completed to the whole height."""
    finest = max(block.num_parts for block in local)
    rows = [edge for block in local if block.num_parts == finest for edge in block.rows]
    return np.unique(np.round([0.0, 1.0, *rows], 9))


def _overlap(block: Block, edges: Array) -> Array:
    """(R,) share of the block's rows that lies in each band; sums to one."""
    top, bottom = block.rows
    inside = np.clip(np.minimum(bottom, edges[1:]) - np.maximum(top, edges[:-1]), 0.0, None)
    total = inside.sum()
    if total <= 0:
        raise ArgumentError(f"Block {block.name} has no rows: {block.rows}, expected top < bottom within 0 and 1.")
    share: Array = inside / total
    return share
