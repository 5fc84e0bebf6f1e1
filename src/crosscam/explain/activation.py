"""Where in the image one block of a descriptor comes from.

The backbone's feature map A (C, H', W') is what all blocks of a descriptor are made of. For a number S that says how
strong a block is, the map of the block is

    M(y, x) = ReLU( sum_c dS/dA_c(y, x) * A_c(y, x) ),        S = |b|^2   or   S = b . v

with b the block before the descriptor is brought to length 1, and v a vector to agree with. The sum alone, without
ReLU, is the exact rate at which S grows when everything at the place (y, x) is made stronger by the same factor.
Where the layers after the map are homogeneous (no bias), these rates add up to 2 S or S: nothing is lost.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017. Grad-CAM averages the gradient over all places first. For stripes that
would be wrong, since the gradient is zero outside the stripes that a block has seen, and the average would give it to
all others; so each place keeps its own gradient, as in Draelos & Carin, "Use HiResCAM instead of Grad-CAM", 2020.

A place of the map stands for 16 x 16 pixels (32 x 32 with a strided last stage), but has seen more around it.

:func:`part_focus`: where the relation of one part looks, over many images, as Figure 6 of the paper shows it.
Source: Park & Ham, AAAI 2020, "One-vs.-rest relation" and Fig. 6. The paper says that R_p(T(p_i, r_i)) sees the rest of
the body more than R_p(r_i), and above all what is unlike part i.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from crosscam.errors import ArgumentError
from crosscam.models.baselines.transreid import TransReID
from crosscam.models.output import Block, ReidOutput
from crosscam.models.relation import RelationOutput
from crosscam.models.rrid import RRID, ScaleBranch
from crosscam.models.stripes import pool_stripes
from crosscam.models.systems import layout_of

Branch = Literal["whole", "residual"]
Maps = tuple[Tensor, ...]


def has_feature_map(model: nn.Module) -> bool:
    """Whether a model pools the map of a ``backbone``, for :func:`place_contributions`; HA-CNN and TransReID do not."""
    return isinstance(getattr(model, "backbone", None), nn.Module) and not isinstance(model, TransReID)


@torch.no_grad()
def feature_maps(model: nn.Module, images: Tensor, *, flip: bool = True) -> Tensor | Maps:
    """(N, C, H', W') of the images and, with ``flip``, then of their mirror images; ValueError if there is no map."""
    if not has_feature_map(model):
        raise ArgumentError(f"{type(model).__name__} pools no feature map of a backbone, so there is none to look at.")
    found: Tensor | Maps = model.backbone(_seen(images, flip))  # type: ignore[operator]
    return found


def place_contributions(
    model: nn.Module,
    images: Tensor,
    blocks: Sequence[Block],
    *,
    flip: bool = True,
    reference: Tensor | None = None,
    branch: Branch = "whole",
    maps: Tensor | Maps | None = None,
) -> Tensor:
    """What each place of the feature map adds to a block's S, by its sign: sum_c dS/dA_c * A_c.

    The model is only read; its parameters get no gradients.

    Args:
        model: a model with a ``backbone``, in evaluation mode. Where the backbone gives several maps (MGN), they are
            brought to the size of the largest and added.
        images: (B, 3, H, W) normalized images.
        blocks: L blocks of the model's layout.
        flip: b is the mean over the image and its mirror image, as in :func:`crosscam.models.output.describe`; what the
            mirror image adds is turned back and added.
        reference: (B, D) or (D,) descriptors. S = b . v with v the reference's own block; without one, S = |b|^2.
        branch: ``"whole"``: b is the block. ``"residual"``: b is what the relation adds to the part in that block,
            R_p(T(p_i, r_i)) or R_p(r_i), see :class:`crosscam.models.relation.RelationModule`.
        maps: from :func:`feature_maps` of the same images, where they are at hand.
    Returns:
        (B, L, H', W') float32.
    Raises:
        ValueError: the model has no feature map; or no relation in the block, for ``"residual"``.
    """
    found = feature_maps(model, images, flip=flip) if maps is None else maps
    with torch.enable_grad():
        leaves = tuple(m.detach().requires_grad_() for m in ((found,) if isinstance(found, Tensor) else found))
        given = leaves[0] if isinstance(found, Tensor) else leaves
        features = _block_features(model, given, _seen(images, flip), blocks, branch)
        columns = []
        for block, feature in zip(blocks, features, strict=True):
            b = _halves(feature).mean(dim=0) if flip else feature
            against = b if reference is None else reference[..., block.start : block.stop].to(b)
            gradients = torch.autograd.grad((b * against).sum(), leaves, retain_graph=True, allow_unused=True)
            columns.append(_on_one_grid(leaves, gradients))
    places = torch.stack(columns, dim=1).float()
    if flip:
        straight, mirrored = _halves(places)
        places = straight + mirrored.flip(3)
    return places.detach()


def activation_maps(contributions: Tensor) -> Tensor:
    """(..., H', W') contributions -> the same shape in [0, 1]: negative ones are 0, the largest of a map is 1."""
    positive = contributions.clamp(min=0)
    largest = positive.amax(dim=(-2, -1), keepdim=True)
    return positive / torch.where(largest > 0, largest, torch.ones_like(largest))


def stripe_shares(contributions: Tensor, num_parts: int) -> Tensor:
    """(..., H', W') -> (..., P): how much of a map's positive mass lies in each of P horizontal stripes, top to bottom.

    The sum is 1; NaN for a map without a positive place. ValueError if the stripes do not tile the map.
    """
    height = contributions.shape[-2]
    if height % num_parts:
        raise ArgumentError(f"A map of {height} rows cannot be cut into {num_parts} equal stripes.")
    rows = contributions.clamp(min=0).sum(dim=-1)
    mass = rows.reshape(*rows.shape[:-1], num_parts, height // num_parts).sum(dim=-1)
    shares: Tensor = mass / mass.sum(dim=-1, keepdim=True)
    return shares


def relation_output(model: nn.Module, feature_map: Tensor, num_parts: int) -> RelationOutput:
    """Local features of one scale of RRID from its map (B, C, H', W'); ValueError if it has no such relation."""
    branches = list(model.branches) if isinstance(model, RRID) else []
    for branch in branches:
        if isinstance(branch, ScaleBranch) and branch.num_parts == num_parts:
            local = branch.local
            if local is not None and local.relation != "none":
                output: RelationOutput = local(pool_stripes(feature_map, num_parts, branch.local_pooling))
                return output
    raise ArgumentError(
        f"This model has no relation between {num_parts} stripes. Take an RRID trained with model.relation=one_vs_rest "
        f"or rest_only and {num_parts} among its model.scales."
    )


def _seen(images: Tensor, flip: bool) -> Tensor:
    return torch.cat((images, images.flip(3))) if flip else images


def _block_features(
    model: nn.Module, maps: Tensor | Maps, images: Tensor, blocks: Sequence[Block], branch: Branch
) -> list[Tensor]:
    """(N, D_k) features of the blocks, as functions of the maps."""
    if branch == "residual":
        for block in blocks:
            if block.kind != "local":
                raise ArgumentError(f"Block {block.name} stands for the whole image. Only stripes have a relation.")
        one = maps if isinstance(maps, Tensor) else maps[0]  # RRID has one map, and others have no relation
        scales = {block.num_parts: relation_output(model, one, block.num_parts) for block in blocks}
        return [_residual(scales[block.num_parts], block) for block in blocks]
    output: ReidOutput = _with_backbone(model, _Given(maps))(images)
    return [output.descriptor[:, block.start : block.stop] for block in blocks]


def _residual(found: RelationOutput, block: Block) -> Tensor:
    assert found.added is not None
    return found.added[:, round(block.rows[0] * block.num_parts)]


def _halves(doubled: Tensor) -> Tensor:
    """(2 B, ...) images and their mirror images -> (2, B, ...)."""
    return doubled.view(2, -1, *doubled.shape[1:])


class _Given(nn.Module):
    """In place of a backbone: gives maps that were computed before."""

    def __init__(self, maps: Tensor | Maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Tensor | Maps:
        """The maps, whatever the images."""
        del images
        return self.maps


def _with_backbone(model: nn.Module, backbone: nn.Module) -> nn.Module:
    """The same model, layers shared, on another backbone; unlike a hook, it leaves the original as it is."""
    other = copy.copy(model)
    other._modules = {**model._modules, "backbone": backbone}
    return other


def _on_one_grid(maps: Maps, gradients: Sequence[Tensor | None]) -> Tensor:
    """(N, H', W') sum over channels and maps of gradient times activation, on the grid of the largest map."""
    size = max((m.shape[2], m.shape[3]) for m in maps)
    total = maps[0].new_zeros(len(maps[0]), *size)
    for one, gradient in zip(maps, gradients, strict=True):
        if gradient is not None:
            places = (gradient * one).sum(dim=1, keepdim=True)
            share = places.shape[2] * places.shape[3] / (size[0] * size[1])
            # A place of a coarse map is spread evenly over the places it covers.
            total = total + interpolate(places, size, mode="nearest").squeeze(1) * share
    return total


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PartFocus:
    """What the relation of part i looks at, for N images.

    Attributes:
        part: i, counted from 0.
        places: (N, H', W') contributions to |R_p|^2, as :func:`crosscam.explain.activation.place_contributions`.
        stripes: (N, P) share of their positive mass in each stripe; NaN where the relation adds nothing.
        outside: (N,) share outside part i. Always 1 for R_p(r_i), which is not shown part i at all.
        outside_whole: (N,) the same for the whole block q_i = p_i + R_p, which both kinds of model have.
        unlikeness: (N,) how much more unlike part i the stripes looked at are than the rest on average: the mean of
            1 - cosine(p_i, p_j) over j != i weighted by ``stripes``, less the plain mean. Above 0: what is unlike.
    """

    part: int
    places: Array
    stripes: Array
    outside: Array
    outside_whole: Array
    unlikeness: Array


def part_focus(
    model: nn.Module, batches: Iterable[Tensor], num_parts: int, part: int, *, flip: bool = True
) -> PartFocus:
    """Measure where the relation of one part of P, counted from 0, looks on (B, 3, H, W) normalized images.

    ``model`` is an RRID in evaluation mode; ValueError if it has no such part, or no relation.
    """
    block = stripe_block(model, num_parts, part)
    places, whole, unlike = [], [], []
    for images in batches:
        found = feature_maps(model, images, flip=flip)
        if not isinstance(found, Tensor):
            raise ArgumentError("This model has several feature maps, and no relation on one. Take an RRID.")
        adds = place_contributions(model, images, [block], flip=flip, branch="residual", maps=found)
        all_of_q = place_contributions(model, images, [block], flip=flip, maps=found)
        places.append(adds[:, 0])
        whole.append(stripe_shares(all_of_q[:, 0], num_parts))
        unlike.append(_unlikeness_of_parts(found[: len(images)], num_parts, part))
    seen = torch.cat(places)
    shares = stripe_shares(seen, num_parts).double().cpu().numpy()
    others = np.arange(num_parts) != part
    rest = shares[:, others]
    unlikeness = torch.cat(unlike).double().cpu().numpy()[:, others]
    with np.errstate(invalid="ignore"):
        looked_at = (rest * unlikeness).sum(axis=1) / rest.sum(axis=1)
    return PartFocus(
        part=part,
        places=seen.double().cpu().numpy(),
        stripes=shares,
        outside=1 - shares[:, part],
        outside_whole=1 - torch.cat(whole).double().cpu().numpy()[:, part],
        unlikeness=looked_at - unlikeness.mean(axis=1),
    )


def stripe_block(model: nn.Module, num_parts: int, part: int) -> Block:
    """The block of one stripe, counted from 0, of a model's layout; ValueError if there is none."""
    stripes = [b for b in layout_of(model) if b.kind == "local" and b.num_parts == num_parts]
    if not 0 <= part < len(stripes):
        raise ArgumentError(f"The descriptor has no stripe {part + 1} of {num_parts}.")
    return stripes[part]


def _unlikeness_of_parts(feature_map: Tensor, num_parts: int, part: int) -> Tensor:
    """(B, P) 1 - cosine between the pooled part i and every pooled part, all of one image."""
    parts = normalize(pool_stripes(feature_map, num_parts), dim=2)
    return 1 - (parts * parts[:, part : part + 1]).sum(dim=2)
