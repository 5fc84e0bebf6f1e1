"""Which body parts of a pair agree or differ beyond chance, in one sentence.

Squared distances of parts are compared with those of typical pairs, where there are any. Without them, with the share
that each part has in the squared lengths of the two descriptors: the share it would have if both were unrelated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from crosscam.models.output import Block, Layout
from crosscam.retrieval.contributions import Array, body_profile

# One in 20 pairs is beyond these by chance.
LOW, HIGH = 5.0, 95.0
# Pairs that tell what is typical.
ENOUGH = 20
# Standard deviations of a share by chance.
BEYOND = 2.0
WHOLE_IMAGE = "the whole image"
BAND_NAMES = {
    2: ("the upper body", "the lower body"),
    3: ("head and chest", "waist and thighs", "lower legs and feet"),
    4: ("head and shoulders", "torso", "thighs", "lower legs and feet"),
    6: ("head", "torso", "torso", "legs", "legs", "feet"),
}


@dataclass(frozen=True, eq=False)
class TypicalPairs:
    """Squared distances of typical pairs, block by block.

    Attributes:
        other, same: (N, L) of pairs that nearly all show two people, and (M, L) of pairs of one person, perhaps none.
        origin: what the pairs are, as the end of a sentence.
    """

    other: Array
    same: Array
    origin: str


def part_distances(contributions: Array, layout: Layout) -> tuple[tuple[str, ...], Array]:
    """Names of body parts, and (N, P) squared distance of each, of (N, L) contributions of blocks."""
    profile = body_profile(contributions, layout)
    columns: dict[str, Array] = {}
    for k, name in enumerate(_band_names(profile.edges)):
        columns[name] = columns.get(name, np.zeros(len(contributions))) + profile.bands[:, k]
    if any(block.kind == "global" for block in layout):
        columns[WHOLE_IMAGE] = profile.whole
    return tuple(columns), np.stack(list(columns.values()), axis=1)


def _band_names(edges: Array) -> tuple[str, ...]:
    """What lies in each band of an upright person."""
    count = max(0, len(edges) - 1)
    names = BAND_NAMES.get(count)
    if names and np.allclose(np.diff(edges), 1 / count):
        return names
    return tuple(f"rows {100 * a:.0f}–{100 * b:.0f} %" for a, b in pairwise(edges))


def beyond_chance(contributions: Array, layout: Layout, typical: TypicalPairs) -> str:
    """Which parts of (L,) squared distances agree and differ more than in typical pairs; empty if there are too few."""
    if len(typical.other) < ENOUGH:
        return ""
    names, (values,) = part_distances(contributions[None], layout)
    _, other = part_distances(typical.other, layout)
    with_same = len(typical.same) >= ENOUGH
    same = part_distances(typical.same, layout)[1] if with_same else other
    near, far = np.percentile(other, LOW, axis=0), np.percentile(same, HIGH, axis=0)
    agree = [name for name, value, edge in zip(names, values, near, strict=True) if value < edge]
    differ = [name for name, value, edge in zip(names, values, far, strict=True) if value > edge and name not in agree]
    than = "pairs of one person" if with_same else "random pairs"
    return _sentence(agree, differ, "more than in 19 of 20 random pairs", f"more than in 19 of 20 {than}") + (
        f" Measured against {typical.origin}."
    )


def beyond_length(contributions: Array, lengths: Array, layout: Layout) -> str:
    """Which parts have less and more of (L,) squared distances than their share of the (L,) squared mean lengths."""
    total, length = float(contributions.sum()), float(lengths.sum())
    if not total or not length:
        return "The two descriptors are equal: all parts agree."
    names, (values,) = part_distances(contributions[None], layout)
    _, (usual,) = part_distances(lengths[None] / length, layout)
    _, (numbers,) = part_distances(np.array([[block.dim for block in layout]], dtype=np.float64), layout)
    agree, differ = [], []
    for name, value, share, count in zip(names, values / total, usual, numbers, strict=True):
        # The sum of n squares of like size varies by the root of 2 / n of itself.
        slack = BEYOND * share * math.sqrt(2 / max(count, 1.0))
        if value < share - slack:
            agree.append(name)
        elif value > share + slack:
            differ.append(name)
    return _sentence(agree, differ, "more than the rest", "more than the rest") + (
        " Measured against the usual share of each part: its share of the descriptors' length. No typical pairs are "
        "kept with this network, so nothing here says whether the two are one person."
    )


def _sentence(agree: Sequence[str], differ: Sequence[str], agree_words: str, differ_words: str) -> str:
    pieces = []
    if agree:
        pieces.append(f"{_listed(agree)} {'agree' if _is_plural(agree) else 'agrees'} {agree_words}")
    if differ:
        pieces.append(f"{_listed(differ)} {'differ' if _is_plural(differ) else 'differs'} {differ_words}")
    if not pieces:
        return "No part agrees or differs beyond chance."
    text = "; ".join(pieces)
    return f"{text[0].upper()}{text[1:]}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is_plural(names: Sequence[str]) -> bool:
    return len(names) > 1 or " and " in names[0] or names[0] in ("legs", "feet", "thighs") or names[0][:5] == "rows "


def block_words(block: Block) -> str:
    """A block's name for people: ``stripe 1 of 4``, ``whole image (4 stripes)``."""
    if block.kind == "local":
        return f"stripe {round(block.rows[0] * block.num_parts) + 1} of {block.num_parts}"
    return "whole image" if block.num_parts == 1 else f"whole image ({block.num_parts} stripes)"
