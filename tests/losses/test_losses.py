from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crosscam.losses import batch_hard_triplet, cross_entropy_sum, rrid_loss
from crosscam.models.output import ReidOutput
from models.parity_state import PARITY, vectors

CASES = ("rand0", "rand1", "clus0", "small", "noneg", "dup")


def case_input(case: str, stored: np.ndarray) -> np.ndarray:
    """The fixture stores two rows of the large cases; the rest is drawn again."""
    if case == "clus0":
        drawn = np.repeat(vectors("centre0", 16, 256), 4, axis=0) + np.float32(1.6) * vectors("noise0", 64, 256)
    elif case.startswith("rand"):
        drawn = vectors(case, 64, 256)
    else:
        return stored
    np.testing.assert_allclose(drawn[: len(stored)], stored, rtol=1e-6)
    return drawn


@pytest.mark.parametrize("margin", ["0.0", "0.3", "1.2"])
@pytest.mark.parametrize("case", CASES)
def test_triplet_against_the_authors(case, margin):
    with np.load(PARITY / "triplet.npz") as fixture:
        stored, labels = fixture[f"tri_{case}_input"], fixture[f"tri_{case}_labels"]
        loss, grad = float(fixture[f"tri_{case}_m{margin}_loss"]), fixture[f"tri_{case}_m{margin}_grad"]
    x = torch.from_numpy(case_input(case, stored)).requires_grad_()
    found = batch_hard_triplet(x, torch.from_numpy(labels), float(margin))
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5, abs=1e-12)
    actual = x.grad.numpy()
    assert np.isfinite(actual).all()
    if grad.ndim == 0:
        assert float(np.linalg.norm(actual)) == pytest.approx(float(grad), rel=1e-3)
    else:
        assert np.abs(actual - grad).max() <= 1e-3 * np.abs(grad).max()


def naive_triplet(x: Tensor, pids: list[int], margin: float) -> float:
    """Anchor by anchor; the anchor is its own positive; no negative, no loss."""
    total = 0.0
    for a, anchor in enumerate(pids):
        distances = [math.sqrt(sum(float(d) ** 2 for d in x[a] - row)) for row in x]
        positives = [d for d, pid in zip(distances, pids, strict=True) if pid == anchor]
        negatives = [d for d, pid in zip(distances, pids, strict=True) if pid != anchor]
        if negatives:
            total += max(0.0, max(positives) - min(negatives) + margin)
    return total / len(pids)


@settings(max_examples=40, deadline=None)
@given(
    pids=st.lists(st.integers(0, 3), min_size=2, max_size=8),
    margin=st.sampled_from([0.0, 0.3, 1.2]),
    seed=st.integers(),
)
def test_triplet_equals_the_loop(pids, margin, seed):
    x = torch.randn(len(pids), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed % 2**32))
    found = float(batch_hard_triplet(x, torch.tensor(pids), margin))
    # The floor under squared distances makes an anchor's distance to itself 1e-6, not 0.
    assert found == pytest.approx(naive_triplet(x, pids, margin), abs=3e-6)


def test_triplet_of_a_stack_is_each_alone():
    torch.manual_seed(0)
    x = torch.randn(5, 12, 7, dtype=torch.float64, requires_grad=True)
    pids = torch.arange(12) // 3
    together = batch_hard_triplet(x, pids, 0.3)
    assert together.shape == (5,)
    (grad,) = torch.autograd.grad(together.sum(), x)
    for e in range(5):
        alone = x[e].detach().requires_grad_()
        loss = batch_hard_triplet(alone, pids, 0.3)
        loss.backward()
        assert torch.allclose(loss, together[e], atol=1e-12)
        assert torch.allclose(alone.grad, grad[e], atol=1e-12)


def test_triplet_gradient_equals_finite_differences():
    torch.manual_seed(1)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda v: batch_hard_triplet(v, pids, 1.2), (x,))


def test_triplet_ignores_the_order_of_the_batch_and_the_names_of_the_identities():
    torch.manual_seed(2)
    x, pids, order = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) // 4, torch.randperm(12)
    loss = batch_hard_triplet(x, pids, 0.5)
    assert torch.allclose(batch_hard_triplet(x[order], 7 - pids[order], 0.5), loss)


def test_triplet_exact_values():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]], dtype=torch.float64)
    # Anchors 0 and 1: positive 5, negatives 6 and 5. Anchor 2: only itself (1e-6), nearest other 5.
    loss = batch_hard_triplet(x, torch.tensor([0, 0, 1]), 1.0)
    assert float(loss) == pytest.approx((0.0 + 1.0 + 0.0) / 3, abs=1e-6)
    assert float(batch_hard_triplet(x, torch.tensor([0, 0, 1]), 7.0)) == pytest.approx((6 + 7 + 2) / 3, abs=1e-6)


def test_triplet_keeps_single_precision_under_autocast():
    torch.manual_seed(3)
    x, pids = torch.randn(8, 32) + 10, torch.arange(8) // 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = batch_hard_triplet(x, pids, 0.3)
    assert under.dtype == torch.float32
    assert torch.equal(under, batch_hard_triplet(x, pids, 0.3))
    assert batch_hard_triplet(x.bfloat16(), pids, 0.3).dtype == torch.float32


@pytest.mark.parametrize(("count", "pids"), [(3, [0, 1]), (1, [0])])
def test_triplet_refuses(count, pids):
    with pytest.raises(ValueError, match="expected equal numbers, at least 2"):
        batch_hard_triplet(torch.zeros(count, 4), torch.tensor(pids), 0.3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_the_loop(smoothing):
    torch.manual_seed(4)
    logits = tuple(torch.randn(5, 7, dtype=torch.float64) for _ in range(3))
    pids = torch.tensor([0, 6, 3, 3, 1])
    total = 0.0
    for head in logits:
        for row, pid in zip(head.tolist(), pids.tolist(), strict=True):
            log_sum = math.log(sum(math.exp(v) for v in row))
            for k, v in enumerate(row):
                target = smoothing / 7 + (1 - smoothing) * (k == pid)
                total += target * (log_sum - v) / len(pids)
    assert float(cross_entropy_sum(logits, pids, smoothing)) == pytest.approx(total, rel=1e-12)


def test_cross_entropy_of_no_classifier_is_zero_and_of_even_logits_is_log_k():
    assert float(cross_entropy_sum((), torch.tensor([0, 1]))) == 0
    even = torch.zeros(4, 10)
    assert float(cross_entropy_sum((even, even), torch.tensor([0, 1, 2, 3]))) == pytest.approx(2 * math.log(10))


def output_of(dims: tuple[int, ...], batch: int = 6) -> ReidOutput:
    torch.manual_seed(5)
    embeddings = tuple(torch.randn(batch, d, dtype=torch.float64, requires_grad=True) for d in dims)
    return ReidOutput(embeddings, tuple(torch.randn(batch, 3, dtype=torch.float64) for _ in range(2)))


@pytest.mark.parametrize("dims", [(4, 4, 4), (4, 2)])
def test_rrid_loss_is_the_weighted_sum_of_its_terms(dims):
    output, pids = output_of(dims), torch.arange(6) // 2
    loss = rrid_loss(output, pids, margin=0.7, cross_entropy_weight=3.0)
    triplets = [naive_triplet(e.detach(), pids.tolist(), 0.7) for e in output.embeddings]
    assert float(loss.triplet.detach()) == pytest.approx(sum(triplets), abs=1e-5)
    assert torch.equal(loss.cross_entropy, cross_entropy_sum(output.logits, pids))
    assert torch.allclose(loss.total, loss.triplet + 3 * loss.cross_entropy)
    loss.total.backward()
    assert all(e.grad.abs().sum() > 0 for e in output.embeddings)


def test_rrid_loss_on_the_descriptor_and_its_defaults():
    output, pids = output_of((4, 4)), torch.arange(6) // 2
    whole = rrid_loss(output, pids, triplet_on="descriptor")
    assert float(whole.triplet.detach()) == pytest.approx(
        naive_triplet(output.descriptor.detach(), pids.tolist(), 1.2), abs=1e-5
    )
    spelled = rrid_loss(output, pids, margin=1.2, cross_entropy_weight=2.0, triplet_on="blocks")
    assert torch.equal(rrid_loss(output, pids).total, spelled.total)
    with pytest.raises(ValueError, match="'blocks' or 'descriptor'"):
        rrid_loss(output, pids, triplet_on="everything")
