"""How much each body part contributes to the distance between two images, and weights for body parts.

A descriptor is one vector of named blocks, so the squared Euclidean distance between two of them is an exact
sum over the blocks. Nothing is approximated here: the parts add up to the distance that ranked the image. A weight for
a block is exact as well: the weighted squared distance is the sum of the blocks' squared distances, each times its
weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.models.output import Block, Layout
from crosscam.system.text import did_you_mean

Array = NDArray[np.float64]

PARTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"head": (0.0, 1 / 6), "torso": (1 / 6, 1 / 2), "legs": (1 / 2, 5 / 6), "feet": (5 / 6, 1.0)}
)
"""Rows of each body part as fractions of the image's height: whole stripes of six, of an upright person."""

LARGEST_WEIGHT = 1e9
"""Beyond any use, and far below what float32 can hold squared."""

WHOLE = "whole"
"""The name of all blocks that saw the whole image."""


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

    @property
    def longest(self) -> float:
        """The largest band or whole, so that all bars share one scale; 1 where all are 0."""
        return max(float(self.bands.max(initial=0.0)), float(self.whole.max(initial=0.0))) or 1.0


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


def block_weights(weights: Mapping[str, float] | None, layout: Layout) -> Array:
    """One factor for each block.

    A stripe's factor is the mean of the parts' factors over the rows that it saw: a stripe across torso and legs gets
    something between. Blocks that saw the whole image keep 1 unless ``whole`` is given. The name of a block
    (``p6.local3``), or a pattern of names (``p6.*``, ``*global``), comes before any part; of several that fit a block,
    the last counts. Parts that are not named have the factor 1.

    Args:
        weights: factors, 0 or more, by the names in ``PARTS``, ``whole``, or names and patterns of blocks; None for
            all 1.
        layout: L blocks.
    Returns:
        (L,) float64.
    Raises:
        ValueError: an unknown name, a factor below 0 or not finite, or nothing left to compare.
    """
    parts: dict[str, float] = {}
    own: dict[str, float] = {}
    for name, value in (weights or {}).items():
        fitting = [block.name for block in layout if fnmatchcase(block.name, name)]
        if name in PARTS and all(block.kind == "global" for block in layout):
            raise ArgumentError(
                f"{name}: this network has no body parts, its descriptor is of the whole image. Leave the weight out."
            )
        if name in (*PARTS, WHOLE):
            parts[name] = float(value)
        elif not fitting:
            known = [*PARTS, WHOLE, *(block.name for block in layout)]
            raise ArgumentError(
                f"No body part or block {name!r}. {did_you_mean(name, known)}Known: {', '.join(known)}."
            )
        if not 0 <= value <= LARGEST_WEIGHT:
            raise ArgumentError(f"The weight of {name} is {value}: expected a number from 0 to {LARGEST_WEIGHT:,.0f}.")
        own.update(dict.fromkeys(fitting, float(value)))
    result = np.array([own[block.name] if block.name in own else _weight(block, parts) for block in layout])
    if not result.any():
        raise ArgumentError("These weights leave nothing to compare. Give at least one part a weight above 0.")
    return result


def parse_weights(*texts: str) -> dict[str, float]:
    """``"torso=2,feet=0"``, in one text or several, as a mapping.

    Raises:
        ValueError: not of this form, or a name given twice.
    """
    found: dict[str, float] = {}
    for item in filter(None, (item.strip() for text in texts for item in text.split(","))):
        name, _, value = (piece.strip() for piece in item.rpartition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name or math.isnan(number) or name in found:
            raise ArgumentError(
                f"{item!r} is not a weight. Expected NAME=NUMBER, each name once, as in torso=2,feet=0."
            )
        found[name] = number
    return found


def _weight(block: Block, given: Mapping[str, float]) -> float:
    if block.kind == "global":
        return given.get(WHOLE, 1.0)
    top, bottom = block.rows
    rows = {name: max(0.0, min(bottom, low) - max(top, high)) for name, (high, low) in PARTS.items()}
    # A hair's breadth of rows comes from rounding: six stripes are to have their parts' factors to the last digit.
    rows = {name: height for name, height in rows.items() if height > 1e-6}
    seen = sum(rows.values())
    return sum(height / seen * given.get(name, 1.0) for name, height in rows.items()) if seen else 1.0
