"""Which parts agree and differ beyond chance, in words."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam.explain.typical import TypicalPairs, beyond_chance, beyond_length, block_words, part_distances
from crosscam.models.output import Block, Layout


def layout(stripes: int, dim: int = 8) -> Layout:
    """Stripes, and a block of the whole image."""
    local = [
        Block(f"p{stripes}.local{k + 1}", k * dim, (k + 1) * dim, stripes, "local", (k / stripes, (k + 1) / stripes))
        for k in range(stripes)
    ]
    return (*local, Block("global", stripes * dim, (stripes + 1) * dim, stripes, "global", (0.0, 1.0)))


def typical(columns: int, same: int = 0) -> TypicalPairs:
    """100 random pairs with each part between 0.1 and 0.2, and pairs of one person between 0.05 and 0.1."""
    random = np.random.default_rng(0)
    return TypicalPairs(random.uniform(0.1, 0.2, (100, columns)), random.uniform(0.05, 0.1, (same, columns)), "a test")


def test_a_part_beyond_19_of_20_pairs_is_named() -> None:
    four = layout(4)
    values = np.array([0.02, 0.15, 0.15, 0.5, 0.15])
    assert beyond_chance(values, four, typical(5)) == (
        "Head and shoulders agree more than in 19 of 20 random pairs; lower legs and feet differ more than in 19 of 20 "
        "random pairs. Measured against a test."
    )
    assert "No part agrees or differs beyond chance." in beyond_chance(np.full(5, 0.15), four, typical(5))


def test_pairs_of_one_person_tell_what_differs() -> None:
    values = np.array([0.02, 0.08, 0.08, 0.15, 0.08])
    found = beyond_chance(values, layout(4), typical(5, same=50))
    assert "lower legs and feet differ more than in 19 of 20 pairs of one person" in found
    assert "torso" in found.partition(";")[0], "0.08 is nearer than all random pairs"


def test_few_pairs_tell_nothing() -> None:
    few = typical(5)
    assert beyond_chance(np.full(5, 0.9), layout(4), TypicalPairs(few.other[:19], few.same, "few")) == ""


def test_six_stripes_are_four_parts_of_the_body_and_nothing_is_lost() -> None:
    names, values = part_distances(np.arange(7.0)[None], layout(6))
    assert names == ("head", "torso", "legs", "feet", "the whole image")
    assert values == pytest.approx(np.array([[0.0, 3.0, 7.0, 5.0, 6.0]]), abs=1e-6)


def test_without_typical_pairs_the_length_of_a_part_is_its_usual_share() -> None:
    two = layout(2, dim=50)
    lengths = np.array([0.4, 0.2, 0.4])
    assert beyond_length(2 * lengths, lengths, two).startswith("No part agrees or differs beyond chance.")
    found = beyond_length(np.array([0.1, 0.6, 0.5]), lengths, two)
    assert found.startswith("The upper body agrees more than the rest; the lower body differs more than the rest.")
    assert "its share of the descriptors' length" in found
    assert "all parts agree" in beyond_length(np.zeros(3), lengths, two)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block("p4.local3", 0, 1, 4, "local", (0.5, 0.75)), "stripe 3 of 4"),
        (Block("p4.global", 0, 1, 4, "global", (0.0, 1.0)), "whole image (4 stripes)"),
        (Block("global", 0, 1, 1, "global", (0.0, 1.0)), "whole image"),
    ],
)
def test_blocks_have_words(block: Block, words: str) -> None:
    assert block_words(block) == words
