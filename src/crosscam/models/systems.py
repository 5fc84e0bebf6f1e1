"""The systems that can be trained: each is one file here, and one line in ``SYSTEMS``."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

from crosscam.models.baselines.aligned_reid import AlignedReIDModel
from crosscam.models.baselines.bot import BoTModel
from crosscam.models.baselines.deep_person import DeepPersonModel
from crosscam.models.baselines.hacnn import HACNNModel
from crosscam.models.baselines.hpm import HPMModel
from crosscam.models.baselines.mgn import MGNModel
from crosscam.models.baselines.osnet import OSNetModel
from crosscam.models.baselines.pcb import PCBModel
from crosscam.models.baselines.svdnet import SVDNetModel
from crosscam.models.baselines.transreid import TransReIDModel
from crosscam.models.baselines.trinet import TriNetModel
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
        """The network: ``model(images)`` gives a ReidOutput, ``model.layout`` its blocks.

        ``num_ids`` is K, the identities to classify; with 0 the network only describes. Without ``pretrained`` it
        starts from random weights, whatever the settings say.
        """


SYSTEMS: dict[str, type[ModelSettings]] = {
    "rrid": RRIDModel,
    "svdnet": SVDNetModel,
    "trinet": TriNetModel,
    "hacnn": HACNNModel,
    "deep-person": DeepPersonModel,
    "aligned-reid": AlignedReIDModel,
    "pcb": PCBModel,
    "hpm": HPMModel,
    "mgn": MGNModel,
    "bot": BoTModel,
    "osnet": OSNetModel,
    "transreid": TransReIDModel,
}


@runtime_checkable
class Staged(Protocol):
    """Settings of a system whose training has stages."""

    def begin_epoch(self, model: nn.Module, epoch: int, *, resumed: bool) -> None:
        """Bring the model to where this epoch, 1-based, starts; ``resumed``: the epoch has begun before."""


def begin_epoch(settings: ModelSettings, model: nn.Module, epoch: int, *, resumed: bool) -> bool:
    """Let a system with stages prepare an epoch; whether it has stages, so that what is trained may have changed."""
    if not isinstance(settings, Staged):
        return False
    settings.begin_epoch(model, epoch, resumed=resumed)
    return True


@runtime_checkable
class Measuring(Protocol):
    """Settings of a system that compares descriptors in a way of its own."""

    def distances(self, query: Tensor, gallery: Tensor, layout: Layout) -> Tensor | None:
        """(Q, G) distances of (Q, D) and (G, D) descriptors; None if these settings ask for the Euclidean distance."""


def own_distances(settings: ModelSettings, query: Tensor, gallery: Tensor, layout: Layout) -> Tensor | None:
    """(Q, G) by the system's own distance; None where that is the Euclidean distance."""
    return settings.distances(query, gallery, layout) if isinstance(settings, Measuring) else None


def layout_of(model: nn.Module) -> Layout:
    """The blocks of a network's descriptor."""
    return cast(Layout, model.layout)
