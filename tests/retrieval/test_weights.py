"""Weights by part."""

from __future__ import annotations

import pytest

from crosscam.models.output import Block
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model
from crosscam.retrieval.contributions import block_weights, parse_weights

SIX = tuple(Block(f"p6.local{i + 1}", i, i + 1, 6, "local", (i / 6, (i + 1) / 6)) for i in range(6))
WHOLE = Block("p6.global", 6, 7, 6, "global", (0.0, 1.0))
LAYOUT = (*SIX, WHOLE)


def test_no_weights_are_ones() -> None:
    assert block_weights(None, LAYOUT).tolist() == [1.0] * 7
    assert block_weights({}, LAYOUT).tolist() == [1.0] * 7


def test_six_stripes_have_their_parts_weights() -> None:
    found = block_weights({"head": 5, "torso": 2, "legs": 3, "feet": 0}, LAYOUT)
    assert found.tolist() == [5, 2, 2, 3, 3, 0, 1]


def test_a_stripe_across_parts_has_their_mean_by_rows() -> None:
    quarters = tuple(Block(f"p4.local{i + 1}", i, i + 1, 4, "local", (i / 4, (i + 1) / 4)) for i in range(4))
    found = block_weights({"head": 4, "feet": 0}, quarters)
    # The first quarter is two thirds head and one third torso, the last two thirds feet and one third legs.
    assert found == pytest.approx([2 / 3 * 4 + 1 / 3, 1, 1, 1 / 3])


def test_names_of_blocks_come_first_and_whole_stands_apart() -> None:
    found = block_weights({"torso": 0, "p6.local2": 7, "whole": 0.5}, LAYOUT)
    assert found.tolist() == [1, 7, 0, 1, 1, 1, 0.5]


def test_patterns_fit_several_blocks_and_the_last_counts() -> None:
    assert block_weights({"p6.local*": 2, "p6.local1": 3, "*global": 4}, LAYOUT).tolist() == [3, 2, 2, 2, 2, 2, 4]
    assert block_weights({"p6.local1": 3, "p6.*": 2, "head": 0}, LAYOUT).tolist() == [2] * 7


def test_the_layouts_of_models() -> None:
    layout = layout_of(build_model("rrid-s", num_ids=0, pretrained=False))
    found = dict(zip((block.name for block in layout), block_weights({"feet": 0, "torso": 2}, layout), strict=True))
    assert found["p6.local6"] == 0
    assert found["p6.local2"] == found["p6.local3"] == 2
    assert found["p6.global"] == 1


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            {"arms": 1},
            "No body part or block 'arms'. Known: head, torso, legs, feet, whole, p6.local1",
        ),
        ({"p6.locl1": 1}, r"No body part or block 'p6.locl1'. Did you mean p6.local1\?"),
        ({"p6.local1": float("inf")}, "weight of p6.local1 is inf: expected a number from 0 to 1,000,000,000"),
        ({"torso": -1}, "weight of torso is -1"),
        ({"torso": float("nan")}, "weight of torso is nan"),
        ({"head": 0, "torso": 0, "legs": 0, "feet": 0, "whole": 0}, "nothing to compare"),
    ],
)
def test_what_is_refused(weights: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        block_weights(weights, LAYOUT)


def test_as_text() -> None:
    assert parse_weights("torso=2, feet=0") == {"torso": 2.0, "feet": 0.0}
    assert parse_weights("") == {}
    assert parse_weights("torso=2", "*global=0.5,feet=0") == {"torso": 2.0, "*global": 0.5, "feet": 0.0}
    for wrong in ("torso", "torso=x", "torso=1,torso=2", "=2"):
        with pytest.raises(ValueError, match="is not a weight"):
            parse_weights(wrong)
