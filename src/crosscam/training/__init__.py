"""Training: the loop, run folders, callbacks, several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.recipes.checkpoint import load_recipe, load_weights
    from crosscam.training.callbacks import Listeners, StepReport, read_history
    from crosscam.training.provenance import provenance_of
    from crosscam.training.trainer import train

__getattr__, __dir__ = lazily(
    __name__,
    {
        "training.callbacks": "Listeners StepReport read_history",
        "recipes.checkpoint": "load_recipe load_weights",
        "training.provenance": "provenance_of",
        "training.trainer": "train",
    },
)
__all__ = [
    "Listeners",
    "StepReport",
    "load_recipe",
    "load_weights",
    "provenance_of",
    "read_history",
    "train",
]
