"""Weights and images for a small vision transformer, the same wherever they are drawn.

Run as a script with timm (1.0.20) installed, it writes ``vit_timm.npz``: what timm's VisionTransformer gives for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DIM, DEPTH, HEADS = 8, 2, 2
FILE = Path(__file__).with_name("vit_timm.npz")


def fill(state: Mapping[str, Tensor]) -> None:
    """Draw all tensors of a state in place, in the order of their names."""
    random = np.random.RandomState(0)
    for name in sorted(state):
        shape = tuple(state[name].shape)
        state[name].copy_(torch.from_numpy(random.standard_normal(shape) * 0.2 + ("norm" in name and "weight" in name)))


def images() -> Tensor:
    """(2, 3, 224, 224) float32."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal((2, 3, 224, 224))).float()


def main() -> None:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=0).eval()
    with torch.no_grad():
        fill(model.state_dict())
        tokens = model.forward_features(images())
    np.savez_compressed(FILE, tokens=tokens.numpy())


if __name__ == "__main__":
    main()
