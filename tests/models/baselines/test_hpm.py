from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from crosscam.losses import classification_loss
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines.hpm import HPM, HPMModel, pyramid_pool
from small_models import TINY_SHAPE, parameters


def tiny(num_ids: int = 4, **settings: object) -> HPM:
    torch.manual_seed(0)
    return HPM(ResNet(TINY_SHAPE), num_ids, **{"dim": 5, **settings})


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 128, 32, generator=torch.Generator().manual_seed(1))


def test_length_of_table_1_and_layout():
    with torch.device("meta"):
        model = HPMModel().build(751)
        output = model(torch.empty(2, 3, 384, 128))
    assert output.descriptor.shape == (2, 3840)
    assert [tuple(logit.shape) for logit in output.logits] == [(2, 751)] * 15
    assert [(b.start, b.stop) for b in model.layout] == [(256 * i, 256 * i + 256) for i in range(15)]
    names = [f"p{n}.local{i}" for n in (2, 4, 8) for i in range(1, n + 1)]
    assert [b.name for b in model.layout] == ["p1.global", *names]
    assert [b.kind for b in model.layout] == ["global"] + ["local"] * 14
    assert [b.rows for b in model.layout[:4]] == [(0, 1), (0, 0.5), (0.5, 1), (0, 0.25)]


# Layers of SHI-Labs/Horizontal-Pyramid-Matching, the authors' code: a ResNet-50 without its classifier, and for each
# of 1 + 2 + 4 + 8 parts a 1x1 convolution without bias, its normalization, and a classifier without bias.
def test_parameters_of_the_authors_code():
    with torch.device("meta"):
        model = HPMModel().build(751)
    assert parameters(model.backbone) == 23_508_032
    assert [parameters(unit) for unit in model.reductions] == [2048 * 256 + 2 * 256] * 15
    assert [parameters(fc) for fc in model.part_classifiers] == [256 * 751] * 15
    assert parameters(model) == 23_508_032 + 15 * (2048 * 256 + 2 * 256 + 256 * 751)


def test_pyramid_against_naive_slices():
    feature_map = torch.randn(2, 3, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = pyramid_pool(feature_map, (1, 2, 4, 8))
    assert found.shape == (2, 15, 3)
    part = 0
    for n in (1, 2, 4, 8):
        for i in range(n):
            for b in range(2):
                for c in range(3):
                    rows = feature_map[b, c].tolist()[i * 8 // n : (i + 1) * 8 // n]
                    values = [v for row in rows for v in row]
                    expected = sum(values) / len(values) + max(values)
                    assert float(found[b, part, c]) == pytest.approx(expected, rel=1e-12)
            part += 1


def test_each_part_has_its_own_unit_and_classifier():
    model = tiny().eval()
    with torch.no_grad():
        before = model(images())
        model.reductions[4][0].weight.mul_(-3)
        model.part_classifiers[2].weight.mul_(2)
        after = model(images())
    changed = [not torch.equal(a, b) for a, b in zip(before.embeddings, after.embeddings, strict=True)]
    assert [i for i, c in enumerate(changed) if c] == [4]
    changed = [not torch.equal(a, b) for a, b in zip(before.logits, after.logits, strict=True)]
    assert [i for i, c in enumerate(changed) if c] == [2, 4]
    torch.testing.assert_close(after.logits[2], 2 * before.logits[2])


def test_a_block_sees_its_rows_alone():
    model = tiny().eval()
    model.backbone = nn.Identity()
    feature_map = torch.rand(1, 8, 8, 2, requires_grad=True)
    output = model(feature_map)
    seen = 0
    for block, embedding in zip(model.layout, output.embeddings, strict=True):
        (grad,) = torch.autograd.grad(embedding.sum(), feature_map, retain_graph=True)
        rows = torch.nonzero(grad.abs().sum(dim=(0, 1, 3))).flatten().tolist()
        if rows:
            # The average spreads over all rows of the stripe.
            assert rows == list(range(round(block.rows[0] * 8), round(block.rows[1] * 8)))
            seen += 1
    assert seen >= 10


def test_training_lowers_the_loss_and_reaches_all_parameters():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(16):
        optimizer.zero_grad()
        loss = classification_loss(model(images(8)), pids)
        loss.total.backward()
        if step == 1:
            assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in model.parameters())
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[0] == pytest.approx(15 * math.log(4), rel=0.01)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("scales", [(), (2, 2), (0, 1)])
def test_bad_scales(scales):
    with pytest.raises(ValueError, match="expected different numbers of stripes"):
        tiny(scales=scales)


def test_stripes_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match="12 rows cannot be cut into 8"):
        tiny()(torch.zeros(1, 3, 192, 32))
