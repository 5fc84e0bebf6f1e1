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
        whiten: whether :meth:`fit` takes the mean out and makes all directions equally long.
    """

    def __init__(self, num_blocks: int, in_features: int, out_features: int, *, whiten: bool = True) -> None:
        super().__init__()
        self.whiten = whiten
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
    def fit(self, descriptors: Tensor) -> None:
        """Find each block's strongest directions over these images.

        Args:
            descriptors: (N, L c), of length 1, as the network gives them before this projection; N >= 2.
        """
        blocks = descriptors.double().view(len(descriptors), *self.linear.weight.shape[:2]).transpose(0, 1)
        mean = blocks.mean(dim=1, keepdim=True) * self.whiten
        centred = blocks - mean
        variances, directions = torch.linalg.eigh(centred.transpose(1, 2) @ centred / (len(descriptors) - 1))
        # The sign of a direction is nobody's; its largest entry is made positive, so that every machine finds the same.
        directions *= directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
        if self.whiten:
            floor = VARIANCE_FLOOR * variances.mean(dim=1, keepdim=True)
            directions *= (variances.clamp(min=0) + floor).rsqrt().unsqueeze(1)
        # Strongest first; eigh sorts the other way.
        weight = directions[:, :, -self.linear.weight.shape[2] :].flip(2)
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(-(mean @ weight).squeeze(1))
