"""The systems that can be trained: each is one file here, and one line in ``SYSTEMS``."""

from __future__ import annotations

from typing import Protocol, cast

from torch import nn

from crosscam.models.output import Layout
from crosscam.models.rrid import RRIDModel


class ModelSettings(Protocol):
    """What a recipe holds of a network: a frozen dataclass of plain values."""

    @property
    def system(self) -> str:
        """Its name in ``SYSTEMS``."""

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if the settings do not work together, or on images of this size."""

    def build(self, num_ids: int, *, pretrained: bool = True) -> nn.Module:
        """The network: ``model(images)`` gives a ReidOutput, ``model.layout`` its blocks."""


SYSTEMS: dict[str, type[ModelSettings]] = {
    "rrid": RRIDModel,
}


def layout_of(model: nn.Module) -> Layout:
    """The blocks of a network's descriptor."""
    return cast(Layout, model.layout)
