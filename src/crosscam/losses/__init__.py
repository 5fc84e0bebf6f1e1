"""Losses: plain functions of a model's output and identities, equations (3) to (6)."""

from __future__ import annotations

from crosscam.losses.pair_losses import (
    batch_hard_soft_margin,
    batch_hard_triplet,
    circle_loss,
    hard_pairs,
    weighted_triplet,
)
from crosscam.losses.system_losses import (
    Loss,
    aligned_reid_loss,
    bnneck_loss,
    center_loss,
    classification_loss,
    cross_entropy_sum,
    margin_logits,
    mgn_loss,
    move_centers,
    rrid_loss,
    soft_margin_loss,
    transreid_loss,
)

__all__ = [
    "Loss",
    "aligned_reid_loss",
    "batch_hard_soft_margin",
    "batch_hard_triplet",
    "bnneck_loss",
    "center_loss",
    "circle_loss",
    "classification_loss",
    "cross_entropy_sum",
    "hard_pairs",
    "margin_logits",
    "mgn_loss",
    "move_centers",
    "rrid_loss",
    "soft_margin_loss",
    "transreid_loss",
    "weighted_triplet",
]
