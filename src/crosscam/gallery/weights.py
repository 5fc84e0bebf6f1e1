"""Weights for body parts: ``torso=2,feet=0`` as one factor for each block of the descriptor.

A squared distance is an exact sum over the blocks of a descriptor, so a weight for a block is exact as well: the
weighted squared distance is the sum of the blocks' squared distances, each times its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.models.output import Block, Layout

PARTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"head": (0.0, 1 / 6), "torso": (1 / 6, 1 / 2), "legs": (1 / 2, 5 / 6), "feet": (5 / 6, 1.0)}
)
"""Rows of each body part as fractions of the picture's height: whole stripes of six, of an upright person."""

LARGEST = 1e9
"""Beyond any use, and far below what float32 can hold squared."""

WHOLE = "whole"
"""The name of all blocks that saw the whole picture."""


def block_weights(weights: Mapping[str, float] | None, layout: Layout) -> NDArray[np.float64]:
    """One factor for each block.

    A stripe's factor is the mean of the parts' factors over the rows that it saw: a stripe across torso and legs gets
    something between. Blocks that saw the whole picture keep 1 unless ``whole`` is given. A block's own name, such as
    ``p6.local3``, comes before any part. Parts that are not named have the factor 1.

    Args:
        weights: factors, 0 or more, by the names in ``PARTS``, ``whole``, or of blocks; None for all 1.
        layout: L blocks.
    Returns:
        (L,) float64.
    Raises:
        ValueError: an unknown name, a factor below 0 or not finite, or nothing left to compare.
    """
    given = dict(weights or {})
    known = [*PARTS, WHOLE, *(block.name for block in layout)]
    for name, value in given.items():
        if name not in known:
            raise ArgumentError(f"No part {name!r}. Known: {', '.join(known)}.")
        if not 0 <= value <= LARGEST:
            raise ArgumentError(f"The weight of {name} is {value}. Expected a number from 0 up to {LARGEST:,.0f}.")
    result = np.array([_weight(block, given) for block in layout])
    if not result.any():
        raise ArgumentError("These weights leave nothing to compare. Give at least one part a weight above 0.")
    return result


def parse_weights(text: str) -> dict[str, float]:
    """``"torso=2,feet=0"`` as a mapping.

    Raises:
        ValueError: not of this form, or a part named twice.
    """
    found: dict[str, float] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, sign, value = (piece.strip() for piece in item.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not sign or math.isnan(number) or name in found:
            raise ArgumentError(f"{item!r} in {text!r} is no weight. Expected each part once, as in torso=2,feet=0.")
        found[name] = number
    return found


def sees_whole(block: Block) -> bool:
    """Whether the block stands for the whole picture."""
    return block.kind == "global"


def _weight(block: Block, given: Mapping[str, float]) -> float:
    if block.name in given:
        return float(given[block.name])
    if sees_whole(block):
        return float(given.get(WHOLE, 1.0))
    top, bottom = block.rows
    rows = {name: max(0.0, min(bottom, low) - max(top, high)) for name, (high, low) in PARTS.items()}
    # A hair's breadth of rows comes from rounding: six stripes are to have their parts' factors to the last digit.
    rows = {name: height for name, height in rows.items() if height > 1e-6}
    seen = sum(rows.values())
    return sum(height / seen * given.get(name, 1.0) for name, height in rows.items()) if seen else 1.0
