"""One-vs.-rest relation between body parts: equation (1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.stripes import Activation, GammaInit, PartUnits

Relation = Literal["one_vs_rest", "rest_only", "none"]


def one_vs_rest_mean(parts: Tensor) -> Tensor:
    """Mean of the other parts, for each part.

    Source: Park & Ham, AAAI 2020, the text above eq. (1).

    Args:
        parts: (B, P, C) pooled stripes, top to bottom, P >= 2.
    Returns:
        (B, P, C); row p averages every part but p.
    Raises:
        ValueError: fewer than two parts.
    """
    num_parts = parts.shape[1]
    if num_parts < 2:
        raise ArgumentError("One part has no rest. The one-vs.-rest relation needs at least two parts.")
    return (parts.sum(dim=1, keepdim=True) - parts) / (num_parts - 1)


@dataclass(frozen=True)
class RelationOutput:
    """Local features of one scale.

    Attributes:
        q: (B, P, c) the local relational features, the ones that enter the descriptor.
        p: (B, P, c) the projected parts; None when they are the descriptor themselves (no relation).
        r: (B, P, c) the projected rests; None without relation.
        added: (B, P, c) what the relation adds to p; None without relation.
    """

    q: Tensor
    p: Tensor | None = None
    r: Tensor | None = None
    added: Tensor | None = None


class RelationModule(nn.Module):
    """Local relational features q_i = p_i + R_p(T(p_i, r_i)), equation (1).

    Source: Park & Ham, AAAI 2020, eq. (1) and Fig. 2(a).

    Args:
        num_parts: P.
        in_features: C of the stripes.
        dim: c of the projected features.
        relation: ``"one_vs_rest"`` (eq. 1); ``"rest_only"`` (R_p sees r_i alone, the paper's discussion);
            ``"none"`` (the projected parts themselves, no relation).
        gamma_init, activation: see :class:`PartUnits`.
    """

    def __init__(
        self,
        num_parts: int,
        in_features: int,
        dim: int,
        relation: Relation = "one_vs_rest",
        gamma_init: GammaInit = "ones",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.relation = relation
        self.part = PartUnits(num_parts, in_features, dim, gamma_init, activation)
        if relation != "none":
            inputs = 2 * dim if relation == "one_vs_rest" else dim
            self.rest = PartUnits(num_parts, in_features, dim, gamma_init, activation)
            self.residual = PartUnits(num_parts, inputs, dim, gamma_init, activation)

    def forward(self, parts: Tensor) -> RelationOutput:
        """(B, P, C) pooled stripes -> local features of length c."""
        p = self.part(parts)
        if self.relation == "none":
            return RelationOutput(q=p)
        r = self.rest(one_vs_rest_mean(parts))
        added = self.residual(self.evidence(p, r))
        return RelationOutput(q=p + added, p=p, r=r, added=added)

    def evidence(self, p: Tensor, r: Tensor) -> Tensor:
        """What R_p sees of (B, P, c) projected parts and rests: T(p_i, r_i), or r_i alone."""
        return torch.cat((p, r), dim=2) if self.relation == "one_vs_rest" else r
