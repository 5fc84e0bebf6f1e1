"""Vision transformers: from images to a map of patch tokens, with timm's parameter names (also DeiT's, DINO's, MAE's).

Sources: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; the convolutional stem (ICS): Luo et al.,
"Self-supervised pre-training for transformer-based person re-identification", arXiv 2111.12084, section 3.3; CLIP:
Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from crosscam.errors import ArgumentError, CheckpointError
from crosscam.models.backbones.clip_files import clip_names
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.backbones.resnet import InstanceBatchNorm

PATCH = 16
STEM_STRIDE = 2
STEM_CHANNELS = 64


@dataclass(frozen=True)
class ViTShape:
    """Sizes of a vision transformer.

    Attributes:
        dim: length of a token.
        depth: number of blocks.
        heads: of the attention.
        grid: rows and columns of the positions, as published files have them; they are stretched to the image's map.
        stem: three convolutions stand before the patches (ICS).
        clip: a norm before the blocks, QuickGELU and an epsilon of 1e-5 (CLIP's image tower).
    """

    dim: int
    depth: int
    heads: int
    grid: tuple[int, int] = (14, 14)
    stem: bool = False
    clip: bool = False

    @property
    def eps(self) -> float:
        """The epsilon of the layer norms."""
        return 1e-5 if self.clip else 1e-6


# "nano" is not a published size: it trains on a CPU.
VITS = {
    "vit-nano-16": ViTShape(128, 4, 4),
    "vit-tiny-16": ViTShape(192, 12, 3),
    "vit-small-16": ViTShape(384, 12, 6),
    "vit-base-16": ViTShape(768, 12, 12),
    "vit-small-16-ics": ViTShape(384, 12, 6, (16, 8), stem=True),
    "vit-base-16-ics": ViTShape(768, 12, 12, (16, 8), stem=True),
    "vit-base-16-clip": ViTShape(768, 12, 12, clip=True),
}


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) tokens -> (B, T, C)."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed: Tensor = self.proj(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class MLP(nn.Module):
    """Two linear layers with a GELU (or CLIP's quick one) between them; the inner one is four times as wide."""

    def __init__(self, dim: int, *, quick: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        self.quick = quick

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) tokens -> (B, T, C)."""
        inner: Tensor = self.fc1(x)
        y: Tensor = self.fc2(inner * torch.sigmoid(1.702 * inner) if self.quick else gelu(inner))
        return y


class TransformerBlock(nn.Module):
    """Attention and MLP after layer norms, beside skips; ``drop_path``: stochastic depth, Huang et al., ECCV 2016."""

    def __init__(self, shape: ViTShape, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.attn = Attention(shape.dim, shape.heads)
        self.norm2 = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.mlp = MLP(shape.dim, quick=shape.clip)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) tokens -> (B, T, C)."""
        x = x + self._thin(self.attn(self.norm1(x)))
        return x + self._thin(self.mlp(self.norm2(x)))

    def _thin(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept.to(branch.dtype) / (1 - self.drop_path)


class PatchEmbedding(nn.Module):
    """Patches of 16 x 16 pixels to tokens; with a lower stride they overlap (He et al., ICCV 2021, section 3.1).

    With a stem the patches are cut from a map of half the size.
    """

    def __init__(self, dim: int, stride: int, *, stem: bool = False) -> None:
        super().__init__()
        self.conv = _stem() if stem else nn.Identity()
        self.proj = (
            nn.Conv2d(STEM_CHANNELS, dim, PATCH // STEM_STRIDE, stride // STEM_STRIDE)
            if stem
            else nn.Conv2d(3, dim, PATCH, stride)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, rows, columns)."""
        patches: Tensor = self.proj(self.conv(images))
        return patches


def _stem() -> nn.Sequential:
    """Convolutions to half the size: the first two with instance and batch norm, the last with batch norm."""
    layers: list[nn.Module] = []
    for i, (channels, kernel, stride) in enumerate(((3, 7, STEM_STRIDE), (STEM_CHANNELS, 3, 1), (STEM_CHANNELS, 3, 1))):
        norm = nn.BatchNorm2d(STEM_CHANNELS) if i == 2 else InstanceBatchNorm(STEM_CHANNELS)
        convolution = nn.Conv2d(channels, STEM_CHANNELS, kernel, stride, kernel // 2, bias=False)
        layers += [convolution, norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class VisionTransformer(Backbone):
    """A vision transformer without its classifier.

    Args:
        stride: from patch to patch, in pixels; 16 for patches side by side.
        drop_path: largest probability of stochastic depth; it rises linearly from 0 at the first block.
    """

    refused = ("register_tokens", "dist_token")

    def __init__(self, shape: ViTShape, stride: int = PATCH, drop_path: float = 0.0) -> None:
        super().__init__()
        self.out_channels = shape.dim
        self.shape = shape
        self.patch_embed = PatchEmbedding(shape.dim, stride, stem=shape.stem)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + math.prod(shape.grid), shape.dim))
        self.norm_pre = nn.LayerNorm(shape.dim, eps=shape.eps) if shape.clip else nn.Identity()
        last = max(shape.depth - 1, 1)
        self.blocks = nn.ModuleList(TransformerBlock(shape, drop_path * i / last) for i in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        for values in (self.cls_token, self.pos_embed, *(m.weight for m in self.modules() if isinstance(m, nn.Linear))):
            nn.init.trunc_normal_(values, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def embed(self, images: Tensor) -> tuple[Tensor, int, int]:
        """(B, 3, H, W) normalized images -> (B, 1 + rows x columns, C) tokens, the class token first; rows; columns."""
        patches = self.patch_embed(images)
        rows, columns = (int(n) for n in patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + resize_positions(self.pos_embed, self.shape.grid, (rows, columns))
        return self.norm_pre(tokens), rows, columns

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16): the patch tokens after the last norm, as a map."""
        tokens, rows, columns = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        patches: Tensor = self.norm(tokens)[:, 1:]
        return patches.transpose(1, 2).reshape(images.shape[0], -1, rows, columns)

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The patch embedding, then each block. Class token and positions are trained in any case."""
        return [[self.patch_embed, self.norm_pre], *([block] for block in self.blocks)]

    def parted(self) -> NoReturn:
        """A transformer has no block at which MGN could part it: always a ValueError."""
        raise ArgumentError("A vision transformer cannot be parted for MGN. Take a convolutional backbone.")

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A CLIP file's image tower by timm's names; the text tower is left out."""
        return clip_names(state) if self.shape.clip else dict(state)

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a published file, by this network's names and sizes; CheckpointError if positions do not fit.

        Positions of another image size and patches of another size are resized, and LayerScale (DINOv2) becomes part of
        the layer before it. Where patches have no bias (CLIP), it is 0.
        """
        found = dict(state)
        if "pos_embed" in found:
            found["pos_embed"] = resize_positions(found["pos_embed"], _grid(found["pos_embed"]), self.shape.grid)
        kernel = found.get("patch_embed.proj.weight")
        if (
            kernel is not None
            and kernel.dim() == 4
            and kernel.shape[2] == kernel.shape[3] < PATCH
            and not self.shape.stem
        ):
            found["patch_embed.proj.weight"] = resize_patches(kernel, PATCH)
        if self.shape.clip:
            found.setdefault("patch_embed.proj.bias", torch.zeros(self.shape.dim))
        for name in [k for k in found if k.endswith((".ls1.gamma", ".ls2.gamma"))]:
            scale = found.pop(name)
            block, kind, _ = name.rsplit(".", 2)
            layer = f"{block}.{'attn.proj' if kind == 'ls1' else 'mlp.fc2'}"
            found[f"{layer}.weight"] = found[f"{layer}.weight"] * scale[:, None]
            found[f"{layer}.bias"] = found[f"{layer}.bias"] * scale
        return found


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Position embeddings of another map.

    Args:
        positions: (1, 1 + rows x columns, C), the class token first.
        old: rows and columns of the map that they are of.
        new: rows and columns of the map that is wanted.
    Returns:
        (1, 1 + new rows x new columns, C), stretched (bicubic).
    """
    if old == new:
        return positions
    grid = positions[:, 1:].transpose(1, 2).reshape(1, -1, *old)
    stretched = interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], stretched.flatten(2).transpose(1, 2)], dim=1)


def _grid(positions: Tensor) -> tuple[int, int]:
    """Rows and columns of a file's positions: a square, or twice as high as wide (256 x 128 pixels)."""
    count = positions.shape[1] - 1 if positions.dim() == 3 else -1
    for height in (1, 2):
        columns = math.isqrt(max(count, 0) // height)
        if columns and height * columns**2 == count:
            return height * columns, columns
    raise CheckpointError(
        f"pos_embed has shape {tuple(positions.shape)}: expected one position for the class token and those of a "
        "square of patches, or of one twice as high as wide. Files with more tokens (distillation, registers) or for "
        "other image shapes do not fit."
    )


def resize_patches(kernel: Tensor, size: int) -> Tensor:
    """(C, 3, P, P) weights of a patch embedding -> (C, 3, size, size): an enlarged patch (bilinear) gives one token.

    Source: Beyer et al., "FlexiViT", CVPR 2023, section 3.4 (PI-resize).
    """
    old = kernel.shape[-1]
    basis = torch.eye(old * old, dtype=torch.float64).reshape(old * old, 1, old, old)
    enlarge = interpolate(basis, size=(size, size), mode="bilinear", align_corners=False).flatten(1)  # (P*P, size*size)
    resized: Tensor = kernel.flatten(2).double() @ torch.linalg.pinv(enlarge).T
    return resized.reshape(*kernel.shape[:2], size, size).to(kernel.dtype)
