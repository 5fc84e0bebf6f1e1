"""The loss that a recipe names."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from crosscam import losses
from crosscam.models.output import ReidOutput
from crosscam.recipes import recipe as settings

LOSSES: dict[settings.LossName, Callable[[settings.Loss, ReidOutput, Tensor], losses.Loss]] = {
    "rrid": lambda s, output, pids: losses.rrid_loss(
        output,
        pids,
        s.margin,
        s.cross_entropy_weight,
        label_smoothing=s.label_smoothing,
        triplet_on=s.triplet_on,
    ),
    "classification": lambda s, output, pids: losses.classification_loss(
        output, pids, label_smoothing=s.label_smoothing
    ),
    "soft-margin": lambda _, output, pids: losses.soft_margin_loss(output, pids),
    "mgn": lambda s, output, pids: losses.mgn_loss(output, pids, s.margin),
    "bnneck": lambda s, output, pids: losses.bnneck_loss(
        output, pids, s.margin, s.cross_entropy_weight, label_smoothing=s.label_smoothing
    ),
    "aligned-reid": lambda s, output, pids: losses.aligned_reid_loss(
        output, pids, s.margin, s.cross_entropy_weight, label_smoothing=s.label_smoothing
    ),
}


def compute_loss(loss: settings.Loss, output: ReidOutput, pids: Tensor) -> losses.Loss:
    """The loss of one batch.

    Args:
        loss: a recipe's settings.
        output: what the model gave for B images.
        pids: (B,) class numbers, 0 to K-1.
    """
    return LOSSES[loss.name](loss, output, pids)
