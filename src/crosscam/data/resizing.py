"""One resize for single images and for batches, Pillow's bilinear filter, antialiased when shrinking; normalization.

On the CPU torch computes it on bytes, in whole numbers and with Pillow's rounding after each direction: the same pixels
as Pillow's for the usual enlargements (Market-1501's 128 x 64 to 384 x 128), and elsewhere within one level. Other
devices compute Pillow's own sums. Rows come first, then columns; Pillow itself may begin with the columns since version
13, where that is less work, which is another level at some places.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

# Pillow's bilinear and bicubic filters, antialiased when shrinking; and OpenCV's bilinear one, which is not.
Resize = Literal["bilinear", "bicubic", "opencv"]
RESIZES: tuple[Resize, ...] = get_args(Resize)
# Pillow keeps weights as whole numbers of this many binary places.
_PLACES = 22
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Numbers that stay in a core's cache while they are normalized.
_IN_CACHE = 2**18


def resize_bytes(images: Tensor, height: int, width: int, kind: Resize = "bilinear") -> Tensor:
    """Resize a batch of whole levels to whole levels.

    Args:
        images: (B, H, W, 3) uint8, on any device.
        height, width: in pixels.
        kind: crosscam's own networks take ``"bilinear"``; the others are for networks from elsewhere.
    Returns:
        (B, height, width, 3) uint8, contiguous; the same tensor if it has that size.
    """
    if tuple(images.shape[1:3]) == (height, width):
        return images
    planes = images.permute(0, 3, 1, 2)
    if kind == "opencv":
        planes = _levels(interpolate(planes.float(), (height, width), mode="bilinear")).to(torch.uint8)
    elif images.device.type == "cpu":
        planes = interpolate(planes, (height, width), mode=kind, antialias=True)
    elif kind == "bicubic":
        planes = _levels(interpolate(planes.float(), (height, width), mode=kind, antialias=True)).to(torch.uint8)
    else:
        planes = resize_by_products(planes, height, width)
    return planes.permute(0, 2, 3, 1).contiguous()


def resize_by_products(planes: Tensor, height: int, width: int) -> Tensor:
    """Pillow's sums as two matrix products, for devices on which torch does not resize bytes.

    float64 holds the sums of Pillow's whole numbers exactly; a device without it rounds ties by chance.

    Args:
        planes: (B, 3, H, W) uint8.
        height, width: in pixels.
    Returns:
        (B, 3, height, width) uint8.
    """
    kind = torch.float32 if planes.device.type == "mps" else torch.float64
    across = torch.from_numpy(_weights(planes.shape[3], width)).to(planes.device, kind)
    down = torch.from_numpy(_weights(planes.shape[2], height)).to(planes.device, kind)
    rows = _levels(planes.to(kind) @ across.T)
    return _levels(down @ rows).to(torch.uint8)


def _levels(sums: Tensor) -> Tensor:
    return sums.add_(0.5).floor_().clamp_(0, 255)


@lru_cache(maxsize=256)
def _weights(size: int, wanted: int) -> NDArray[np.float64]:
    """(wanted, size): how much each old pixel counts for each new one; rows sum to about 1."""
    scale = size / wanted
    support = max(scale, 1.0)
    center = (np.arange(wanted)[:, None] + 0.5) * scale
    place = np.arange(size)[None]
    first = np.maximum(np.trunc(center - support + 0.5), 0)
    last = np.minimum(np.trunc(center + support + 0.5), size)
    triangle = np.maximum(1 - np.abs(place - center + 0.5) / support, 0)
    triangle[(place < first) | (place >= last)] = 0
    share = triangle / triangle.sum(axis=1, keepdims=True)
    whole: NDArray[np.float64] = np.floor(share * 2.0**_PLACES + 0.5)
    return whole / 2.0**_PLACES


def normalize(images: Tensor) -> Tensor:
    """(B, 3, H, W), 0 to 255 -> the same shape in float, ImageNet mean and standard deviation taken out."""
    kind = images.dtype if images.is_floating_point() else torch.float32
    mean = torch.tensor(IMAGENET_MEAN, dtype=kind, device=images.device).mul_(255)
    # Products cost a fraction of what quotients cost, and differ from them in the last bit at most.
    scale = torch.tensor(IMAGENET_STD, dtype=kind, device=images.device).mul_(255).reciprocal_()
    pixels = images.permute(0, 2, 3, 1)
    if images.device.type == "cpu" and pixels.is_contiguous() and not images.requires_grad:
        return _normalize_rows(pixels.flatten(2), mean, scale).view(pixels.shape).permute(0, 3, 1, 2)
    return (images - mean.view(3, 1, 1)) * scale.view(3, 1, 1)


def _normalize_rows(rows: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(B, H, 3 W) -> the same numbers as by the formula, a few images at a time.

    Rows of three times W numbers instead of W times three keep the processor's vector units full.
    """
    width = rows.shape[2] // 3
    mean, scale = mean.repeat(width), scale.repeat(width)
    out = torch.empty(rows.shape, dtype=mean.dtype)
    step = max(1, _IN_CACHE // max(1, rows[0].numel())) if len(rows) else 1
    for start in range(0, len(rows), step):
        out[start : start + step].copy_(rows[start : start + step]).sub_(mean).mul_(scale)
    return out


def prepare(images: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, height, width) float32 as a model takes it, without any chance."""
    return normalize(resize_bytes(images, height, width).permute(0, 3, 1, 2))
