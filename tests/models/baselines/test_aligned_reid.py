from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from crosscam.losses import aligned_reid_loss, hard_pairs
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.baselines import aligned_reid
from crosscam.models.baselines.aligned_reid import (
    AlignedReID,
    AlignedReIDModel,
    aligned_distances,
    local_distances,
    part_costs,
    shortest_path,
)
from crosscam.models.output import ReidOutput
from small_models import TINY_SHAPE


def tiny(num_ids: int = 3, **settings: object) -> AlignedReID:
    torch.manual_seed(0)
    return AlignedReID(ResNet(TINY_SHAPE), num_ids, **{"num_parts": 4, "local_dim": 5, **settings})


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def people(count: int, parts: int = 4, dim: int = 5, seed: int = 0) -> Tensor:
    return normalize(torch.randn(count, parts, dim, generator=torch.Generator().manual_seed(seed)), dim=2)


def plain_shortest_path(costs: list[list[float]]) -> float:
    """The paper's recursion for one pair, cell by cell."""
    table = [[0.0] * len(costs[0]) for _ in costs]
    for i, row in enumerate(costs):
        for j, cost in enumerate(row):
            before = [table[i - 1][j]] if i else []
            before += [table[i][j - 1]] if j else []
            table[i][j] = cost + (min(before) if before else 0.0)
    return table[-1][-1]


def cheapest_of_all_ways(costs: list[list[float]]) -> float:
    """Every way from corner to corner, tried out."""
    down, right = len(costs) - 1, len(costs[0]) - 1
    best = math.inf
    for downs in itertools.combinations(range(down + right), down):
        i = j = 0
        total = costs[0][0]
        for step in range(down + right):
            i, j = (i + 1, j) if step in downs else (i, j + 1)
            total += costs[i][j]
        best = min(best, total)
    return best


@pytest.mark.parametrize("shape", [(7, 8, 8), (3, 2, 5, 6), (4, 1, 1), (2, 3, 1, 4), (3, 4, 1)])
def test_shortest_path_is_the_plain_dynamic_program(shape):
    costs = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = shortest_path(costs)
    assert found.shape == shape[:-2]
    for index in itertools.product(*map(range, shape[:-2])):
        assert found[index].item() == pytest.approx(plain_shortest_path(costs[index].tolist()), abs=1e-12)


def test_shortest_path_is_the_cheapest_of_all_ways():
    costs = torch.rand(20, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = [cheapest_of_all_ways(pair.tolist()) for pair in costs]
    assert shortest_path(costs).tolist() == pytest.approx(expected, abs=1e-12)


def test_shortest_path_sends_its_gradient_along_the_way():
    costs = torch.tensor([[1.0, 9.0, 9.0], [1.0, 1.0, 9.0], [9.0, 1.0, 1.0]], requires_grad=True)
    total = shortest_path(costs)
    (grad,) = torch.autograd.grad(total, costs)
    assert total.item() == 5
    assert grad.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]


def test_part_costs_pair_by_pair():
    x, y = people(3).double(), people(3, parts=6, seed=1).double()
    costs = part_costs(x, y)
    assert costs.shape == (3, 4, 6)
    for n, i, j in itertools.product(range(3), range(4), range(6)):
        e = math.exp(math.dist(x[n, i].tolist(), y[n, j].tolist()))
        assert costs[n, i, j].item() == pytest.approx((e - 1) / (e + 1), abs=1e-9)


def test_local_distances_are_those_of_the_single_pairs(monkeypatch):
    query, gallery = people(7), people(9, seed=1)
    expected = [[plain_shortest_path(part_costs(q, g).tolist()) for g in gallery] for q in query]
    # Blocks that divide neither the queries nor the gallery.
    monkeypatch.setattr(aligned_reid, "BLOCK_QUERIES", 3)
    monkeypatch.setattr(aligned_reid, "BLOCK_ELEMENTS", 3 * 4 * 4 * 2)
    assert local_distances(query, gallery).tolist() == [pytest.approx(row, abs=1e-5) for row in expected]


def test_alignment_finds_a_shifted_person_where_rows_do_not():
    person, other = people(20, parts=8, dim=32), people(20, parts=8, dim=32, seed=1)
    shifted = torch.cat((person[:, :1], person[:, :-1]), dim=1)

    def row_by_row(x: Tensor, y: Tensor) -> float:
        return part_costs(x, y)[:, range(1, 8), range(1, 8)].mean().item()

    assert row_by_row(person, shifted) == pytest.approx(row_by_row(person, other), rel=0.1)
    aligned = local_distances(person, shifted).diagonal().mean().item()
    assert aligned < 0.7 * local_distances(person, other).diagonal().mean().item()


def test_local_distances_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"Expected \(Q, P, d\)"):
        local_distances(people(2), people(2, dim=6))


def test_kept_local_features_enter_the_distance():
    model = tiny(keep_local=True).eval()
    assert [b.name for b in model.layout] == ["global", "local1", "local2", "local3", "local4"]
    assert [(b.start, b.stop) for b in model.layout] == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 40)]
    assert model.layout[2].rows == (0.25, 0.5)
    with torch.no_grad():
        output = model(images())
        maps = model.backbone(images())
    assert output.descriptor.shape == (6, 40)
    # The stripes of the map itself, as in the authors' test; the training's projected ones are in the extras.
    raw = [[normalize(rows.amax(dim=(1, 2)), dim=0) for rows in one.chunk(4, dim=1)] for one in maps]
    # Descriptors come normalized as a whole, which the distance must undo.
    d = normalize(output.descriptor)
    distances = aligned_distances(d[:2], d[2:], model.layout)
    whole = normalize(output.embeddings[0])
    for q, g in itertools.product(range(2), range(4)):
        costs = part_costs(torch.stack(raw[q]), torch.stack(raw[2 + g])).tolist()
        local = plain_shortest_path(costs)
        expected = (whole[q] - whole[2 + g]).square().sum().item() + local
        assert distances[q, g].item() == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="keep_local=True"):
        aligned_distances(d, d, tiny().layout)
    with pytest.raises(ValueError, match="the layout has 40"):
        aligned_distances(d[:, :39], d[:, :39], model.layout)


def test_local_features_follow_the_stripes():
    model = tiny().eval()
    features = torch.rand(2, 8, 4, 3)
    model.backbone = torch.nn.Identity()
    # Statistics that bring some of the stripes' maxima below zero.
    model.local_norm.running_mean.fill_(0.8)
    output = model(features)
    normed = torch.relu(model.local_norm(features))
    for b, row in itertools.product(range(2), range(4)):
        strip = torch.stack([normed[b, c, row].max() for c in range(8)])
        torch.testing.assert_close(output.extras["local"][b, row], normalize(model.local_project(strip), dim=0))
        torch.testing.assert_close(output.embeddings[0][b], features[b].mean(dim=(1, 2)))


def plain_loss(output: ReidOutput, pids: list[int], margin: float) -> tuple[float, float]:
    """Both triplet losses, anchor by anchor."""
    x, local = output.embeddings[0], output.extras["local"]
    of_global = of_local = 0.0
    for a in range(len(pids)):
        gaps = [(x[a] - x[b]).norm().item() for b in range(len(pids))]
        p = max((b for b in range(len(pids)) if pids[b] == pids[a]), key=lambda b: gaps[b])
        n = min((b for b in range(len(pids)) if pids[b] != pids[a]), key=lambda b: gaps[b])
        of_global += max(0.0, gaps[p] - gaps[n] + margin)
        way = [plain_shortest_path(part_costs(local[a], local[b]).tolist()) for b in (p, n)]
        of_local += max(0.0, way[0] - way[1] + margin)
    return of_global / len(pids), of_local / len(pids)


def test_loss_anchor_by_anchor():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2])
    output = model(images())
    loss = aligned_reid_loss(output, pids, 0.4, 0.5, label_smoothing=0.1)
    of_global, of_local = plain_loss(output, pids.tolist(), 0.4)
    ce = cross_entropy(output.logits[0], pids, label_smoothing=0.1).item()
    assert of_local > 0
    assert loss.triplet.item() == pytest.approx(of_global + of_local, rel=1e-4)
    assert loss.cross_entropy.item() == pytest.approx(ce, rel=1e-5)
    assert loss.total.item() == pytest.approx(of_global + of_local + 0.5 * ce, rel=1e-4)


def test_loss_without_negatives_or_positives_is_finite():
    output = tiny().train()(images())
    alone = aligned_reid_loss(output, torch.zeros(6, dtype=torch.long), 0.3)
    assert alone.triplet.item() == 0
    lonely = aligned_reid_loss(output, torch.tensor([0, 1, 1, 2, 2, 2]), 0.3)
    lonely.total.backward()
    assert torch.isfinite(lonely.total)
    with pytest.raises(ValueError, match="local"):
        aligned_reid_loss(ReidOutput(output.embeddings, output.logits), torch.zeros(6, dtype=torch.long))


def test_hard_pairs_by_hand():
    x = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    positive, negative, has_negative = hard_pairs(x, torch.tensor([0, 0, 0, 1]))
    assert positive.tolist() == [2, 2, 0, 3]
    assert negative.tolist() == [3, 3, 3, 2]
    assert has_negative.tolist() == [True] * 4


def test_gradient_reaches_every_parameter_and_training_lowers_the_loss():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        loss = aligned_reid_loss(model(images()), pids).total
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_lengths_and_parameters_of_the_paper():
    """The authors' code: ResNet-50, a batch normalization of 2,048 channels and 2,048 x 128 weights with bias."""
    with torch.device("meta"):
        model = AlignedReIDModel().build(751)
        output = model(torch.empty(2, 3, 256, 128))
    assert output.descriptor.shape == (2, 2048)
    assert output.extras["local"].shape == (2, 8, 128)
    assert [logit.shape for logit in output.logits] == [(2, 751)]
    with torch.device("meta"):
        body = sum(p.numel() for p in build_backbone("resnet50").parameters())
    head = 2 * 2048 + (2048 + 1) * 128 + (2048 + 1) * 751
    assert sum(p.numel() for p in model.parameters()) == body + head


@pytest.mark.parametrize("backbone", ["resnet18-half", "resnet18"])
def test_small_backbones_and_no_classifiers(backbone):
    with torch.device("meta"):
        model = AlignedReIDModel(backbone=backbone, last_stride=1, num_parts=6).build(0)
        output = model(torch.empty(2, 3, 96, 48))
    assert output.descriptor.shape == (2, model.backbone.out_channels)
    assert output.logits == ()
    assert not any("_classifiers." in name for name in model.state_dict())
