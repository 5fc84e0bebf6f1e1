"""The paper's tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.reproduce.figures import NamedModel, figure_activation, figure_strips
    from crosscam.reproduce.study import Study

__getattr__, __dir__ = lazily(
    __name__,
    {
        "NamedModel": "reproduce.figures",
        "Study": "reproduce.study",
        "figure_activation": "reproduce.figures",
        "figure_strips": "reproduce.figures",
    },
)
__all__ = [
    "NamedModel",
    "Study",
    "figure_activation",
    "figure_strips",
]
