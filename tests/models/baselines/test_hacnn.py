from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from crosscam.losses import classification_loss
from crosscam.models.baselines.hacnn import (
    HACNN,
    HACNNModel,
    HardAttention,
    InceptionA,
    InceptionB,
    SoftAttention,
    crop_regions,
)


def tiny(num_ids: int = 3, **settings: object) -> HACNN:
    torch.manual_seed(0)
    return HACNN(num_ids, **{"channels": (16, 16, 32), "region": (8, 8), "dim": 6, **settings})


def images(count: int = 6, height: int = 64, width: int = 32) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def plain_sample(image: Tensor, y: float, x: float) -> float:
    """Bilinear value at a place in pixels, (0, 0) the middle of the first; zero outside."""
    top, left = math.floor(y), math.floor(x)
    value = 0.0
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column].item()
    return value


def test_regions_place_by_place():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 10, 6, generator=generator, dtype=torch.float64)
    centers = torch.rand(2, 4, 2, generator=generator, dtype=torch.float64) * 2 - 1
    regions = crop_regions(maps, centers, (5, 3))
    assert regions.shape == (2, 4, 3, 5, 3)
    for b, t, c, i, j in itertools.product(range(2), range(4), range(3), range(5), range(3)):
        # From -1 to 1 over the region, then over the map, then in pixels.
        u, v = (2 * i + 1) / 5 - 1, (2 * j + 1) / 3 - 1
        y, x = centers[b, t, 1].item() + u / 4, centers[b, t, 0].item() + v
        expected = plain_sample(maps[b, c], ((y + 1) * 10 - 1) / 2, ((x + 1) * 6 - 1) / 2)
        assert regions[b, t, c, i, j].item() == pytest.approx(expected, abs=1e-12)


def test_strips_of_a_map_are_cut_exactly():
    maps = torch.randn(2, 3, 8, 5)
    middles = torch.tensor([[0.0, -0.75], [0.0, -0.25], [0.0, 0.25], [0.0, 0.75]]).expand(2, 4, 2)
    regions = crop_regions(maps, middles, (2, 5))
    torch.testing.assert_close(torch.cat(regions.unbind(dim=1), dim=2), maps)


def test_regions_start_as_strips_whatever_the_image():
    torch.manual_seed(0)
    centers = HardAttention(5, 4)(torch.randn(3, 5, 4, 2))
    expected = [[0.0, math.tanh(middle)] for middle in (-0.75, -0.25, 0.25, 0.75)]
    assert centers.shape == (3, 4, 2)
    for image in centers.tolist():
        assert image == [pytest.approx(place) for place in expected]


def test_gradient_moves_the_regions():
    # The map grows to the right and downwards, so the sum over a region rises as its center moves there.
    maps = (torch.arange(8.0).view(1, 1, 8, 1) + torch.arange(8.0)).clone()
    centers = torch.tensor([[[-0.1, -0.2], [0.1, 0.2]]], requires_grad=True)
    (grad,) = torch.autograd.grad(crop_regions(maps, centers, (2, 2)).sum(), centers)
    assert (grad > 0).all()


def test_soft_attention_is_a_spatial_times_a_channel_factor():
    torch.manual_seed(0)
    soft, x = SoftAttention(16).train(), torch.randn(4, 16, 6, 4)
    found = []
    soft.mix.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    weights = soft(x)
    assert weights.shape == x.shape
    assert weights.min() == 0.5
    assert 0.7 < weights.max() < 1
    # Before the mixing, all places of an image have the same channels up to a factor.
    assert torch.linalg.matrix_rank(found[0].flatten(2), rtol=1e-4).tolist() == [1] * 4
    # The paper: 10 numbers in the convolutions of the spatial factor, 2 C^2 / 16 in the channel factor's.
    assert soft.shrink[0].weight.numel() + soft.scale[0].weight.numel() == 10
    assert sum(p.numel() for p in soft.excite.parameters() if p.dim() == 4) == 2 * 16 * 16 // 16


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 3)])
def test_inception_sizes(height, width):
    x = torch.randn(2, 8, height, width)
    assert InceptionA(8, 16)(x).shape == (2, 16, height, width)
    assert InceptionB(8, 16)(x).shape == (2, 16, (height + 1) // 2, (width + 1) // 2)


def test_regions_of_a_level_join_those_of_the_level_before():
    model = tiny().eval()
    level = model.levels[1]
    x, before = torch.randn(2, 16, 8, 4), torch.randn(2, 4, 16, 4, 4)
    out, regions = level(x, before, (99, 99))
    y = level.inception(x)
    torch.testing.assert_close(out, y * level.soft(y))
    cropped = crop_regions(x, level.hard(y), (4, 4))
    for t in range(4):
        torch.testing.assert_close(regions[:, t], level.local(cropped[:, t] + before[:, t]))
    first, _ = model.levels[0](torch.randn(2, 32, 16, 8), None, (8, 8))
    assert first.shape == (2, 16, 8, 4)


def test_descriptor_has_two_halves_of_length_one():
    model = tiny().eval()
    output = model(images())
    assert [e.shape for e in output.embeddings] == [(6, 6), (6, 6)]
    for embedding in output.embeddings:
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(6))
    assert [(b.name, b.start, b.stop) for b in model.layout] == [("global", 0, 6), ("regions", 6, 12)]
    assert [logit.shape for logit in output.logits] == [(6, 3), (6, 3)]


def test_gradient_reaches_every_parameter_and_training_lowers_the_loss():
    model, pids = tiny().train(), torch.tensor([0, 0, 1, 1, 2, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses, touched = [], set()
    for _ in range(15):
        loss = classification_loss(model(images()), pids).total
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        touched |= {n for n, p in model.named_parameters() if p.grad.abs().sum() > 0}
        optimizer.step()
        losses.append(loss.item())
    assert touched == {n for n, _ in model.named_parameters()}
    assert losses[0] == pytest.approx(2 * math.log(3), abs=0.1)
    assert losses[-1] < 0.7 * losses[0]


def test_bf16_trains():
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = classification_loss(model(images()), torch.tensor([0, 0, 1, 1, 2, 2])).total
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(("height", "width"), [(64, 32), (50, 30)])
def test_batched_equals_single(height, width):
    model, batch = tiny().eval(), images(3, height, width)
    with torch.no_grad():
        together = model(batch)
        single = [model(batch[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together.descriptor, torch.cat([s.descriptor for s in single]))


def inception(inputs: int, outputs: int) -> int:
    """Parameters of either unit: weights, and two numbers for each channel that is normalized, 7 quarters of C'."""
    return inputs * outputs + 27 * (outputs // 4) ** 2 + 2 * 7 * (outputs // 4)


def test_lengths_and_parameters():
    """Layers as in torchreid's ``hacnn``, less the biases before batch normalizations.

    The paper counts 2.7 M in all; these layers have 2.9 M, of which 1.0 M are the two linear layers at the end.
    """
    with torch.device("meta"):
        model = HACNNModel().build(0)
        output = model(torch.empty(2, 3, 160, 64))
        trained = HACNNModel().build(751)
    assert output.descriptor.shape == (2, 1024)
    assert output.logits == ()
    expected = 3 * 32 * 9 + 2 * 32
    for before, c in ((32, 128), (128, 256), (256, 384)):
        expected += inception(before, c) + inception(c, c) + inception(before, c)
        expected += (9 + 2) + (1 + 2) + 2 * c * c // 16 + 2 * (c // 16 + c) + c * c + 2 * c
        expected += (c + 1) * 8
    expected += (384 + 1) * 512 + 2 * 512 + (4 * 384 + 1) * 512 + 2 * 512
    count = sum(p.numel() for p in model.parameters())
    assert count == expected
    assert 2.7e6 < count < 3.0e6
    assert sum(p.numel() for p in trained.parameters()) == expected + 2 * (512 + 1) * 751


def test_sizes_that_cannot_be_built_are_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        HACNN(3, channels=(100, 256, 384))
    with pytest.raises(ValueError, match="at least 1 region"):
        HACNN(3, num_regions=0)
