"""Losses of pairs, beside loops over anchors as their papers write them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crosscam.errors import RecipeError
from crosscam.losses import batch_hard_soft_margin, circle_loss, rrid_loss, weighted_triplet
from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings

PIDS = [0, 0, 0, 1, 1, 2]


def rows(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(len(PIDS), 5)))


def groups(anchor: int) -> tuple[list[int], list[int]]:
    same = [i for i, pid in enumerate(PIDS) if pid == PIDS[anchor] and i != anchor]
    return same, [i for i, pid in enumerate(PIDS) if pid != PIDS[anchor]]


def test_weighted_triplets_as_written() -> None:
    x = rows().numpy()
    total = 0.0
    for anchor in range(len(PIDS)):
        same, others = groups(anchor)
        near, far = ([float(np.linalg.norm(x[anchor] - x[i])) for i in found] for found in (same, others))
        if not near:
            continue
        of_near = sum(d * math.exp(d) for d in near) / sum(map(math.exp, near))
        of_far = sum(d * math.exp(-d) for d in far) / sum(math.exp(-d) for d in far)
        total += math.log1p(math.exp(of_near - of_far))
    assert float(weighted_triplet(rows(), torch.tensor(PIDS))) == pytest.approx(total / len(PIDS), rel=1e-6)


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 8.0), (0.4, 2.0)])
def test_circle_loss_as_written(margin: float, scale: float) -> None:
    x = rows().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    total = 0.0
    for anchor in range(len(PIDS)):
        same, others = groups(anchor)
        if not same:
            continue
        positive = [float(x[anchor] @ x[i]) for i in same]
        negative = [float(x[anchor] @ x[i]) for i in others]
        one = sum(math.exp(-scale * max(1 + margin - s, 0) * (s - (1 - margin))) for s in positive)
        two = sum(math.exp(scale * max(s + margin, 0) * (s - margin)) for s in negative)
        total += math.log1p(one * two)
    found = circle_loss(rows(), torch.tensor(PIDS), margin, scale)
    assert float(found) == pytest.approx(total / len(PIDS), rel=1e-6)


@pytest.mark.parametrize("loss", [weighted_triplet, circle_loss])
def test_gradients_are_finite_where_an_anchor_is_alone_or_all_are_alike(loss) -> None:
    for x, pids in ((rows(), PIDS), (torch.ones(6, 5), PIDS), (rows(), [0] * 6), (rows(), list(range(6)))):
        x = x.clone().float().requires_grad_()
        value = loss(x, torch.tensor(pids))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()
    with pytest.raises(ValueError, match=r"Embeddings of shape \(6, 5\), 5 identities"):
        loss(rows(), torch.tensor(PIDS[:5]))


def test_pairs_are_chosen_by_a_setting() -> None:
    output, pids = ReidOutput((rows().float(), rows(1).float())), torch.tensor(PIDS)
    found = rrid_loss(output, pids, pairs="soft-margin").triplet
    assert found == sum(batch_hard_soft_margin(e, pids) for e in output.embeddings)
    whole = rrid_loss(output, pids, 0.25, pairs="circle", triplet_on="descriptor").triplet
    assert whole == circle_loss(output.descriptor, pids)
    with pytest.raises(ValueError, match="pairs is one of batch-hard, soft-margin, weighted, circle"):
        rrid_loss(output, pids, pairs="all")  # type: ignore[arg-type]
    recipe = with_settings(find_recipe("rrid-s"), ["loss.pairs=circle", "loss.margin=0.25"])
    assert recipe.loss.collapsed_triplet(7) is None
    assert with_settings(find_recipe("rrid-s"), ["loss.pairs=weighted"]).loss.collapsed_triplet(7) == 7 * math.log(2)
    with pytest.raises(RecipeError, match=r"loss.margin=1.2 with loss.pairs=circle: expected below 1"):
        with_settings(find_recipe("rrid-s"), ["loss.pairs=circle"])
    with pytest.raises(RecipeError, match=r"loss.margin changes nothing with loss\.pairs=weighted"):
        with_settings(find_recipe("rrid-s"), ["loss.pairs=weighted", "loss.margin=0.5"])
