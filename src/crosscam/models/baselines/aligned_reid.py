"""AlignedReID++: a global feature, trained beside stripes that are matched from head to foot by a shortest path.

Source: Luo et al., "AlignedReID++: Dynamically matching local information for person re-identification", Pattern
Recognition 2019. Where the paper is silent the authors' public code decides: its ResNet-50 keeps stride 2 in the last
stage, so that 256 x 128 pixels give 8 rows, one for each stripe; the local branch normalizes the map once more before
it is pooled; hard pairs are mined by the global distance alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.output import Block, Layout, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import OnBackbone, pool_stripes

# Costs that are held at a time where all pairs are compared, and queries in such a block.
BLOCK_ELEMENTS = 4_000_000
BLOCK_QUERIES = 16


class AlignedReID(nn.Module):
    """A global feature and P aligned local ones. ``model(images)`` gives a :class:`ReidOutput`.

    ``extras["local"]`` are the local features, (B, P, d), each of length 1, top to bottom.

    Args:
        num_parts, local_dim: P stripes, and d, length of a stripe's feature.
        keep_local: append the stripes of the feature map, P times C numbers, to the descriptor, for
            :func:`aligned_distances`; the authors' test compares these, and not the projected ones of the training. By
            default the local branch serves the training alone and the descriptor is the global feature (C numbers).

    Attributes:
        layout: block ``"global"``, then ``"local1"`` to ``"localP"`` if they are kept.
    """

    def __init__(
        self, backbone: Backbone, num_ids: int, *, num_parts: int = 8, local_dim: int = 128, keep_local: bool = False
    ) -> None:
        super().__init__()
        channels = backbone.out_channels
        self.backbone = backbone
        self.num_parts = num_parts
        self.keep_local = keep_local
        self.local_norm = nn.BatchNorm2d(channels)
        # The paper's 1x1 convolution; all stripes share it.
        self.local_project = nn.Linear(channels, local_dim)
        self.global_classifiers = nn.ModuleList(nn.Linear(channels, num_ids) for _ in range(1 if num_ids else 0))
        self.layout = aligned_layout(channels, num_parts if keep_local else 0, channels)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalized images, the map's height divisible by P -> embeddings, logits and local features."""
        feature_map = self.backbone(images)
        whole = pool_map(feature_map, "gap")
        stripes = pool_stripes(torch.relu(self.local_norm(feature_map)), self.num_parts, "max")
        local = normalize(self.local_project(stripes), dim=2)
        # As in the authors' code, the test compares the stripes of the map itself.
        raw = normalize(pool_stripes(feature_map, self.num_parts, "max"), dim=2) if self.keep_local else local
        return ReidOutput(
            embeddings=(whole, *raw.unbind(dim=1)) if self.keep_local else (whole,),
            logits=tuple(classify(whole) for classify in self.global_classifiers),
            extras={"local": local},
        )


def aligned_layout(global_dim: int, num_parts: int, local_dim: int) -> Layout:
    """The global block and, after it, ``num_parts`` local ones."""
    layout = [Block("global", 0, global_dim, 1, "global", (0.0, 1.0))]
    for i in range(num_parts):
        start = layout[-1].stop
        rows = (i / num_parts, (i + 1) / num_parts)
        layout.append(Block(f"local{i + 1}", start, start + local_dim, num_parts, "local", rows))
    return tuple(layout)


def shortest_path(costs: Tensor) -> Tensor:
    """(..., P, R) costs, not negative -> (...) of the cheapest way from first stripes to last, down or right by one.

    Source: Luo et al. 2019, the recursion of S_{i,j}; the costs of both ends are counted. A way has P + R - 1 places,
    so a person's distance to itself is not 0.
    """
    first, *rest = costs.unbind(dim=-2)
    reached = list(first.cumsum(dim=-1).unbind(dim=-1))
    for row in rest:
        cells = row.unbind(dim=-1)
        reached[0] = reached[0] + cells[0]
        for j in range(1, len(cells)):
            reached[j] = torch.minimum(reached[j], reached[j - 1]) + cells[j]
    return reached[-1]


def part_costs(x: Tensor, y: Tensor) -> Tensor:
    """Cost of matching each stripe of one person with each of another: (e^d - 1) / (e^d + 1), d their distance.

    (..., P, d) and (..., R, d) local features of as many people -> (..., P, R) in [0, 1), float32 at least. Source: Luo
    et al. 2019, the elementwise distance of the local features.
    """
    # Half precision would lose the differences of near vectors, and autocast would bring it back.
    with torch.autocast(x.device.type, enabled=False):
        x, y = (z.float() if z.dtype in (torch.bfloat16, torch.float16) else z for z in (x, y))
        squares = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
        squared = squares - 2 * x @ y.transpose(-1, -2)
        # The floor keeps the square root's gradient finite where features coincide.
        return torch.tanh(squared.clamp(min=1e-12).sqrt() / 2)


@torch.no_grad()
def local_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """(Q, P, d) and (G, R, d) local features of length 1 -> (Q, G) float32 shortest-path distances, on queries' device.

    Memory is bounded by blocks. Shapes that do not fit are a ValueError.
    """
    if query.dim() != 3 or gallery.dim() != 3 or query.shape[2] != gallery.shape[2]:
        raise ArgumentError(
            f"Local features of queries are {tuple(query.shape)}, of the gallery {tuple(gallery.shape)}. "
            "Expected (Q, P, d) and (G, R, d) from one model."
        )
    query, gallery = query.float(), gallery.to(query.device).float()
    result = query.new_empty(len(query), len(gallery))
    step = max(1, BLOCK_ELEMENTS // max(1, BLOCK_QUERIES * query.shape[1] * gallery.shape[1]))
    for top in range(0, len(query), BLOCK_QUERIES):
        for left in range(0, len(gallery), step):
            rows, columns = slice(top, top + BLOCK_QUERIES), slice(left, left + step)
            result[rows, columns] = shortest_path(_all_costs(query[rows], gallery[columns]))
    return result


def _all_costs(query: Tensor, gallery: Tensor) -> Tensor:
    """(B, P, d) and (G, R, d) -> (B, G, P, R) costs of all pairs, last in memory: each step reads one stretch."""
    (b, p, d), (g, r, _) = query.shape, gallery.shape
    x, y = query.transpose(0, 1).reshape(p * b, d), gallery.transpose(0, 1).reshape(r * g, d)
    costs: Tensor = part_costs(x, y).view(p, b, r, g).permute(1, 3, 0, 2)
    return costs


@torch.no_grad()
def aligned_distances(query: Tensor, gallery: Tensor, layout: Layout) -> Tensor:
    """Global and local distance together, for a model with ``keep_local``: (Q, D) and (G, D) -> (Q, G) float32.

    Source: the authors' test with both branches: squared Euclidean distance of the global features, each of length 1,
    plus the shortest-path distance of the local ones. A layout without local blocks of equal length is a ValueError.
    """
    first, *local = layout
    if not local or any(block.kind != "local" or block.dim != local[0].dim for block in local):
        raise ArgumentError("The layout has no local blocks of equal length. Build the model with keep_local=True.")
    if query.shape[1:] != (local[-1].stop,) or gallery.shape[1:] != (local[-1].stop,):
        raise ArgumentError(
            f"Descriptors are {tuple(query.shape)} and {tuple(gallery.shape)}; the layout has {local[-1].stop} numbers."
        )
    whole, parts = [], []
    for x in (query.float(), gallery.to(query.device).float()):
        whole.append(normalize(x[:, : first.stop]))
        # The mean over an image and its mirror image is shorter than 1.
        parts.append(normalize(x[:, first.stop :].reshape(len(x), len(local), local[0].dim), dim=2))
    similarity = whole[0] @ whole[1].T
    return local_distances(parts[0], parts[1]).add_(2 - 2 * similarity)


@dataclass(frozen=True)
class AlignedReIDModel(OnBackbone):
    """What builds :class:`AlignedReID`; see there. The defaults are the authors'."""

    cut_by: ClassVar[str] = "num_parts"
    system: Literal["aligned-reid"] = "aligned-reid"
    last_stride: int = 2
    num_parts: int = 8
    local_dim: int = 128
    keep_local: bool = False

    def distances(self, query: Tensor, gallery: Tensor, layout: Layout) -> Tensor | None:
        """:func:`aligned_distances` where the local features are kept; None otherwise."""
        return aligned_distances(query, gallery, layout) if self.keep_local else None

    def build(self, num_ids: int, *, pretrained: bool = True) -> AlignedReID:
        backbone = self.own_backbone(pretrained)
        return AlignedReID(
            backbone, num_ids, num_parts=self.num_parts, local_dim=self.local_dim, keep_local=self.keep_local
        )
