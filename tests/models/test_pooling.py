from __future__ import annotations

import pytest
import torch

from crosscam.models.pooling import GlobalContrastivePooling, PooledFeature, contrastive_feature, pool_map
from crosscam.models.stripes import pool_stripes


@pytest.mark.parametrize("num_parts", [2, 4, 6])
def test_contrast_equals_the_loop(num_parts):
    torch.manual_seed(0)
    parts = torch.randn(3, num_parts, 5, dtype=torch.float64)
    p_max, rest = contrastive_feature(parts)
    _, difference = contrastive_feature(parts, "mean_minus_max")
    for b in range(3):
        for c in range(5):
            values = sorted(parts[b, :, c].tolist())
            assert float(p_max[b, c]) == values[-1]
            assert float(rest[b, c]) == pytest.approx(sum(values[:-1]) / (num_parts - 1), abs=1e-12)
            assert float(difference[b, c]) == pytest.approx(sum(values) / num_parts - values[-1], abs=1e-12)


def test_the_two_contrasts_are_two_scales_of_one_difference():
    # rest_mean - p_max = P / (P - 1) * (p_avg - p_max): the code and the text differ by p_max and a factor.
    parts = torch.randn(4, 6, 5, dtype=torch.float64)
    p_max, rest = contrastive_feature(parts)
    _, difference = contrastive_feature(parts, "mean_minus_max")
    assert torch.allclose(rest - p_max, 6 / 5 * difference, atol=1e-12)


def test_identical_parts_have_no_contrast():
    parts = torch.randn(2, 1, 5, dtype=torch.float64).expand(2, 4, 5)
    assert torch.allclose(contrastive_feature(parts)[1], parts[:, 0], atol=1e-12)
    assert torch.allclose(contrastive_feature(parts, "mean_minus_max")[1], torch.zeros(2, 5).double(), atol=1e-12)


def test_one_part_has_no_contrast():
    with pytest.raises(ValueError, match="at least two"):
        contrastive_feature(torch.zeros(2, 1, 5))


@pytest.mark.parametrize("num_parts", [2, 4, 6])
def test_maximum_over_the_parts_is_the_maximum_of_the_map(num_parts):
    feature_map = torch.randn(2, 5, 12, 4)
    p_max, _ = contrastive_feature(pool_stripes(feature_map, num_parts))
    assert torch.equal(p_max, pool_map(feature_map, "gmp"))


def test_pool_map():
    feature_map = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert [float(pool_map(feature_map, p)) for p in ("gap", "gmp", "gap+gmp")] == [3.0, 6.0, 9.0]
    with pytest.raises(ValueError, match="Unknown pooling 'none'"):
        pool_map(feature_map, "none")


@pytest.mark.parametrize("contrast", ["rest_mean", "mean_minus_max"])
def test_global_contrastive_pooling_is_equation_2(contrast):
    torch.manual_seed(1)
    module = GlobalContrastivePooling(7, 3, contrast).double().eval()
    feature_map = torch.randn(4, 7, 12, 4, dtype=torch.float64)
    found = module(pool_stripes(feature_map, 6))
    raw = torch.stack(contrastive_feature(pool_stripes(feature_map, 6), contrast), dim=1)
    p_max, p_cont = module.project(raw).unbind(1)
    residual = module.residual(torch.cat((p_max, p_cont), dim=1))
    assert torch.equal(found.p_max, p_max)
    assert torch.equal(found.p_cont, p_cont)
    assert torch.allclose(found.q0, p_max + residual, atol=1e-12)


def test_pooled_feature_projects_the_pooled_map():
    torch.manual_seed(2)
    feature_map = torch.randn(4, 7, 12, 4)
    for pooling in ("gap", "gmp", "gap+gmp"):
        module = PooledFeature(7, 3, pooling).eval()
        found = module(feature_map)
        assert torch.equal(found.q0, module.unit(pool_map(feature_map, pooling)))
        assert found.p_max is None
