"""Horizontal stripes: pooling, one projection per part, one classifier per part.

The paper's 1x1 convolutions act on 1x1 maps, so they are linear layers. The P layers of the P parts do not share
weights; they are held in one tensor and applied in one batched matrix product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from crosscam.errors import ArgumentError
from crosscam.models.backbones.build import build_backbone, check_backbone
from crosscam.models.backbones.feature_map import STRIDE, Backbone

LocalPooling = Literal["max", "avg"]
GammaInit = Literal["ones", "uniform"]
Activation = Literal["relu", "none"]


def pool_stripes(feature_map: Tensor, num_parts: int, pooling: LocalPooling = "max") -> Tensor:
    """Pool each horizontal stripe of a feature map to one vector.

    Source: Park & Ham, AAAI 2020, "Part-level features".

    Args:
        feature_map: (B, C, H, W), H divisible by ``num_parts``.
        num_parts: P, number of stripes of equal height.
        pooling: ``"max"`` (the paper's GMP) or ``"avg"``.
    Returns:
        (B, P, C), top to bottom.
    Raises:
        ValueError: the stripes do not tile the map.
    """
    # Numbers also while a graph is traced, which must know the windows of its pooling layers.
    h, w = int(feature_map.shape[2]), int(feature_map.shape[3])
    if h % num_parts:
        raise ArgumentError(
            f"A feature map of {h} rows cannot be cut into {num_parts} equal stripes. "
            f"Take an image height divisible by 16 x {num_parts}."
        )
    # Pooling layers, not reductions over the same places: those go through a channels_last map many times slower.
    pool = max_pool2d if pooling == "max" else avg_pool2d
    return pool(feature_map, (h // num_parts, w)).flatten(2).transpose(1, 2)


def merge_stripes(stripes: Tensor, num_parts: int, pooling: LocalPooling = "max") -> Tensor:
    """(B, F, C) stripes as :func:`pool_stripes` gave them -> (B, P, C) of a coarser scale, as if pooled from the map.

    F is a multiple of ``num_parts``; ``pooling`` is as the stripes were pooled.
    """
    b, fine, c = stripes.shape
    if fine == num_parts:
        return stripes
    groups = stripes.reshape(b, num_parts, fine // num_parts, c)
    # max(dim), not amax: on ties only one place receives the gradient, as in max pooling.
    return groups.max(dim=2).values if pooling == "max" else groups.mean(dim=2)


def check_stripes(height: int, width: int, num_parts: int, last_stride: int, setting: str) -> None:
    """Refuse (ValueError) images, in pixels, whose map cannot be cut into P stripes; ``setting`` could be changed."""
    if num_parts < 1:
        raise ArgumentError(f"{setting}={num_parts}: expected at least 1 stripe.")
    stride = STRIDE * last_stride
    if height <= 0 or height % (stride * num_parts):
        raise ArgumentError(
            f"An image height of {height} cannot be cut into {num_parts} stripes at 1/{stride} of its size. "
            f"Take a multiple of {stride * num_parts}, or change {setting}."
        )
    if width <= 0 or width % stride:
        raise ArgumentError(f"An image width of {width} is not a multiple of {stride}. Take one.")


class PartLinear(nn.Module):
    """P linear layers, one per part, that share nothing.

    ``std`` is that of normal weights with zero bias; None for PyTorch's default, uniform within 1 / sqrt(in_features)
    for weights and biases.
    """

    def __init__(self, num_parts: int, in_features: int, out_features: int, std: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_parts, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(num_parts, out_features))
        if std is None:
            bound = 1 / math.sqrt(in_features)
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)
        else:
            nn.init.normal_(self.weight, std=std)
            nn.init.zeros_(self.bias)

    def forward(self, parts: Tensor) -> Tensor:
        """(B, P, in_features) -> (B, P, out_features)."""
        out = torch.baddbmm(self.bias.unsqueeze(1), parts.transpose(0, 1), self.weight)
        return out.transpose(0, 1)


class PartUnits(nn.Module):
    """P units of linear layer, batch normalization and ReLU, one per part; nothing is shared.

    Source: Park & Ham, AAAI 2020, text above eq. (1); ``differences.md`` rows 1 to 3.

    Args:
        in_features, out_features: C and c.
        gamma_init: initial scale of the batch normalization: ``"ones"``, or ``"uniform"`` in (0, 1) as PyTorch did
            until version 1.1.
        activation: ``"none"`` leaves the ReLU out; then the output can be negative.
    """

    def __init__(
        self,
        num_parts: int,
        in_features: int,
        out_features: int,
        gamma_init: GammaInit = "ones",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.activation = activation
        self.linear = PartLinear(num_parts, in_features, out_features)
        self.norm = nn.BatchNorm1d(num_parts * out_features)
        if gamma_init == "uniform":
            nn.init.uniform_(self.norm.weight)

    def forward(self, parts: Tensor) -> Tensor:
        """(B, P, in_features) -> (B, P, out_features), not negative after a ReLU."""
        y = self.linear(parts)
        normed: Tensor = self.norm(y.flatten(1)).view_as(y)
        return torch.relu(normed) if self.activation == "relu" else normed


class SingleUnit(PartUnits):
    """One such unit: (B, in_features) -> (B, out_features)."""

    def __init__(
        self, in_features: int, out_features: int, gamma_init: GammaInit = "ones", activation: Activation = "relu"
    ) -> None:
        super().__init__(1, in_features, out_features, gamma_init, activation)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.unsqueeze(1)).squeeze(1)


def part_classifiers(num_parts: int, in_features: int, num_ids: int) -> PartLinear:
    """P classifiers, one per part: (B, P, c) -> (B, P, K) logits; normal weights of std 0.001, zero bias."""
    return PartLinear(num_parts, in_features, num_ids, std=0.001)


def feature_classifiers(count: int, in_features: int, num_ids: int, *, bias: bool = False) -> nn.ModuleList:
    """Classifiers (B, C) -> (B, K) that start near zero (normal weights of std 0.001, zero bias); none for K = 0."""
    classifiers = [nn.Linear(in_features, num_ids, bias=bias) for _ in range(count if num_ids else 0)]
    for classifier in classifiers:
        nn.init.normal_(classifier.weight, std=0.001)
        if bias:
            nn.init.zeros_(classifier.bias)
    return nn.ModuleList(classifiers)


@dataclass(frozen=True)
class OnBackbone:
    """Settings of a system on one backbone whose map is cut into stripes; a system adds its own.

    Attributes:
        cut_by: the setting that tells the numbers of stripes; ``last_stride`` for a map that is not cut.
        system: the system's name.
        backbone, last_stride: see :func:`crosscam.models.backbones.build.build_backbone`.
        pretrained: a file of ImageNet weights in torchvision's layout, ``"download"``, or None for random weights.
    """

    cut_by: ClassVar[str] = "last_stride"
    system: str = ""
    backbone: str = "resnet50"
    last_stride: int = 1
    pretrained: str | None = None

    def check(self, height: int, width: int) -> None:
        """Refuse (ValueError) settings that do not go with images of this size; the message names one to change."""
        check_backbone(self.backbone, self.last_stride)
        cut = 1 if self.cut_by == "last_stride" else getattr(self, self.cut_by)
        for num_parts in cut if isinstance(cut, tuple) else (cut,):
            check_stripes(height, width, num_parts, self.last_stride, f"model.{self.cut_by}")

    def own_backbone(self, pretrained: bool) -> Backbone:
        """The backbone, with the ImageNet weights of the settings if they are wanted."""
        return build_backbone(self.backbone, self.last_stride, self.pretrained if pretrained else None)
