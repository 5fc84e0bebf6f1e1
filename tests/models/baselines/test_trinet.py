from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from crosscam.losses import soft_margin_loss
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.trinet import TriNet, TriNetModel
from small_models import TINY_SHAPE, parameters


def tiny() -> TriNet:
    torch.manual_seed(0)
    return TriNet(ResNet(TINY_SHAPE, last_stride=2), hidden=12, dim=5)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


# Layers of VisualComputingInstitute/triplet-reid, the authors' code, head "fc1024": 1,024 units without bias, scale and
# shift of their normalization, 128 units with bias.
def test_length_layout_and_parameters_of_the_authors_code():
    with torch.device("meta"):
        model = TriNetModel().build(751)
        output = model(torch.empty(2, 3, 256, 128))
        assert model.backbone(torch.empty(1, 3, 256, 128)).shape == (1, 2048, 8, 4)
    assert output.descriptor.shape == (2, 128)
    assert output.logits == ()
    assert [(b.name, b.start, b.stop, b.kind, b.rows) for b in model.layout] == [("global", 0, 128, "global", (0, 1))]
    assert parameters(model.backbone) == 23_508_032
    assert parameters(model) == 23_508_032 + (2048 * 1024 + 2 * 1024) + (1024 * 128 + 128)


def test_against_plain_arithmetic():
    model = tiny().eval()
    first, norm, _ = model.hidden
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.normal_(model.embed.bias)
    with torch.no_grad():
        feature_map, found = model.backbone(images()), model(images()).descriptor
    for b in range(3):
        pooled = [sum(c.flatten().tolist()) / c.numel() for c in feature_map[b]]
        hidden = []
        for c, weights in enumerate(first.weight.tolist()):
            y = sum(w * v for w, v in zip(weights, pooled, strict=True)) - norm.running_mean[c].item()
            hidden.append(max(0.0, y / math.sqrt(norm.running_var[c].item() + 1e-5)))
        for d, weights in enumerate(model.embed.weight.tolist()):
            y = sum(w * v for w, v in zip(weights, hidden, strict=True)) + model.embed.bias[d].item()
            assert found[b, d].item() == pytest.approx(y, abs=1e-5)


def test_the_last_layer_starts_orthogonal():
    weight = tiny().embed.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(5))


def test_training_lowers_the_loss_and_reaches_all_parameters():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(20):
        optimizer.zero_grad()
        loss = soft_margin_loss(model(images(8)), pids)
        loss.total.backward()
        if step == 0:
            # The bias of the last layer moves all embeddings alike: no distance feels it.
            felt = [p for name, p in model.named_parameters() if name != "embed.bias"]
            assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in felt)
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.5 * losses[0]


def test_trinet_can_be_ranked_without_normalizing() -> None:
    """Lengths count: of two descriptors in one direction the nearer one is found first."""
    from crosscam.models.output import describe

    model = tiny().eval()
    images = torch.randn(3, 3, 64, 32)
    whole = model(images).descriptor
    torch.testing.assert_close(describe(model, images, flip=False, unit=False), whole)
    torch.testing.assert_close(describe(model, images, flip=False), nn.functional.normalize(whole, dim=1))
