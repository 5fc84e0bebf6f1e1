"""Swin transformers: attention within windows that shift from block to block, with Microsoft's parameter names.

Sources: Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", ICCV 2021, section 3;
for maps that windows do not divide: the padding of Microsoft's detection code, which SOLIDER has too (Chen et al.,
"Beyond appearance", CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.backbones.swin_files import swin_names
from crosscam.models.backbones.vit import MLP

PATCH = 4
WINDOW = 7
SHIFT = WINDOW // 2
# What is added to the attention between tokens that the shift has made neighbors; as published.
_APART = -100.0


@dataclass(frozen=True)
class SwinShape:
    """Sizes of a Swin transformer.

    Attributes:
        dim: channels of the first stage; each later one has twice as many.
        depths: blocks of each of the four stages.
        heads: of the attention in each stage.
    """

    dim: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


SWINS = {
    "swin-tiny": SwinShape(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin-small": SwinShape(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin-base": SwinShape(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
SWIN_STAGES = 5


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a bias for each offset of two tokens; equation (4)."""

    offsets: Tensor

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("offsets", _offsets(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, T, C) tokens of N windows, and (N, T, T) added to their attention or None -> (B, N, T, C)."""
        query, key, value = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)
        bias = self.relative_position_bias_table[self.offsets].permute(2, 0, 1)
        if mask is not None:
            bias = bias + mask[:, None].to(bias.dtype)
        mixed: Tensor = self.proj(scaled_dot_product_attention(query, key, value, bias).transpose(2, 3).flatten(3))
        return mixed


def _offsets() -> Tensor:
    """(T, T) rows of the table of biases: how far the second of two tokens of a window lies from the first."""
    place = torch.arange(WINDOW * WINDOW)
    rows, columns = (x[:, None] - x + WINDOW - 1 for x in (place // WINDOW, place % WINDOW))
    return rows * (2 * WINDOW - 1) + columns


# Sizes are numbers, and the first is left open, so that a traced graph takes any number of images.
def split_windows(x: Tensor) -> Tensor:
    """(B, H, W, C), H and W multiples of the window -> (B, N, T, C): the tokens of the N windows, row by row."""
    h, w, c = (int(n) for n in x.shape[1:])
    tiles = x.reshape(-1, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c).transpose(2, 3)
    return tiles.reshape(-1, h // WINDOW * (w // WINDOW), WINDOW * WINDOW, c)


def join_windows(windows: Tensor, rows: int, columns: int) -> Tensor:
    """(B, N, T, C) windows as :func:`split_windows` gave them -> (B, rows, columns, C)."""
    c = int(windows.shape[3])
    tiles = windows.reshape(-1, rows // WINDOW, columns // WINDOW, WINDOW, WINDOW, c).transpose(2, 3)
    return tiles.reshape(-1, rows, columns, c)


def shift_mask(rows: int, columns: int, device: torch.device) -> Tensor:
    """(N, T, T), -100 between tokens of a shifted map that came together from its opposite edges, and else 0."""
    row, column = (
        (x >= len(x) - WINDOW).int() + (x >= len(x) - SHIFT).int()
        for x in (torch.arange(n, device=device) for n in (rows, columns))
    )
    regions = split_windows((3 * row[:, None] + column)[None, :, :, None])[0, :, :, 0]
    mask: Tensor = (regions[:, :, None] != regions[:, None]) * _APART
    return mask


class SwinBlock(nn.Module):
    """Window attention and MLP after layer norms, beside skips; with ``shifted``, the windows are moved by half."""

    def __init__(self, dim: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)
        self.shifted = shifted

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self._attend(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y

    def _attend(self, x: Tensor) -> Tensor:
        h, w = int(x.shape[1]), int(x.shape[2])
        x = pad(x, (0, 0, 0, -w % WINDOW, 0, -h % WINDOW))
        rows, columns = h + -h % WINDOW, w + -w % WINDOW
        # One whole window is not shifted, as in the paper's classifiers at 224 pixels; a smaller map is, as in SOLIDER.
        if not self.shifted or (h, w) == (WINDOW, WINDOW):
            return join_windows(self.attn(split_windows(x), None), rows, columns)[:, :h, :w]
        mask = shift_mask(rows, columns, x.device)
        windows = self.attn(split_windows(x.roll((-SHIFT, -SHIFT), (1, 2))), mask)
        return join_windows(windows, rows, columns).roll((SHIFT, SHIFT), (1, 2))[:, :h, :w]


class PatchMerging(nn.Module):
    """Two by two tokens become one of twice the channels. The bias is 0 in all published files but SOLIDER's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C); odd sizes get a row or column of zeros."""
        x = pad(x, (0, 0, 0, int(x.shape[2]) % 2, 0, int(x.shape[1]) % 2))
        h, w, c = (int(n) for n in x.shape[1:])
        fours = x.reshape(-1, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        y: Tensor = self.reduction(self.norm(fours))
        return y


class SwinStage(nn.Module):
    """Blocks whose windows are shifted in every second one, then a merging of patches in all stages but the last."""

    def __init__(self, dim: int, depth: int, heads: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(dim, heads, shifted=i % 2 == 1) for i in range(depth)))
        self.downsample = nn.Identity() if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C), and from the last stage (B, H, W, C)."""
        y: Tensor = self.downsample(self.blocks(x))
        return y


class PatchEmbedding(nn.Module):
    """Patches of 4 x 4 pixels to tokens, and a layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, H/4, W/4, C); zeros are added at the right and below."""
        images = pad(images, (0, -int(images.shape[3]) % PATCH, 0, -int(images.shape[2]) % PATCH))
        tokens: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return tokens


class SwinTransformer(Backbone):
    """A Swin transformer without its classifier: a map of 1/32 of the image's size, as with a last stride of 2.

    Images of 384 x 128 pixels give 12 x 4, of 256 x 128 8 x 4, of 224 x 224 7 x 7; sizes that 32 does not divide are
    rounded up. Maps are padded with zeros to whole windows of 7 x 7 within each block's attention.
    """

    refused = ("absolute_pos_embed",)

    def __init__(self, shape: SwinShape) -> None:
        super().__init__()
        dims = [shape.dim * 2**i for i in range(4)]
        self.out_channels = dims[-1]
        self.patch_embed = PatchEmbedding(shape.dim)
        sizes = zip(dims, shape.depths, shape.heads, strict=True)
        self.layers = nn.ModuleList(SwinStage(*size, last=i == 3) for i, size in enumerate(sizes))
        self.norm = nn.LayerNorm(dims[-1])
        for module in self.modules():
            if isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/32, W/32) after the last norm."""
        tokens = self.patch_embed(images)
        for stage in self.layers:
            tokens = stage(tokens)
        feature_map: Tensor = self.norm(tokens).permute(0, 3, 1, 2)
        return feature_map

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The patch embedding, then the four stages; the last norm belongs to the last."""
        return [[self.patch_embed], *([stage] for stage in self.layers[:-1]), [self.layers[-1], self.norm]]

    def parted(self) -> NoReturn:
        """A transformer has no block at which MGN could part it: always a ValueError."""
        raise ArgumentError("A Swin transformer cannot be parted for MGN. Take a convolutional backbone.")

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file of SOLIDER, mmdetection, timm or torchvision by Microsoft's names."""
        return swin_names(state)

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a published file by this network's names; a bias that a merging of patches does not have is 0."""
        found = dict(state)
        for name, own in self.state_dict().items():
            if name.endswith("reduction.bias"):
                found.setdefault(name, torch.zeros_like(own))
        return found
