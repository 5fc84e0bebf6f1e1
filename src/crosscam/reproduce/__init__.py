"""The paper's tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.reproduce.figures import NamedModel, figure_activation, figure_strips
    from crosscam.reproduce.study import Study

__getattr__, __dir__ = lazily(
    __name__, {"reproduce.figures": "NamedModel figure_activation figure_strips", "reproduce.study": "Study"}
)
__all__ = ["NamedModel", "Study", "figure_activation", "figure_strips"]
