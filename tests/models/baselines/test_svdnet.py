from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscam.losses import classification_loss
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.svdnet import (
    RestraintRelaxation,
    SVDNet,
    SVDNetModel,
    begin_epoch,
    decorrelated,
)
from small_models import TINY_SHAPE


def tiny(num_ids: int = 3, **settings: object) -> SVDNet:
    torch.manual_seed(0)
    return SVDNet(ResNet(TINY_SHAPE), num_ids, **{"dim": 6, **settings})


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def correlated(rows: int = 9, columns: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    common = torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    return common + 0.3 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def off_diagonal(gram: Tensor) -> float:
    return (gram - gram.diag().diag()).abs().max().item()


def orthogonality(weights: Tensor) -> float:
    """S(W): sum of the diagonal of |W^T W| over the sum of all its entries.

    Source: Sun et al. 2017, section 3. 1 for orthogonal columns, 1/D for equal ones; the paper stops when it settles.

    Args:
        weights: W, (C, D), weight vectors as columns.
    """
    gram = (weights.detach().T @ weights.detach()).abs()
    return float(gram.trace() / gram.sum())


@pytest.mark.parametrize(("rows", "columns"), [(9, 5), (6, 6), (4, 1)])
def test_columns_are_orthogonal_and_as_long_as_the_singular_values(rows, columns):
    w = correlated(rows, columns)
    new = decorrelated(w)
    assert off_diagonal(new.T @ new) < 1e-12
    lengths = sorted(np.linalg.norm(new.numpy(), axis=0), reverse=True)
    assert lengths == pytest.approx(np.linalg.svd(w.numpy(), compute_uv=False).tolist(), abs=1e-12)


def test_columns_span_the_same_and_keep_all_distances():
    w = correlated()
    new = decorrelated(w)
    # W W^T is what distances of x^T W depend on.
    torch.testing.assert_close(new @ new.T, w @ w.T)


def test_columns_take_the_place_and_the_sign_of_the_old_ones():
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(7, 4, generator=generator, dtype=torch.float64)).Q
    w = basis * torch.tensor([1.0, -4.0, 2.0, -3.0], dtype=torch.float64)
    # Orthogonal already, in no order of length: nothing may move.
    torch.testing.assert_close(decorrelated(w), w)
    # Each old vector, in turn, got the nearest of those that were left.
    w = correlated()
    new = decorrelated(w)
    for i in range(5):
        cosines = [abs(torch.cosine_similarity(w[:, i], new[:, j], dim=0).item()) for j in range(i, 5)]
        assert cosines[0] == max(cosines)
        assert torch.cosine_similarity(w[:, i], new[:, i], dim=0) >= 0


def test_vectors_that_depend_on_each_other_do_not_fail():
    w = correlated().float()
    w[:, 1], w[:, 2] = w[:, 0], 0
    new = decorrelated(w)
    assert new.dtype == torch.float32
    assert torch.isfinite(new).all()
    assert off_diagonal(new.T @ new) < 1e-5
    torch.testing.assert_close(new @ new.T, w @ w.T)


def test_decorrelation_of_the_network_keeps_distances():
    model = tiny().eval()
    with torch.no_grad():
        model.eigenlayer.weight.add_(0.05)
        before = model(images()).descriptor
        assert orthogonality(model.eigenlayer.weight.T) < 0.5
        model.decorrelate()
        after = model(images()).descriptor
    assert orthogonality(model.eigenlayer.weight.T) == pytest.approx(1, abs=1e-4)
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), rtol=1e-3, atol=1e-4)


def test_epochs_of_the_iteration():
    plan = RestraintRelaxation(base=2, restraint=2, relaxation=1, iterations=2)
    phases = [plan.phase(epoch)[:4] for epoch in range(1, 11)]
    assert phases == ["base", "base", "rest", "rest", "rela", "rest", "rest", "rela", "rela", "rela"]
    assert [epoch for epoch in range(1, 11) if plan.decorrelates(epoch)] == [3, 6]
    assert plan.epochs == 8
    assert RestraintRelaxation().epochs == 60 + 7 * 40
    assert {RestraintRelaxation(1, 1, 1, 0).phase(epoch) for epoch in (1, 2, 9)} == {"base"}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_restraint_fixes_the_eigenlayer_alone_and_relaxation_trains_it(name):
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2])
    if name == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    plan = RestraintRelaxation(base=1, restraint=2, relaxation=1, iterations=1)
    moved, spread = [], []
    for epoch in range(1, 5):
        begin_epoch(model, plan, epoch)
        start = {n: p.detach().clone() for n, p in model.named_parameters()}
        classification_loss(model(images()), pids).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        moved.append({n for n, p in model.named_parameters() if not torch.equal(p, start[n])})
        spread.append(orthogonality(model.eigenlayer.weight.T))
    everything = {n for n, _ in model.named_parameters()}
    assert [everything - m for m in moved] == [set(), {"eigenlayer.weight"}, {"eigenlayer.weight"}, set()]
    assert spread[0] < 0.99
    assert spread[1:3] == pytest.approx([1, 1], abs=1e-4)
    assert spread[3] < 1 - 1e-6


def test_an_epoch_that_is_resumed_is_not_decorrelated_again():
    model, plan = tiny(), RestraintRelaxation(base=1, restraint=1, relaxation=1, iterations=1)
    weight = model.eigenlayer.weight.detach().clone()
    assert begin_epoch(model, plan, 2, resumed=True) == "restraint"
    assert torch.equal(model.eigenlayer.weight, weight)
    assert not model.eigenlayer.weight.requires_grad
    assert begin_epoch(model, plan, 3) == "relaxation"
    assert model.eigenlayer.weight.requires_grad


def test_dropout_is_for_the_classifier_alone():
    model = tiny(dropout=0.9).train()
    model.backbone.eval()
    first, second = model(images()), model(images())
    assert torch.equal(first.descriptor, second.descriptor)
    assert not torch.equal(first.logits[0], second.logits[0])


def test_gradient_reaches_every_parameter_and_training_lowers_the_loss():
    model, pids = tiny(dropout=0.0).train(), torch.tensor([0, 0, 1, 1, 2, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss = classification_loss(model(images()), pids).total
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(3), abs=0.1)
    assert losses[-1] < 0.7 * losses[0]


def test_lengths_and_parameters_of_the_paper():
    """The Eigenlayer has no bias: 2,048 x 2,048 numbers, or the authors' 2,048 x 1,024."""
    with torch.device("meta"):
        body = sum(p.numel() for p in build_backbone("resnet50").parameters())
        for dim in (2048, 1024):
            model = SVDNetModel(dim=dim).build(751)
            output = model(torch.empty(2, 3, 224, 224))
            assert output.descriptor.shape == (2, dim)
            assert model.layout[0].stop == dim
            assert sum(p.numel() for p in model.parameters()) == body + 2048 * dim + (dim + 1) * 751
    assert SVDNetModel().dim == 2048


def test_more_vectors_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="from 1 to 512"), torch.device("meta"):
        SVDNetModel(backbone="resnet18").build(5)


@pytest.mark.parametrize(("backbone", "dim"), [("resnet18-half", 256), ("resnet18", 512)])
def test_small_backbones_and_no_classifiers(backbone, dim):
    with torch.device("meta"):
        model = SVDNetModel(backbone=backbone, last_stride=1, dim=dim).build(0)
        output = model(torch.empty(2, 3, 96, 48))
    assert output.descriptor.shape == (2, dim)
    assert output.logits == ()
    assert not any("_classifiers." in name for name in model.state_dict())
