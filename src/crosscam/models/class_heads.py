"""What a network holds of its classes beside linear classifiers: directions for cosines, and centers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class CosineClassifier(nn.Module):
    """Cosines of a feature with one direction for each class, for :func:`crosscam.losses.class_losses.margin_logits`.

    Args:
        in_features: C.
        num_ids: K.
    """

    def __init__(self, in_features: int, num_ids: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_ids, in_features))
        nn.init.xavier_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) -> (B, K) in at least single precision: margins are finer than bf16's steps near 1."""
        with torch.autocast(features.device.type, enabled=False):
            wide = features if features.dtype == torch.float64 else features.float()
            return normalize(wide, dim=1) @ normalize(self.weight, dim=1).T


class Centers(nn.Module):
    """One center for each class, which :func:`crosscam.losses.class_losses.move_centers` moves.

    Args:
        in_features: C.
        num_ids: K.

    Attributes:
        centers: (K, C), zeros at first.
    """

    centers: Tensor

    def __init__(self, in_features: int, num_ids: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(num_ids, in_features))
