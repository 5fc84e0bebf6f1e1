"""Explanations: which body parts agree, and where a network looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.explain.activation import PartFocus, activation_maps, part_focus, place_contributions
    from crosscam.explain.pair import PairExplanation, explain_pair
    from crosscam.explain.typical import TypicalPairs

__getattr__, __dir__ = lazily(
    __name__,
    {
        "explain.activation": "PartFocus activation_maps part_focus place_contributions",
        "explain.pair": "PairExplanation explain_pair",
        "explain.typical": "TypicalPairs",
    },
)
__all__ = [
    "PairExplanation",
    "PartFocus",
    "TypicalPairs",
    "activation_maps",
    "explain_pair",
    "part_focus",
    "place_contributions",
]
