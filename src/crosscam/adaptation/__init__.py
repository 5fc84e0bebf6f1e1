"""Adaptation without labels: clusters in place of people, within what tracks and times allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.adaptation.outcome import Outcome
    from crosscam.adaptation.pseudo_labels import cluster
    from crosscam.adaptation.units import units_of

__getattr__, __dir__ = lazily(
    __name__,
    {
        "adaptation.outcome": "Outcome",
        "adaptation.pseudo_labels": "cluster",
        "adaptation.units": "units_of",
    },
)
__all__ = ["Outcome", "cluster", "units_of"]
