"""A shorter descriptor whose blocks keep their names: each block has a projection of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crosscam.models.parts import PartLinear

# Directions of less than this share of a block's mean variance are not blown up further.
VARIANCE_FLOOR = 0.02


class BlockProjection(nn.Module):
    """Blocks of c numbers -> blocks of fewer, along the strongest directions over the images it was fitted to.

    The descriptor is scaled to length 1 first. Whitened blocks are uncorrelated and of equal variance; others are
    turned and cut alone: distances stay what they were, as nearly as so many numbers can keep them. No gradient reaches
    these weights: :meth:`fit` finds them, from the descriptors of training images. Until then they take the first
    numbers of each block.
    Source: PCA whitening of descriptors (Jégou & Chum, ECCV 2012), block by block; without whitening the truncated
    singular value decomposition (Eckart & Young 1936).

    Args:
        num_blocks: L.
        in_features: c.
        out_features: length of each block afterwards, at most c.
    """

    def __init__(self, num_blocks: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = PartLinear(num_blocks, in_features, out_features)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(in_features, out_features).expand_as(self.linear.weight))
            self.linear.bias.zero_()
        self.requires_grad_(False)

    def forward(self, embeddings: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """L embeddings (B, c) -> L embeddings (B, out_features)."""
        whole = torch.cat(embeddings, dim=1)
        # A constant for whoever asks what grows with a place of the map: all that grows together would else cancel out.
        whole = whole / torch.linalg.vector_norm(whole, dim=1, keepdim=True).clamp(min=1e-12).detach()
        # Numbers of the weights, not of the images: an exported graph must take batches of any length.
        projected: Tensor = self.linear(whole.unflatten(1, self.linear.weight.shape[:2]))
        return projected.unbind(dim=1)

    @torch.no_grad()
    def fit(self, descriptors: Tensor, *, whiten: bool = True) -> None:
        """Find each block's strongest directions over these images.

        Args:
            descriptors: (N, L c), of length 1, as the network gives them before this projection; N >= 2.
            whiten: whether the mean is taken out and all directions are made equally long.
        """
        blocks = descriptors.double().view(len(descriptors), *self.linear.weight.shape[:2]).transpose(0, 1)
        mean = blocks.mean(dim=1, keepdim=True) * whiten
        centred = blocks - mean
        variances, directions = torch.linalg.eigh(centred.transpose(1, 2) @ centred / (len(descriptors) - 1))
        # The sign of a direction is nobody's; its largest entry is made positive, so that every machine finds the same.
        directions *= directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
        kept = self.linear.weight.shape[2]
        floor = VARIANCE_FLOOR * variances.mean(dim=1, keepdim=True)
        # Strongest first; eigh sorts the other way.
        scales = (variances.clamp(min=0) + floor)[:, -kept:].flip(1).rsqrt()
        weight = directions[:, :, -kept:].flip(2)
        if whiten:
            weight = weight * scales.unsqueeze(1)
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(-(mean @ weight).squeeze(1))
