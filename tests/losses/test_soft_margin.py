from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crosscam.losses import (
    batch_hard_soft_margin,
    batch_hard_triplet,
    classification_loss,
    cross_entropy_sum,
    soft_margin_loss,
)
from crosscam.models.output import ReidOutput


def naive_soft_margin(x: Tensor, pids: list[int]) -> float:
    """Anchor by anchor; no negative, no loss."""
    total = 0.0
    for a, anchor in enumerate(pids):
        distances = [math.sqrt(sum(float(d) ** 2 for d in x[a] - row)) for row in x]
        positives = [d for d, pid in zip(distances, pids, strict=True) if pid == anchor]
        negatives = [d for d, pid in zip(distances, pids, strict=True) if pid != anchor]
        if negatives:
            total += math.log1p(math.exp(max(positives) - min(negatives)))
    return total / len(pids)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=9), st.integers(1, 5), st.integers(0, 999))
def test_against_loops(pids, dim, seed):
    x = 3 * torch.randn(len(pids), dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = batch_hard_soft_margin(x, torch.tensor(pids))
    assert float(found) == pytest.approx(naive_soft_margin(x, pids), abs=1e-5)


def test_exact_value_and_gradient():
    # On a line: positives 1 apart, the closest negative 1 away from one of them and 2 from the other.
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64, requires_grad=True)
    loss = batch_hard_soft_margin(x, torch.tensor([0, 0, 1, 1]))
    inner, outer = math.log(2), math.log1p(math.exp(-1))
    assert float(loss.detach()) == pytest.approx((inner + outer) / 2, rel=1e-6)
    loss.backward()
    assert x.grad is not None
    far = 1 / (1 + math.exp(1))
    middle = (1.5 + 2 * far) / 4
    torch.testing.assert_close(x.grad.flatten(), torch.tensor([-0.125, middle, -middle, 0.125], dtype=torch.float64))


def test_never_zero_and_above_the_margin_of_zero():
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    pids = torch.arange(4).repeat(4)
    soft, hard = batch_hard_soft_margin(x, pids), batch_hard_triplet(x, pids, 0.0)
    assert float(hard) < float(soft) <= float(hard) + math.log(2)
    far = batch_hard_soft_margin(torch.eye(4).repeat(4, 1) * 50, pids)
    assert 0 <= float(far) < 1e-6


def test_one_identity_alone_gives_zero_and_a_finite_gradient():
    x = torch.randn(3, 4, requires_grad=True)
    loss = batch_hard_soft_margin(x, torch.zeros(3, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(3, 4))


def test_equal_vectors_give_a_finite_gradient():
    x = torch.ones(4, 3, requires_grad=True)
    batch_hard_soft_margin(x, torch.tensor([0, 0, 1, 1])).backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_half_precision_is_computed_in_single():
    x = torch.randn(8, 4).bfloat16()
    pids = torch.arange(4).repeat(2)
    assert batch_hard_soft_margin(x, pids).dtype == torch.float32
    assert torch.equal(batch_hard_soft_margin(x, pids), batch_hard_soft_margin(x.float(), pids))


def test_bad_input():
    for x, pids in ((torch.zeros(1, 2), [0]), (torch.zeros(3, 2), [0, 1]), (torch.zeros(2, 2, 2), [0, 1])):
        with pytest.raises(ValueError, match=r"expected \(B, D\) and B"):
            batch_hard_soft_margin(x, torch.tensor(pids))


def test_losses_of_an_output():
    generator = torch.Generator().manual_seed(0)
    embeddings = tuple(torch.randn(6, 4, generator=generator) for _ in range(2))
    logits = tuple(torch.randn(6, 3, generator=generator) for _ in range(2))
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    output = ReidOutput(embeddings, logits)
    soft = soft_margin_loss(output, pids)
    assert torch.equal(soft.total, batch_hard_soft_margin(torch.cat(embeddings, dim=1), pids))
    assert (float(soft.triplet), float(soft.cross_entropy)) == (float(soft.total), 0)
    classified = classification_loss(output, pids, label_smoothing=0.1)
    assert torch.equal(classified.total, cross_entropy_sum(logits, pids, 0.1))
    assert (float(classified.triplet), float(classified.cross_entropy)) == (0, float(classified.total))
