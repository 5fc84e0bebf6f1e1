"""HA-CNN: a small network of its own that learns, at three levels, where to look.

Source: Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018. At each level soft
attention weighs every place and channel of the global branch, and hard attention places four regions, which the local
branch follows. Where the paper is silent the well-known implementation decides (``hacnn`` of the torchreid toolkit):
the Inception units, the first places of the regions, and descriptors whose two halves have length 1 each. Unlike there,
the regions are sampled from the map in one step and normalized in one batch, and convolutions before a batch
normalization have no bias, which would do nothing.
The loss is :func:`crosscam.losses.classification_loss`: cross-entropy of both branches.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, normalize

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import conv_unit
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import PartUnits, part_classifiers

# Channels of the first convolution, and what channel attention divides the channels by.
STEM = 32
REDUCTION = 16


class HACNN(nn.Module):
    """Global and local branch of three levels. ``model(images)`` gives a :class:`ReidOutput`.

    2.92 M parameters without classifiers; the paper counts 2.7 M and does not list them.

    Args:
        channels: of each level; multiples of 16.
        num_regions: T, hard regions of each level; at first strips of 1/T of the height.
        region: height and width to which the first level's regions are brought; the later ones follow by halves.
        dim: length of each branch's feature.

    Attributes:
        layout: blocks ``"global"`` and ``"regions"``. Regions may lie anywhere, so both stand for the whole image.

    Raises:
        ValueError: channels that are not multiples of 16, or no region.
    """

    def __init__(
        self,
        num_ids: int,
        *,
        channels: tuple[int, ...] = (128, 256, 384),
        num_regions: int = 4,
        region: tuple[int, int] = (24, 28),
        dim: int = 512,
    ) -> None:
        super().__init__()
        if not channels or any(c < REDUCTION or c % REDUCTION for c in channels) or num_regions < 1:
            raise ArgumentError(
                f"channels={channels} and num_regions={num_regions}: "
                f"expected multiples of {REDUCTION} and at least 1 region."
            )
        self.region = region
        self.stem = conv_unit(3, STEM, 3, stride=2)
        sizes = pairwise((STEM, *channels))
        self.levels = nn.ModuleList(HarmoniousLevel(before, after, num_regions) for before, after in sizes)
        self.global_unit = PartUnits(1, channels[-1], dim)
        self.local_unit = PartUnits(1, num_regions * channels[-1], dim)
        self.branch_classifiers = part_classifiers(2, dim, num_ids) if num_ids else None
        self.layout = (
            Block("global", 0, dim, 1, "global", (0.0, 1.0)),
            Block("regions", dim, 2 * dim, num_regions, "global", (0.0, 1.0)),
        )

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images; the paper's are 160 x 64 -> embeddings of length 1, and logits."""
        x = self.stem(images)
        regions: Tensor | None = None
        for level in self.levels:
            x, regions = level(x, regions, self.region)
        assert regions is not None
        whole = self.global_unit(pool_map(x, "gap").unsqueeze(1))
        local = self.local_unit(regions.mean(dim=(3, 4)).flatten(1).unsqueeze(1))
        both = torch.cat((whole, local), dim=1)
        logits = () if self.branch_classifiers is None else self.branch_classifiers(both).unbind(dim=1)
        return ReidOutput(normalize(both, dim=2).unbind(dim=1), logits)


class HarmoniousLevel(nn.Module):
    """One level: Inception units, soft attention on their map, and regions of the map before them.

    Source: Li et al. 2018, Fig. 2 and section 3.1. The regions share one Inception unit; the level before adds to them
    what it found in its own regions.
    """

    def __init__(self, in_channels: int, out_channels: int, num_regions: int) -> None:
        super().__init__()
        self.inception = nn.Sequential(InceptionA(in_channels, out_channels), InceptionB(out_channels, out_channels))
        self.soft = SoftAttention(out_channels)
        self.hard = HardAttention(out_channels, num_regions)
        self.local = InceptionB(in_channels, out_channels)

    def forward(self, x: Tensor, regions: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) map -> (B, C', H/2, W/2) attended map and (B, T, C', h/2, w/2) regions.

        ``regions`` are the (B, T, C, h, w) of the level before, None at the first, which takes h and w from ``size``.
        """
        y = self.inception(x)
        size = size if regions is None else (regions.shape[3], regions.shape[4])
        seen = crop_regions(x, self.hard(y), size)
        seen = seen if regions is None else seen + regions
        found: Tensor = self.local(seen.flatten(0, 1))
        return y * self.soft(y), found.view(*seen.shape[:2], *found.shape[1:])


class SoftAttention(nn.Module):
    """Weight of each place and channel, from 1/2 to 1: a spatial and a channel factor, mixed by a 1x1 convolution.

    Source: Li et al. 2018, section 3.1 (I). The spatial factor has one channel: mean over the channels, 3x3 convolution
    of stride 2, back to the old size, 1x1 convolution. The channel factor is squeeze-and-excitation. The rectifiers
    within bring the sigmoid's range to [1/2, 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shrink = conv_unit(1, 1, 3, stride=2)
        self.scale = conv_unit(1, 1, 1)
        self.excite = nn.Sequential(
            conv_unit(channels, channels // REDUCTION, 1), conv_unit(channels // REDUCTION, channels, 1)
        )
        self.mix = conv_unit(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W) weights."""
        shrunk = self.shrink(x.mean(dim=1, keepdim=True))
        resized = interpolate(shrunk, size=x.shape[2:], mode="bilinear", align_corners=True)
        channel = self.excite(x.mean(dim=(2, 3), keepdim=True))
        return torch.sigmoid(self.mix(self.scale(resized) * channel))


class HardAttention(nn.Module):
    """Where the regions lie: a linear layer on the average of the map, and tanh.

    Source: Li et al. 2018, section 3.1 (II). Height and width of the regions are fixed. The layer starts with no weight
    and biases at the middles of T strips, top to bottom, which tanh draws a little together.
    """

    def __init__(self, channels: int, num_regions: int) -> None:
        super().__init__()
        self.place = nn.Linear(channels, 2 * num_regions)
        nn.init.zeros_(self.place.weight)
        with torch.no_grad():
            middles = (2 * torch.arange(num_regions) + 1) / num_regions - 1
            self.place.bias.copy_(torch.stack((torch.zeros(num_regions), middles), dim=1).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, T, 2) centers (x, y); -1 is the left or upper edge of the map, 1 the right or lower."""
        with full_precision(x):
            centers = torch.tanh(self.place(x.mean(dim=(2, 3)).to(self.place.weight.dtype)))
        return centers.reshape(-1, self.place.out_features // 2, 2)


def crop_regions(feature_map: Tensor, centers: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) map and (B, T, 2) centers -> (B, T, C, h, w) regions by bilinear sampling, float32 at least.

    Gradients reach the centers. Source: Li et al. 2018, section 3.1 (II). Each of T regions has the whole width and 1/T
    of the height; outside the map is zero.
    """
    # Numbers, not parts of a traced graph: the number of images alone is left open.
    t, c = int(centers.shape[1]), int(feature_map.shape[1])
    h, w = size
    with full_precision(feature_map):
        # Broadcasting in place of affine_grid, which a traced graph keeps for one number of images.
        columns = _places(w, centers)
        rows = _places(h, centers) * (1.0 / t)
        offsets = torch.stack((columns.expand(h, w), rows.unsqueeze(1).expand(h, w)), dim=2)
        # The regions of an image are sampled as one tall image.
        grid = (centers[:, :, None, None] + offsets).reshape(-1, t * h, w, 2)
        tall = grid_sample(feature_map.to(grid.dtype), grid, align_corners=False)
    return tall.reshape(-1, c, t, h, w).transpose(1, 2)


def _places(count: int, like: Tensor) -> Tensor:
    """(count,) middles of equal cells between -1 and 1."""
    return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device) * ((count - 1) / count)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast, where the device has it: half precision has too few digits for a place."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class InceptionA(nn.Module):
    """Four streams side by side, size kept: three of 1x1 and 3x3 convolutions, one of average pooling and 1x1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        mid = out_channels // 4
        self.streams = nn.ModuleList(
            nn.Sequential(conv_unit(in_channels, mid, 1), conv_unit(mid, mid, 3)) for _ in range(3)
        )
        self.streams.append(nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_unit(in_channels, mid, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        return torch.cat([stream(x) for stream in self.streams], dim=1)


class InceptionB(nn.Module):
    """Three streams side by side, size halved: 1x1 and one or two 3x3 convolutions, and maximum pooling with 1x1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        mid = out_channels // 4
        self.streams = nn.ModuleList(
            (
                nn.Sequential(conv_unit(in_channels, mid, 1), conv_unit(mid, mid, 3, stride=2)),
                nn.Sequential(conv_unit(in_channels, mid, 1), conv_unit(mid, mid, 3), conv_unit(mid, mid, 3, stride=2)),
                nn.Sequential(nn.MaxPool2d(3, 2, 1), conv_unit(in_channels, 2 * mid, 1)),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2), halves rounded up."""
        return torch.cat([stream(x) for stream in self.streams], dim=1)


@dataclass(frozen=True)
class HACNNModel:
    """What builds :class:`HACNN`; see there. It has no ResNet and starts from random weights, as in its paper."""

    system: Literal["hacnn"] = "hacnn"
    channels: tuple[int, ...] = (128, 256, 384)
    num_regions: int = 4
    region: tuple[int, int] = (24, 28)
    dim: int = 512

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) images that are too small."""
        if min(height, width) < 16:
            raise ArgumentError(f"Images of {height} x {width} are too small for HA-CNN. Take at least 16 x 16.")

    def build(self, num_ids: int, *, pretrained: bool = True) -> HACNN:
        del pretrained  # There are no ImageNet weights for it.
        return HACNN(num_ids, channels=self.channels, num_regions=self.num_regions, region=self.region, dim=self.dim)
