"""Blocks that are whitened one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscam.models.backbones.resnet import ResNet
from crosscam.models.rrid import RRID, VARIANCE_FLOOR, BlockProjection, RRIDModel
from small_models import TINY_SHAPE


def correlated(count: int, num_blocks: int, dim: int) -> Tensor:
    """Descriptors of length 1 whose numbers depend on each other and do not lie around zero."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(count, num_blocks * dim, generator=generator, dtype=torch.float64)
    mixing = torch.randn(num_blocks * dim, num_blocks * dim, generator=generator, dtype=torch.float64)
    return normalize(mixed @ mixing + 3, dim=1)


def test_projected_blocks_are_uncorrelated_and_of_equal_variance() -> None:
    found = correlated(2000, 3, 8)
    projection = BlockProjection(3, 8, 4).double()
    projection.fit(found)
    for block, seen in zip(projection(tuple(found.split(8, dim=1))), found.split(8, dim=1), strict=True):
        assert block.shape == (2000, 4)
        assert block.mean(dim=0).abs().max() < 1e-9
        covariance = torch.cov(block.T)
        # By numpy's other way to the same variances: singular values.
        variances = torch.linalg.svdvals(seen - seen.mean(dim=0))[:4].square() / 1999
        floor = VARIANCE_FLOOR * torch.cov(seen.T).diagonal().mean()
        torch.testing.assert_close(covariance, torch.diag(variances / (variances + floor)), rtol=1e-6, atol=1e-9)


def test_without_whitening_inner_products_are_kept_as_nearly_as_can_be() -> None:
    found = correlated(200, 2, 8)
    whole, cut = (BlockProjection(2, 8, length, whiten=False).double() for length in (8, 3))
    for projection in (whole, cut):
        projection.fit(found)
        assert projection.linear.bias.abs().max() == 0
    blocks = found.split(8, dim=1)
    for block, same, short in zip(blocks, whole(tuple(blocks)), cut(tuple(blocks)), strict=True):
        torch.testing.assert_close(same @ same.T, block @ block.T)
        # By numpy's other way: the nearest matrix of rank three.
        left, strengths, right = torch.linalg.svd(block, full_matrices=False)
        nearest = left[:, :3] * strengths[:3] @ right[:3]
        torch.testing.assert_close(short @ short.T, nearest @ nearest.T)


def test_until_it_is_fitted_it_takes_the_first_numbers() -> None:
    found = correlated(5, 3, 8).float()
    blocks = tuple(found.split(8, dim=1))
    for block, before in zip(BlockProjection(3, 8, 4)(blocks), blocks, strict=True):
        torch.testing.assert_close(block, before[:, :4])


def test_the_length_of_a_descriptor_does_not_count() -> None:
    found = correlated(50, 2, 6)
    projection = BlockProjection(2, 6, 6).double()
    projection.fit(found)
    blocks = tuple(found.split(6, dim=1))
    for once, longer in zip(projection(blocks), projection(tuple(5 * b for b in blocks)), strict=True):
        torch.testing.assert_close(once, longer)


def test_what_all_embeddings_grow_by_is_what_a_projected_block_grows_by() -> None:
    found = correlated(50, 2, 6)
    projection = BlockProjection(2, 6, 3).double()
    projection.fit(found)
    blocks = tuple(block.clone().requires_grad_() for block in (7 * found).split(6, dim=1))
    towards = torch.randn(3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    projected = projection(blocks)[1]
    gradients = torch.autograd.grad((projected @ towards).sum(), blocks, allow_unused=True)
    assert gradients[0] is None or gradients[0].abs().max() == 0, "another block has no part in it"
    rate = (gradients[1] * blocks[1]).sum(dim=1)
    torch.testing.assert_close(rate, (projected - projection.linear.bias[1]) @ towards)


def test_rrid_projects_outside_of_training_alone() -> None:
    torch.manual_seed(0)
    model = RRID(ResNet(TINY_SHAPE), 5, RRIDModel(scales=(4, 2), dim=6, project=2))
    images = torch.randn(4, 3, 64, 32)
    assert [b.name for b in model.layout] == [
        b.name for b in RRID(ResNet(TINY_SHAPE), 5, RRIDModel(scales=(4, 2), dim=6)).layout
    ]
    assert model.layout[-1].stop == 16
    assert model.train()(images).descriptor.shape == (4, 48)
    assert model.eval()(images).descriptor.shape == (4, 16)
    trained = [p for name, p in model.named_parameters() if name.startswith("projection.")]
    assert trained
    assert not any(p.requires_grad for p in trained)


def test_a_projection_longer_than_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.project=65: expected from 0 .none. to model\.dim=64"):
        RRIDModel(backbone="resnet18-half", scales=(4, 2), dim=64, project=65).check(128, 64)


def test_a_direction_points_where_its_largest_number_is_positive() -> None:
    projection = BlockProjection(3, 8, 8)
    projection.fit(correlated(300, 3, 8).float())
    # Eigenvectors are defined up to their sign; other machines would find others.
    for directions in projection.linear.weight:
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
        assert largest.min() > 0


def test_a_direction_without_variance_is_not_blown_up() -> None:
    found = torch.zeros(100, 2, dtype=torch.float64)
    found[:, 0] = torch.randn(100, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found[:, 0] /= found[:, 0].std()
    projection = BlockProjection(1, 2, 2).double()
    projection.fit(found)
    # The block's mean variance is one half: the empty direction grows by 1 / sqrt(0.02 * 0.5) = 10 and no more.
    torch.testing.assert_close(projection.linear.weight[0, :, 1].norm(), torch.tensor(10.0, dtype=torch.float64))
