"""Where the relation of one part looks, over many images: Figure 6 of the paper in numbers.

Source: Park & Ham, AAAI 2020, "One-vs.-rest relation" and Fig. 6. The paper says that R_p(T(p_i, r_i)) sees the rest of
the body more than R_p(r_i), and above all what is unlike part i.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.errors import ArgumentError
from crosscam.explain.activation import feature_maps, place_contributions, stripe_shares
from crosscam.models.output import Block
from crosscam.models.parts import pool_stripes
from crosscam.models.systems import layout_of

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
    """Measure where the relation of one part looks.

    Args:
        model: an RRID with relation, in evaluation mode.
        batches: (B, 3, H, W) normalised images.
        num_parts: P, the scale.
        part: i, counted from 0.
        flip: whether mirror images count, as in descriptors.
    Raises:
        ValueError: the model has no such part, or no relation.
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
    """The block of one stripe, counted from 0, of a model's layout.

    Raises:
        ValueError: there is none.
    """
    stripes = [b for b in layout_of(model) if b.kind == "local" and b.num_parts == num_parts]
    if not 0 <= part < len(stripes):
        raise ArgumentError(f"The descriptor has no stripe {part + 1} of {num_parts}.")
    return stripes[part]


def _unlikeness_of_parts(feature_map: Tensor, num_parts: int, part: int) -> Tensor:
    """(B, P) 1 - cosine between the pooled part i and every pooled part, all of one image."""
    parts = normalize(pool_stripes(feature_map, num_parts), dim=2)
    return 1 - (parts * parts[:, part : part + 1]).sum(dim=2)
