"""What every model gives, how its descriptor is laid out, and the descriptors of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


@dataclass(frozen=True)
class ReidOutput:
    """The result of ``model(images)``, in training and evaluation alike.

    Attributes:
        embeddings: (B, D_k) for each block of the descriptor, in the order of ``model.layout``.
        logits: (B, K) for each classifier; empty for a model without classifiers.
        extras: what only a loss needs and the descriptor does not hold, by a name that the model's docstring gives.
        centers: (K, C) of the classes, which center loss moves in place; None for a model without.
    """

    embeddings: tuple[Tensor, ...]
    logits: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    centers: Tensor | None = None

    def first(self, count: int) -> ReidOutput:
        """The output for the first images of the batch."""
        return ReidOutput(
            tuple(e[:count] for e in self.embeddings),
            tuple(x[:count] for x in self.logits),
            {name: x[:count] for name, x in self.extras.items()},
            self.centers,
        )

    @property
    def descriptor(self) -> Tensor:
        """(B, D) embeddings side by side; not normalized."""
        return torch.cat(self.embeddings, dim=1)


@dataclass(frozen=True)
class Block:
    """One named stretch of the descriptor.

    Attributes:
        name: for example ``"p6.local3"`` (third of six stripes, counted from the top) or ``"p6.global"``.
        start, stop: its slice of the descriptor.
        num_parts: the scale it belongs to (6 for six stripes); 1 for a plain global feature.
        kind: whether it stands for one stripe or for the whole image.
        rows: top and bottom edge of what it saw, as fractions of the image height.
    """

    name: str
    start: int
    stop: int
    num_parts: int
    kind: Literal["local", "global"]
    rows: tuple[float, float]

    @property
    def dim(self) -> int:
        """Length of the block."""
        return self.stop - self.start


Layout = tuple[Block, ...]


def describe(model: nn.Module, images: Tensor, *, flip: bool = True, unit: bool = True) -> Tensor:
    """(B, D) float32 descriptors of a batch: the mean over the image and its mirror image, then L2-normalized.

    Source: ``differences.md`` row 23.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) normalized images.
        flip, unit: whether the mirror image counts, and whether they are scaled to length 1.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    descriptor: Tensor = model(images).descriptor
    if flip:
        descriptor = (descriptor + model(images.flip(3)).descriptor) / 2
    return normalize(descriptor.float(), dim=1) if unit else descriptor.float()
