from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from crosscam.losses import batch_hard_triplet, bnneck_loss
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.bot import BoT, BoTModel
from crosscam.models.output import ReidOutput
from small_models import TINY_SHAPE, parameters

PIDS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def tiny(num_ids: int = 4) -> BoT:
    torch.manual_seed(0)
    return BoT(ResNet(TINY_SHAPE), num_ids)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


# Layers of michuanhaohao/reid-strong-baseline, the authors' code: a ResNet-50, the neck, a classifier without bias.
def test_length_layout_and_parameters_of_the_authors_code():
    with torch.device("meta"):
        model = BoTModel().build(751)
        output = model(torch.empty(2, 3, 256, 128))
        assert model.backbone(torch.empty(1, 3, 256, 128)).shape == (1, 2048, 16, 8)
    assert output.descriptor.shape == (2, 2048)
    assert [tuple(logit.shape) for logit in output.logits] == [(2, 751)]
    assert [(b.name, b.start, b.stop, b.kind, b.rows) for b in model.layout] == [("global", 0, 2048, "global", (0, 1))]
    assert parameters(model) == 23_508_032 + 2 * 2048 + 2048 * 751


def test_what_stands_before_and_after_the_neck():
    model = tiny().eval()
    nn.init.normal_(model.neck.running_mean)
    nn.init.uniform_(model.neck.running_var, 0.5, 2)
    nn.init.uniform_(model.neck.weight, 0.5, 2)
    with torch.no_grad():
        feature_map, output = model.backbone(images()), model(images())
    for b in range(3):
        for c in range(8):
            values = feature_map[b, c].flatten().tolist()
            mean = sum(values) / len(values)
            assert output.extras["before_neck"][b, c].item() == pytest.approx(mean, rel=1e-6, abs=1e-6)
            after = (mean - model.neck.running_mean[c].item()) / math.sqrt(model.neck.running_var[c].item() + 1e-5)
            assert output.descriptor[b, c].item() == pytest.approx(after * model.neck.weight[c].item(), abs=1e-5)
    torch.testing.assert_close(output.logits[0], output.descriptor @ model.id_classifiers[0].weight.T)


def test_the_neck_scales_but_never_shifts():
    model = tiny().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    bnneck_loss(model(images(8)), PIDS).total.backward()
    optimizer.step()
    bnneck_loss(model(images(8)), PIDS).total.backward()
    optimizer.step()
    assert torch.equal(model.neck.bias, torch.zeros(8))
    assert not torch.equal(model.neck.weight, torch.ones(8))


def test_loss_on_both_sides_of_the_neck():
    generator = torch.Generator().manual_seed(0)
    after, before = (torch.randn(8, 5, generator=generator) for _ in range(2))
    logits = torch.randn(8, 4, generator=generator)
    loss = bnneck_loss(ReidOutput((after,), (logits,), {"before_neck": before}), PIDS)
    assert torch.equal(loss.triplet, batch_hard_triplet(before, PIDS, 0.3))
    expected = 0.0
    for row, pid in zip(logits.tolist(), PIDS.tolist(), strict=True):
        norm = math.log(sum(math.exp(v) for v in row))
        expected += sum((norm - v) * (0.9 * (k == pid) + 0.1 / 4) for k, v in enumerate(row)) / 8
    assert loss.cross_entropy.item() == pytest.approx(expected, rel=1e-5)
    assert loss.total.item() == pytest.approx(loss.triplet.item() + expected, rel=1e-5)
    with pytest.raises(ValueError, match="no extra 'before_neck'"):
        bnneck_loss(ReidOutput((after,), (logits,)), PIDS)


def test_training_lowers_the_loss_and_reaches_all_parameters():
    model = tiny().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(20):
        optimizer.zero_grad()
        loss = bnneck_loss(model(images(8)), PIDS)
        loss.total.backward()
        if step == 1:
            trained = [p for name, p in model.named_parameters() if name != "neck.bias"]
            assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in trained)
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.8 * losses[0]
