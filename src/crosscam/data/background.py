"""Who stands in an image and what is behind: a soft mask, and images before the background of others.

A crop of a person has the person in its middle. So colors that are frequent there and rare at the edges belong to the
person; a first guess by place and a color count of each side, repeated a few times, find the outline well enough to
cut it out. It is the idea of GrabCut (Rother et al., SIGGRAPH 2004) with histograms for mixtures and a blur for the
graph, so that a whole batch takes milliseconds. Nothing is learned.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate

# Half of the usual outline's width, as a share of half of the image's, from the top (0) to the bottom (1).
OUTLINE_ROWS = (0.0, 0.02, 0.05, 0.13, 0.18, 0.3, 0.5, 0.6, 0.9, 0.98, 1.0)
OUTLINE_HALF = (0.1, 0.15, 0.25, 0.27, 0.5, 0.62, 0.62, 0.58, 0.5, 0.48, 0.4)
OUTLINE_STEEPNESS = 4.0
# Chances of a person by place alone are never nearer to certainty than this.
PLACE_RANGE = (0.03, 0.95)
# Levels of each color channel, and how much a color's neighbors count beside itself.
LEVELS = 9
NEIGHBORS = 1.5
RARE = 2e-3
COLOR_WEIGHT = 0.9
SHARPNESS = 2.0
ROUNDS = 3
# Rows over which a background is averaged where its own person stood.
FILL_ROWS = 9


def person_mask(images: Tensor) -> Tensor:
    """How likely each pixel shows the person in the middle of its image.

    Args:
        images: (B, 3, H, W) RGB, 0 to 255, of any type.
    Returns:
        (B, 1, H, W) float32, 0 to 1, soft at the outline; found at half the size.
    """
    height, width = images.shape[2:]
    small = avg_pool2d(images.float(), 2, ceil_mode=True)
    b, _, rows, columns = small.shape
    place = _usual_outline(rows, columns).to(images.device).view(1, -1)
    level = (small.clamp(0, 255) * (LEVELS / 256)).long()
    color = ((level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]).flatten(1)
    inside = (2 * place - 1).clamp(0, 1).expand(b, -1)
    outside = (1 - 2 * place).clamp(0, 1).expand(b, -1)
    for _ in range(ROUNDS):
        evidence = (_frequencies(color, inside) / _frequencies(color, outside)).log().gather(1, color)
        score = (place.logit() + COLOR_WEIGHT * evidence).view(b, 1, rows, columns)
        mask = (SHARPNESS * avg_pool2d(score, 5, 1, 2, count_include_pad=False)).sigmoid()
        inside = mask.flatten(1)
        outside = 1 - inside
    return interpolate(mask, (height, width), mode="bilinear", align_corners=False)


def change_backgrounds(images: Tensor, others: Tensor) -> Tensor:
    """The people of some images before the backgrounds of others.

    Where the other image shows its own person, the mean of its background in those rows stands in.

    Args:
        images: (B, 3, H, W) RGB, 0 to 255.
        others: (B, 3, H, W), whose backgrounds are taken.
    Returns:
        (B, 3, H, W) float32.
    """
    images, others = images.float(), others.float()
    mask, hidden = person_mask(images), person_mask(others)
    seen = 1 - hidden
    columns = (x.sum(3, keepdim=True) for x in (others * seen, seen))
    total, weight = (avg_pool2d(x, (FILL_ROWS, 1), 1, (FILL_ROWS // 2, 0)) for x in columns)
    background = hidden * (total / (weight + 1e-3)) + seen * others
    return mask * images + (1 - mask) * background


def _frequencies(color: Tensor, weight: Tensor) -> Tensor:
    """(B, LEVELS^3): the share of each color, a little spread to its neighbors and never 0."""
    counts = torch.zeros(len(color), LEVELS**3, device=color.device).scatter_add_(1, color, weight)
    cube = counts.view(-1, 1, LEVELS, LEVELS, LEVELS)
    spread = (cube + NEIGHBORS * avg_pool3d(cube, 3, 1, 1)).flatten(1)
    return spread / spread.sum(1, keepdim=True).clamp(min=1e-6) + RARE


@lru_cache(maxsize=8)
def _usual_outline(rows: int, columns: int) -> Tensor:
    """(rows, columns): how likely a place shows the person, before any color is seen."""
    half = np.interp(np.linspace(0, 1, rows), OUTLINE_ROWS, OUTLINE_HALF)
    away = np.abs(np.linspace(-1, 1, columns)) / half[:, None]
    likely = 1 / (1 + np.exp(OUTLINE_STEEPNESS * (away - 1)))
    return torch.from_numpy(likely.clip(*PLACE_RANGE).astype(np.float32))
