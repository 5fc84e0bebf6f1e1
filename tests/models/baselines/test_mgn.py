from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from crosscam.losses import batch_hard_triplet, mgn_loss
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet, ResNetShape
from crosscam.models.baselines.mgn import MGN, BranchedBackbone, MGNModel
from crosscam.models.output import ReidOutput
from small_models import parameters

TINY = ResNetShape("basic", (1, 1, 2, 1), 4, (4, 4, 8, 8), (4, 4, 8, 8))


def tiny(num_ids: int = 4, **settings: object) -> MGN:
    torch.manual_seed(0)
    return MGN(ResNet(TINY, last_stride=2), num_ids, **{"dim": 5, **settings})


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 96, 32, generator=torch.Generator().manual_seed(1))


def test_length_of_table_1_and_layout():
    with torch.device("meta"):
        model = MGNModel().build(751)
        maps = model.backbone(torch.empty(2, 3, 384, 128))
        output = model(torch.empty(2, 3, 384, 128))
    # Table 1 of the paper.
    assert [tuple(m.shape) for m in maps] == [(2, 2048, 12, 4), (2, 2048, 24, 8), (2, 2048, 24, 8)]
    assert output.descriptor.shape == (2, 2048)
    assert [tuple(logit.shape) for logit in output.logits] == [(2, 751)] * 8
    assert [(b.start, b.stop) for b in model.layout] == [(256 * i, 256 * i + 256) for i in range(8)]
    names = ["p1.global", "p2.global", "p3.global", "p2.local1", "p2.local2", "p3.local1", "p3.local2", "p3.local3"]
    assert [b.name for b in model.layout] == names
    assert [b.rows for b in model.layout[3:6]] == [(0, 1 / 2), (1 / 2, 1), (0, 1 / 3)]


# Layers of a ResNet-50: its first convolution with normalization, stages 1 and 2, the first block of stage 3; the
# other five blocks of stage 3, and stage 4.
TRUNK = (9_408 + 128) + 215_808 + 1_219_584 + 1_512_448
BRANCH = 5 * 1_117_184 + 14_964_736
REDUCTION = 2048 * 256 + 2 * 256


# The layers of seathiefwang/MGN-pytorch: eight reductions without bias, eight classifiers of the reduced features.
def test_parameters_of_the_public_code():
    with torch.device("meta"):
        model = MGNModel(global_classifiers="reduced", classifier_bias=True).build(751)
    assert parameters(model.backbone.trunk) == TRUNK
    assert [parameters(branch) for branch in model.backbone.branches] == [BRANCH] * 3
    assert [parameters(m) for m in (*model.global_reductions, *model.part_reductions)] == [REDUCTION] * 8
    assert [parameters(m) for m in (*model.global_classifiers, *model.part_classifiers)] == [256 * 751 + 751] * 8
    assert parameters(model) == TRUNK + 3 * BRANCH + 8 * REDUCTION + 8 * (256 * 751 + 751)


# The paper's text: global classifiers see 2,048 numbers, and no classifier has a bias. (levyfan/reid-mgn has the same
# classifiers with biases, 751 more each.)
def test_parameters_of_the_paper():
    with torch.device("meta"):
        model, biased = MGNModel().build(751), MGNModel(classifier_bias=True).build(751)
    assert parameters(model) == TRUNK + 3 * BRANCH + 8 * REDUCTION + 3 * 2048 * 751 + 5 * 256 * 751
    assert parameters(biased) == parameters(model) + 8 * 751


def naive_unit(unit: nn.Module, pooled: list[float]) -> list[float]:
    """Linear layer, normalization by the running statistics, and ReLU, number by number."""
    linear, norm, _ = unit
    result = []
    for c, weights in enumerate(linear.weight.tolist()):
        y = sum(w * v for w, v in zip(weights, pooled, strict=True))
        y = (y - norm.running_mean[c].item()) / math.sqrt(norm.running_var[c].item() + norm.eps)
        result.append(max(0.0, y * norm.weight[c].item() + norm.bias[c].item()))
    return result


@pytest.mark.parametrize("kind", ["pooled", "reduced"])
def test_against_naive_slices(kind):
    model = tiny(global_classifiers=kind, classifier_bias=True).eval()
    for unit in (*model.global_reductions, *model.part_reductions):
        nn.init.normal_(unit[1].running_mean)
        nn.init.uniform_(unit[1].running_var, 0.5, 2)
    with torch.no_grad():
        maps, output = model.backbone(images()), model(images())
    slices = [(0, 0, 1), (1, 0, 1), (2, 0, 1), (1, 0, 2), (1, 1, 2), (2, 0, 3), (2, 1, 3), (2, 2, 3)]
    units = (*model.global_reductions, *model.part_reductions)
    classifiers = (*model.global_classifiers, *model.part_classifiers)
    for k, (branch, stripe, count) in enumerate(slices):
        for b in range(3):
            rows = maps[branch].shape[2] // count
            part = maps[branch][b, :, stripe * rows : (stripe + 1) * rows]
            pooled = [max(v for row in channel for v in row) for channel in part.tolist()]
            reduced = naive_unit(units[k], pooled)
            assert output.embeddings[k][b].tolist() == pytest.approx(reduced, abs=1e-5)
            seen = pooled if kind == "pooled" and k < 3 else reduced
            weight, bias = classifiers[k].weight.tolist(), classifiers[k].bias.tolist()
            logits = [
                sum(w * v for w, v in zip(row, seen, strict=True)) + c for row, c in zip(weight, bias, strict=True)
            ]
            assert output.logits[k][b].tolist() == pytest.approx(logits, abs=1e-5)


def test_branches_start_alike_and_part():
    resnet = build_backbone("resnet18-half", last_stride=2).eval()
    x = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = resnet(x)
        branched = BranchedBackbone(resnet, 3).eval()
        first, second, third = branched(x)
    assert torch.equal(first, expected)
    assert torch.equal(second, third)
    assert second.shape[2:] == (4, 2)
    assert first.shape[2:] == (2, 1)
    # The weights of the branches are copies: one learns without the others.
    weights = [next(branch.parameters()) for branch in branched.branches]
    assert all(torch.equal(w, weights[0]) for w in weights)
    assert len({w.data_ptr() for w in weights}) == 3


def test_a_backbone_of_the_wrong_stride_is_refused():
    with pytest.raises(ValueError, match="needs last_stride=2"):
        MGN(ResNet(TINY, last_stride=1), 0)


def test_bad_arguments():
    with pytest.raises(ValueError, match="Known: pooled, reduced"):
        tiny(global_classifiers="all")
    with pytest.raises(ValueError, match="expected different numbers of stripes"):
        tiny(scales=(2, 2))
    with pytest.raises(ValueError, match="cannot be cut into 3"):
        tiny()(torch.zeros(1, 3, 64, 32))


@pytest.mark.parametrize("kind", ["pooled", "reduced"])
def test_training_lowers_the_loss_and_reaches_all_parameters(kind):
    model, pids = tiny(global_classifiers=kind).train(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(10):
        optimizer.zero_grad()
        loss = mgn_loss(model(images(8)), pids)
        loss.total.backward()
        if step == 1:
            assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in model.parameters())
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.8 * losses[0]


def test_loss_takes_means_of_the_globals_and_of_all_classifiers():
    generator = torch.Generator().manual_seed(0)
    embeddings = tuple(torch.randn(6, 4, generator=generator) for _ in range(8))
    logits = tuple(torch.randn(6, 3, generator=generator) for _ in range(8))
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = mgn_loss(ReidOutput(embeddings, logits), pids)
    triplet = sum(batch_hard_triplet(e, pids, 1.2).item() for e in embeddings[:3]) / 3
    ce = 0.0
    for scores in logits:
        for row, pid in zip(scores.tolist(), pids.tolist(), strict=True):
            ce += (math.log(sum(math.exp(s) for s in row)) - row[pid]) / (6 * 8)
    assert loss.triplet.item() == pytest.approx(triplet, rel=1e-5)
    assert loss.cross_entropy.item() == pytest.approx(ce, rel=1e-5)
    assert loss.total.item() == pytest.approx(triplet + ce, rel=1e-5)


def test_keys_of_the_classifiers_can_be_left_out():
    trained, describing = tiny(), tiny(num_ids=0)
    describing.load_state_dict({k: v for k, v in trained.state_dict().items() if "_classifiers." not in k})
    assert torch.equal(trained.eval()(images()).descriptor, describing.eval()(images()).descriptor)


def test_starts_from_the_weights_of_a_file(tmp_path):
    state = build_backbone("resnet18-half").state_dict()
    save_file(state, tmp_path / "imagenet.safetensors")
    model = MGNModel(backbone="resnet18-half", pretrained=str(tmp_path / "imagenet.safetensors")).build(3)
    for branch in model.backbone.branches:
        loaded = branch[1].state_dict()
        assert all(torch.equal(v, state[f"layer4.{k}"]) for k, v in loaded.items())
    assert torch.equal(model.backbone.trunk[0].weight, state["conv1.weight"])
