"""Layers of several modules as one product: the part units and the classifiers of all scales.

The modules keep their parameters and names. For a training step their weights are laid side by side, which costs
a copy; in return a device is handed a few large products instead of many small ones. On a CPU the copy costs more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from crosscam.models.parts import PartLinear, PartUnits


def grouped_linear(layers: Sequence[PartLinear], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Several :class:`PartLinear` of the same sizes at once.

    Args:
        layers: with the same numbers of features.
        inputs: (B, P_k, in_features) for each of them.
    Returns:
        (B, P_k, out_features) for each of them.
    """
    return list(torch.split(_product(layers, inputs), [len(layer.weight) for layer in layers], dim=1))


def _product(layers: Sequence[PartLinear], inputs: Sequence[Tensor]) -> Tensor:
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return torch.baddbmm(bias.unsqueeze(1), torch.cat(list(inputs), dim=1).transpose(0, 1), weight).transpose(0, 1)


def grouped_units(units: Sequence[PartUnits], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Several :class:`PartUnits` in training mode at once; their running statistics move as if each were called.

    Args:
        units: with the same numbers of features, see :func:`can_be_grouped`.
        inputs: (B, P_k, in_features) for each of them.
    Returns:
        (B, P_k, out_features) for each of them, not negative.
    """
    y = _product([unit.linear for unit in units], inputs)
    normed = torch.relu(_norm([unit.norm for unit in units], y.flatten(1))).view_as(y)
    return list(torch.split(normed, [len(unit.linear.weight) for unit in units], dim=1))


def _norm(norms: Sequence[nn.BatchNorm1d], x: Tensor) -> Tensor:
    """Each channel is normalised by itself, so norms side by side are one norm."""
    means, variances, counts = zip(*(_statistics(norm) for norm in norms), strict=True)
    mean, variance = torch.cat(means), torch.cat(variances)
    weight, bias = (torch.cat([getattr(norm, name) for norm in norms]) for name in ("weight", "bias"))
    y = batch_norm(x, mean, variance, weight, bias, training=True, momentum=norms[0].momentum or 0, eps=norms[0].eps)
    sizes = [norm.num_features for norm in norms]
    with torch.no_grad():
        torch._foreach_copy_([*means, *variances], [*torch.split(mean, sizes), *torch.split(variance, sizes)])
        torch._foreach_add_(list(counts), 1)
    return y


def _statistics(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None
    assert variance is not None
    assert count is not None
    return mean, variance, count


def can_be_grouped(units: Sequence[PartUnits]) -> bool:
    """Whether the units' norms are plain and in training mode: those of several processes, for example, are not."""
    norms = [unit.norm for unit in units]
    return all(
        type(norm) is nn.BatchNorm1d
        and norm.training
        and norm.running_mean is not None
        and norm.momentum is not None
        and (norm.momentum, norm.eps) == (norms[0].momentum, norms[0].eps)
        for norm in norms
    )
