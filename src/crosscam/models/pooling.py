"""Global features: GAP, GMP, GAP+GMP, and global contrastive pooling, equation (2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.stripes import Activation, GammaInit, PartUnits, SingleUnit, pool_stripes

GlobalPooling = Literal["gcp", "gap", "gmp", "gap+gmp", "none"]
Contrast = Literal["rest_mean", "mean_minus_max"]


def contrastive_feature(parts: Tensor, contrast: Contrast = "rest_mean") -> tuple[Tensor, Tensor]:
    """The maximum over the parts, and what the parts hold beside it.

    Source: Park & Ham, AAAI 2020, text above eq. (2); ``differences.md`` row 4.

    Args:
        parts: (B, P, C) max-pooled stripes, P >= 2.
        contrast: ``"rest_mean"``: (sum of p_i - p_max) / (P - 1), the authors' code;
            ``"mean_minus_max"``: p_avg - p_max, the paper's text.
    Returns:
        p_max and p_cont, (B, C) each.
    Raises:
        ValueError: fewer than two parts.
    """
    num_parts = parts.shape[1]
    if num_parts < 2:
        raise ArgumentError("Global contrastive pooling contrasts parts. It needs at least two.")
    p_max = parts.max(dim=1).values
    if contrast == "rest_mean":
        return p_max, (parts.sum(dim=1) - p_max) / (num_parts - 1)
    return p_max, parts.mean(dim=1) - p_max


def pool_map(feature_map: Tensor, pooling: GlobalPooling) -> Tensor:
    """(B, C, H, W) -> (B, C) by ``"gap"`` (mean), ``"gmp"`` (maximum) or ``"gap+gmp"`` (their sum)."""
    if pooling == "gap":
        return pool_stripes(feature_map, 1, "avg").flatten(1)
    if pooling == "gmp":
        return pool_stripes(feature_map, 1, "max").flatten(1)
    if pooling == "gap+gmp":
        return pool_map(feature_map, "gap") + pool_map(feature_map, "gmp")
    raise ArgumentError(f"Unknown pooling {pooling!r} of a map. Known: gap, gmp, gap+gmp.")


@dataclass(frozen=True)
class GlobalOutput:
    """Global features of one scale, (B, c) each.

    Attributes:
        q0: the one that enters the descriptor.
        p_max, p_cont: the projected maximum and contrast; None for plain pooling.
    """

    q0: Tensor
    p_max: Tensor | None = None
    p_cont: Tensor | None = None


class PooledFeature(nn.Module):
    """One pooled vector of the map, projected to c numbers: the GAP, GMP and GAP+GMP of Table 2."""

    def __init__(
        self,
        in_features: int,
        dim: int,
        pooling: GlobalPooling,
        gamma_init: GammaInit = "ones",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.unit = SingleUnit(in_features, dim, gamma_init, activation)

    def forward(self, feature_map: Tensor) -> GlobalOutput:
        """(B, C, H, W) feature map -> (B, c) global feature."""
        return GlobalOutput(q0=self.unit(pool_map(feature_map, self.pooling)))


class GlobalContrastivePooling(nn.Module):
    """Global contrastive feature q_0 = p_max + R_g(T(p_max, p_cont)), equation (2).

    Source: Park & Ham, AAAI 2020, eq. (2) and Fig. 2(b).

    Args:
        in_features, dim: C of the map, and c of the projected features.
        contrast: see :func:`contrastive_feature`.
        gamma_init, activation: see :class:`PartUnits`.
    """

    def __init__(
        self,
        in_features: int,
        dim: int,
        contrast: Contrast = "rest_mean",
        gamma_init: GammaInit = "ones",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.contrast = contrast
        # Parts of these two units: 0 projects p_max, 1 projects p_cont.
        self.project = PartUnits(2, in_features, dim, gamma_init, activation)
        # R_g
        self.residual = SingleUnit(2 * dim, dim, gamma_init, activation)

    def forward(self, parts: Tensor) -> GlobalOutput:
        """(B, P, C) pooled stripes, max-pooled in the paper -> (B, c) global contrastive feature."""
        pooled = torch.stack(contrastive_feature(parts, self.contrast), dim=1)
        p_max, p_cont = self.project(pooled).unbind(dim=1)
        t = torch.cat((p_max, p_cont), dim=1)
        q0 = p_max + self.residual(t)
        return GlobalOutput(q0=q0, p_max=p_max, p_cont=p_cont)
