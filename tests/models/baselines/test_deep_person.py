from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from crosscam.losses import rrid_loss
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.deep_person import BodyLSTM, DeepPerson, DeepPersonModel
from small_models import TINY_SHAPE


def tiny(num_ids: int = 3, **settings: object) -> DeepPerson:
    torch.manual_seed(0)
    return DeepPerson(ResNet(TINY_SHAPE), num_ids, **{"num_parts": 4, "hidden": 5, "dim": 7, **settings})


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def plain_lstm(parts: Tensor, lstm: nn.LSTM, suffix: str) -> list[Tensor]:
    """One direction of an LSTM, gate by gate; parts in the order in which they are read."""
    weights = dict(lstm.named_parameters())
    w_in, w_hidden = weights[f"weight_ih_l0{suffix}"], weights[f"weight_hh_l0{suffix}"]
    bias = weights[f"bias_ih_l0{suffix}"] + weights[f"bias_hh_l0{suffix}"]
    hidden = cell = torch.zeros(lstm.hidden_size)
    states = []
    for part in parts:
        enter, forget, new, leave = (w_in @ part + w_hidden @ hidden + bias).chunk(4)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        states.append(hidden)
    return states


def test_body_lstm_reads_down_and_up():
    torch.manual_seed(0)
    body, parts = BodyLSTM(3, 4), torch.randn(2, 5, 3)
    found = body(parts)
    for b in range(2):
        down = plain_lstm(parts[b], body.lstm, "")
        up = plain_lstm(parts[b].flip(0), body.lstm, "_reverse")[::-1]
        # The authors' code: a linear layer for each direction, and their sum.
        of_down, of_up = body.join.weight[:, :4], body.join.weight[:, 4:]
        for p in range(5):
            torch.testing.assert_close(found[b, p], of_down @ down[p] + of_up @ up[p] + body.join.bias)


def test_every_part_knows_the_whole_body():
    torch.manual_seed(0)
    parts = torch.randn(1, 6, 3, requires_grad=True)
    found = BodyLSTM(3, 4)(parts)
    for p in range(6):
        (grad,) = torch.autograd.grad(found[0, p].sum(), parts, retain_graph=True)
        assert (grad[0].abs().sum(dim=1) > 0).all()


def test_parts_are_averages_of_the_rows_of_the_map():
    model = tiny().eval()
    features = torch.rand(2, 8, 8, 3)
    branch = model.branch_classifiers[1]
    rows = torch.stack([features[:, :, 2 * p : 2 * p + 2].mean(dim=(2, 3)) for p in range(4)], dim=1)
    body = branch.body[1](branch.body[0](rows))
    expected = branch.classify(branch.unit(body.reshape(2, 1, 20))).reshape(2, 3)
    torch.testing.assert_close(branch(features), expected)


def test_three_branches():
    model = tiny().eval()
    output = model(images())
    assert output.descriptor.shape == (6, 8)
    assert [logit.shape for logit in output.logits] == [(6, 3), (6, 3)]
    torch.testing.assert_close(output.descriptor, model.backbone(images()).mean(dim=(2, 3)))
    # Upside down the average is the same map turned, but the sequence is another.
    features = model.backbone(images())
    of_global, of_parts = model.branch_classifiers
    torch.testing.assert_close(of_global(features), of_global(features.flip(2)))
    assert not torch.allclose(of_parts(features), of_parts(features.flip(2)), atol=1e-6)


def test_gradient_reaches_every_parameter_and_training_lowers_the_loss():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    for _ in range(10):
        loss = rrid_loss(model(images()), pids, 0.5, 1.0, triplet_on="descriptor").total
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_trains():
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = rrid_loss(model(images()), torch.tensor([0, 0, 1, 1, 2, 2]), 0.5, 1.0, triplet_on="descriptor").total
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_lengths_and_parameters_of_the_authors_code():
    """The authors' code joins the directions with two layers, each with a bias; one of the two adds nothing."""
    with torch.device("meta"):
        model = DeepPersonModel().build(751)
        body = sum(p.numel() for p in build_backbone("resnet50").parameters())
    lstms = sum(2 * 4 * 256 * (inputs + 256 + 2) for inputs in (2048, 256))
    joins = 2 * (2 * 256 + 1) * 256
    units = 2 * ((2048 + 1) * 2048 + 2 * 2048)
    classifiers = 2 * (2048 + 1) * 751
    assert sum(p.numel() for p in model.parameters()) == body + lstms + joins + units + classifiers
    with torch.device("meta"):
        assert model.backbone(torch.empty(1, 3, 256, 128)).shape == (1, 2048, 8, 4)
        output = DeepPersonModel().build(0)(torch.empty(2, 3, 256, 128))
    assert output.descriptor.shape == (2, 2048)
    assert model.layout[0].stop == 2048


def test_a_network_that_describes_takes_the_weights_of_one_that_was_trained():
    trained, describes = tiny(), tiny(num_ids=0)
    kept = {name: value for name, value in trained.state_dict().items() if "_classifiers." not in name}
    describes.load_state_dict(kept)
    with torch.no_grad():
        output = describes.eval()(images())
        torch.testing.assert_close(output.descriptor, trained.eval()(images()).descriptor)
    assert output.logits == ()


@pytest.mark.parametrize("backbone", ["resnet18-half", "resnet18"])
def test_small_backbones(backbone):
    model = DeepPersonModel(backbone=backbone, last_stride=1, num_parts=6, hidden=16, dim=32).build(4).eval()
    with torch.no_grad():
        output = model(torch.rand(2, 3, 96, 32))
    assert output.descriptor.shape == (2, model.backbone.out_channels)
    assert len(output.logits) == 2
