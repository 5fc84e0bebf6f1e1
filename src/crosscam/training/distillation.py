"""Losses that make a network agree with others, its teachers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize


def similarity_loss(descriptor: Tensor, rows: Tensor) -> Tensor:
    """Mean squared difference of all pairwise cosine similarities of a batch.

    Source: Tung & Mori, "Similarity-preserving knowledge distillation", ICCV 2019, and Park et al., "Relational
    knowledge distillation", CVPR 2019: what is taught is how images lie to each other, so D and T may differ. Neither
    takes cosines, as here, where a descriptor is compared after scaling it to length 1. An image's similarity to itself
    does not count.

    Args:
        descriptor: (B, D) of the network, B at least 2.
        rows: (B, T) of the teacher.
    """
    own, taught = normalize(descriptor.float(), dim=1), normalize(rows.float(), dim=1)
    others = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    return mse_loss((own @ own.T)[others], (taught @ taught.T)[others])


class Distiller(nn.Module):
    """The losses of a training's teachers, with a linear map from the descriptor to each teacher's.

    Source of the map: Romero et al., "FitNets", ICLR 2015 (a regressor to the teacher's features). It is trained with
    the network and is no part of it.

    Args:
        dim: D, length of the network's descriptor.
        teacher_dims: T of each teacher.
        similarity, mapping: weights of the two losses.
    """

    def __init__(self, dim: int, teacher_dims: Sequence[int], *, similarity: float, mapping: float) -> None:
        super().__init__()
        self.similarity, self.mapping = similarity, mapping
        self.maps = nn.ModuleList(nn.Linear(dim, t, bias=False) for t in (teacher_dims if mapping else ()))

    def forward(self, descriptor: Tensor, taught: Sequence[Tensor]) -> Tensor:
        """Mean over the teachers of both weighted losses.

        Args:
            descriptor: (B, D) of the network.
            taught: (B, T) of each teacher.
        """
        total = descriptor.new_zeros(())
        for rows in taught:
            if self.similarity:
                total = total + self.similarity * similarity_loss(descriptor, rows)
        own = normalize(descriptor.float(), dim=1)
        for mapped, rows in zip(self.maps, taught, strict=False):
            cosine = (normalize(mapped(own), dim=1) * normalize(rows.float(), dim=1)).sum(dim=1)
            total = total + self.mapping * (1 - cosine).mean()
        return total / len(taught)
