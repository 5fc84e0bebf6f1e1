"""The nearest neighbours of every descriptor, by brute force in blocks."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest(distances: Tensor, count: int) -> Tensor:
    """The nearest images of each row, nearest first; equal distances in the order of their index.

    Args:
        distances: (B, N) float32, not negative.
        count: K neighbours, at most N.
    Returns:
        (B, K) int64 on the device of ``distances``.
    """
    num_images = distances.shape[1]
    # One more than asked for: it tells whether a tie was cut.
    values, indices = distances.topk(min(count + 1, num_images), dim=1, largest=False)
    if count < num_images:
        cut = values[:, count] == values[:, count - 1]
        values, indices = values[:, :count], indices[:, :count]
        if cut.any():
            indices[cut] = _nearest_by_key(distances[cut], count)
            values = distances.gather(1, indices)
    indices, order = indices.sort(dim=1)
    by_value = values.gather(1, order).sort(dim=1, stable=True).indices
    return indices.gather(1, by_value)


def _nearest_by_key(distances: Tensor, count: int) -> Tensor:
    """As :func:`nearest`, in any order; slower, but exact where ties cross the cut."""
    # The bits of floats that are not negative are in the order of the floats; adding 0 makes -0 a plain 0.
    bits = (distances + 0.0).view(torch.int32).to(torch.int64)
    keys = (bits << 32) + torch.arange(distances.shape[1], device=distances.device)
    return keys.topk(count, dim=1, largest=False).indices
