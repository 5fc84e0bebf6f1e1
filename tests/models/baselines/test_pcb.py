from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from crosscam.losses import classification_loss
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.pcb import PCB, PCBRPP, PCBModel, refined_pool
from crosscam.models.stripes import pool_stripes
from small_models import TINY_SHAPE, parameters

SYSTEMS = (PCB, PCBRPP)


def tiny(system: type, num_ids: int = 4, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return system(ResNet(TINY_SHAPE), num_ids, **{"dim": 5, "dropout": 0.0, **settings})


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 96, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("system", SYSTEMS)
def test_length_of_table_1_and_layout(system):
    with torch.device("meta"):
        model = PCBModel(refined=system is PCBRPP).build(751)
        assert isinstance(model, system)
        output = model(torch.empty(2, 3, 384, 128))
    assert output.descriptor.shape == (2, 1536)
    assert [tuple(logit.shape) for logit in output.logits] == [(2, 751)] * 6
    assert [(b.start, b.stop) for b in model.layout] == [(256 * i, 256 * i + 256) for i in range(6)]
    assert [b.name for b in model.layout] == [f"p6.local{i}" for i in range(1, 7)]
    assert [b.rows for b in model.layout] == [(i / 6, (i + 1) / 6) for i in range(6)]


# Layers of syfafterzy/PCB_RPP_for_reID (the first author's code; torchreid's pcb_p6 is the same): a ResNet-50 without
# its classifier, one 1x1 convolution without bias and its normalization, six classifiers with bias.
def test_parameters_of_the_first_authors_code():
    with torch.device("meta"):
        model, refined = PCBModel().build(751), PCBModel(refined=True).build(751)
    assert parameters(model.backbone) == 23_508_032
    reduction = 2048 * 256 + 2 * 256
    classifiers = 6 * (256 * 751 + 751)
    assert parameters(model.head.reductions) == reduction
    assert parameters(model.head.part_classifiers) == classifiers
    assert parameters(model) == 23_508_032 + reduction + classifiers
    # Refined part pooling adds one linear layer from 2,048 channels to six parts.
    assert parameters(refined) == parameters(model) + 2048 * 6 + 6


# huanghoujing/beyond-part-models has a reduction for each stripe, with a bias that its normalization takes away again.
def test_parameters_with_a_reduction_for_each_stripe():
    with torch.device("meta"):
        model = PCBModel(shared_reduction=False).build(751)
    theirs = 6 * (2048 * 256 + 256 + 2 * 256) + 6 * (256 * 751 + 751)
    assert parameters(model.head) == theirs - 6 * 256


@pytest.mark.parametrize("shared", [True, False])
def test_against_naive_slices(shared):
    model = tiny(PCB, shared_reduction=shared).eval()
    for unit in model.head.reductions:
        nn.init.normal_(unit[1].running_mean)
        nn.init.uniform_(unit[1].running_var, 0.5, 2)
    with torch.no_grad():
        feature_map, output = model.backbone(images()), model(images())
    height = feature_map.shape[2] // 6
    for i in range(6):
        linear, norm, _ = model.head.reductions[0 if shared else i]
        for b in range(3):
            stripe = feature_map[b, :, i * height : (i + 1) * height]
            pooled = [float(channel.sum()) / channel.numel() for channel in stripe]
            for c in range(5):
                y = sum(w * v for w, v in zip(linear.weight[c].tolist(), pooled, strict=True))
                y = (y - float(norm.running_mean[c])) / math.sqrt(float(norm.running_var[c]) + norm.eps)
                assert float(output.embeddings[i][b, c]) == pytest.approx(max(0.0, y), abs=1e-5)
            k = 2
            weight, bias = model.head.part_classifiers.weight[i, :, k], model.head.part_classifiers.bias[i, k]
            expected = (output.embeddings[i][b] @ weight + bias).item()
            assert float(output.logits[i][b, k]) == pytest.approx(expected, abs=1e-6)


def test_assignments_sum_to_one():
    model = tiny(PCBRPP)
    nn.init.normal_(model.assignment.weight, std=3)
    with torch.no_grad():
        shares = model.soft_assignment(model.backbone(images()))
    assert shares.shape == (3, 6, 6, 2)
    assert float(shares.min()) >= 0
    assert float(shares.max()) > 0.5
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3, 6, 2))


def test_refined_pool_against_loops():
    generator = torch.Generator().manual_seed(3)
    feature_map = torch.randn(2, 4, 6, 3, generator=generator)
    shares = torch.softmax(torch.randn(2, 3, 6, 3, generator=generator), dim=1)
    found = refined_pool(feature_map, shares)
    for b in range(2):
        for p in range(3):
            expected = torch.zeros(4)
            for y in range(6):
                for x in range(3):
                    expected += shares[b, p, y, x] * feature_map[b, :, y, x]
            torch.testing.assert_close(found[b, p], expected * 3 / 18)


def test_stripes_are_a_special_case_of_refined_pooling():
    feature_map = torch.randn(2, 4, 12, 3, generator=torch.Generator().manual_seed(3))
    rows = torch.arange(12) // 2
    owns = (rows == torch.arange(6).unsqueeze(1)).float()[None, :, :, None].expand(2, 6, 12, 3)
    torch.testing.assert_close(refined_pool(feature_map, owns), pool_stripes(feature_map, 6, "avg"))


def test_weights_of_pcb_load_and_describe_the_same_in_the_first_stage():
    plain, refined = tiny(PCB).eval(), tiny(PCBRPP).eval()
    nn.init.normal_(refined.assignment.weight, std=3)
    result = refined.load_state_dict(plain.state_dict(), strict=False)
    assert set(result.missing_keys) == {"assignment.weight", "assignment.bias", "refined"}
    assert result.unexpected_keys == []
    assert not torch.allclose(refined(images()).descriptor, plain(images()).descriptor, atol=1e-3)
    refined.begin_stage("stripes")
    assert torch.equal(refined(images()).descriptor, plain(images()).descriptor)


def test_the_weights_tell_which_pooling_is_in_use():
    trained = tiny(PCBRPP).eval()
    nn.init.normal_(trained.assignment.weight, std=3)
    trained.begin_stage("stripes")
    loaded = tiny(PCBRPP, num_ids=0).eval()
    loaded.load_state_dict({k: v for k, v in trained.state_dict().items() if "_classifiers." not in k})
    assert torch.equal(loaded(images()).descriptor, trained(images()).descriptor)


@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        ("stripes", {"backbone", "head"}),
        ("assignment", {"assignment"}),
        ("everything", {"backbone", "head", "assignment"}),
    ],
)
def test_what_each_stage_trains(stage, trained):
    model = tiny(PCBRPP)
    model.begin_stage(stage)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5e-4)
    for _ in range(2):
        optimizer.zero_grad()
        classification_loss(model(images(4)), torch.arange(4)).total.backward()
        optimizer.step()
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == trained
    unmoved = [k for k, p in model.named_parameters() if k.split(".")[0] in trained and torch.equal(p, before[k])]
    assert unmoved == []


def test_each_step_of_induced_training_lowers_the_loss():
    model, pids = tiny(PCBRPP), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    spread = []
    for stage, rate in (("stripes", 0.05), ("assignment", 0.02), ("everything", 0.01)):
        model.begin_stage(stage)
        model.train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9)
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = classification_loss(model(images(8)), pids)
            loss.total.backward()
            optimizer.step()
            losses.append(loss.total.item())
        assert losses[-1] < losses[0]
        with torch.no_grad():
            spread.append(model.soft_assignment(model.backbone(images(8))).std(dim=1).mean().item())
    # The parts begin alike everywhere, and come apart once the assignment is trained.
    assert spread[0] < 0.01 < spread[1]


def test_layers_that_stand_still_do_so_after_a_change_of_mode():
    model = tiny(PCBRPP, dropout=0.5)
    model.begin_stage("assignment")
    model.eval().train()
    assert model.training
    assert not any(m.training for part in (model.backbone, model.head) for m in part.modules())
    model.begin_stage("everything")
    assert all(m.training for m in model.modules())
    with pytest.raises(ValueError, match="Unknown stage 'last'"):
        model.begin_stage("last")


@pytest.mark.parametrize("system", SYSTEMS)
def test_training_lowers_the_loss_and_reaches_all_parameters(system):
    model, pids = tiny(system).train(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = classification_loss(model(images(8)), pids)
        loss.total.backward()
        if step == 1:  # The classifiers' zero-mean tiny weights pass almost nothing on in the first step.
            assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in model.parameters())
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[0] == pytest.approx(6 * math.log(4), rel=0.01)
    assert losses[-1] < 0.7 * losses[0]


def test_dropout_changes_training_alone():
    model = tiny(PCB, dropout=0.5)
    assert torch.equal(model.eval()(images()).descriptor, model(images()).descriptor)
    model.train()
    assert not torch.equal(model(images()).descriptor, model(images()).descriptor)


def test_stripes_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match="cannot be cut into 6"):
        tiny(PCB)(torch.zeros(1, 3, 64, 32))
    with pytest.raises(ValueError, match="num_parts=0"):
        PCB(build_backbone("resnet18-half"), 0, num_parts=0)
