from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from crosscam.explain.activation import part_focus, place_contributions, stripe_block
from small_models import tiny_rrid


def images(batch):
    return torch.randn(batch, 3, 96, 32, generator=torch.Generator().manual_seed(0))


def test_shares_and_unlikeness_equal_a_naive_loop():
    model, _ = tiny_rrid(scales=(3,))
    x = images(5)
    found = part_focus(model, [x[:2], x[2:]], 3, 1)
    for n in range(5):
        one = x[n : n + 1]
        places = place_contributions(model, one, [model.layout[1]], branch="residual")[0, 0]
        mass = [float(places[2 * j : 2 * j + 2].clamp(min=0).sum()) for j in range(3)]
        np.testing.assert_allclose(found.stripes[n], np.array(mass) / sum(mass), rtol=1e-4)
        assert found.outside[n] == pytest.approx((mass[0] + mass[2]) / sum(mass), rel=1e-4)
        whole = place_contributions(model, one, [model.layout[1]])[0, 0].clamp(min=0)
        assert found.outside_whole[n] == pytest.approx(float(1 - whole[2:4].sum() / whole.sum()), abs=1e-5)
        feature_map = model.backbone(one)[0].detach()
        pooled = [feature_map[:, 2 * j : 2 * j + 2].amax(dim=(1, 2)) for j in range(3)]
        unlike = [1 - float(cosine_similarity(pooled[1], pooled[j], dim=0)) for j in (0, 2)]
        looked_at = (mass[0] * unlike[0] + mass[2] * unlike[1]) / (mass[0] + mass[2])
        assert found.unlikeness[n] == pytest.approx(looked_at - sum(unlike) / 2, abs=1e-5)


def test_the_rest_alone_lies_outside_by_construction():
    found = part_focus(tiny_rrid("rest_only", scales=(3,))[0], [images(3)], 3, 1)
    assert (found.outside == 1).all()
    assert (found.stripes[:, 1] == 0).all()
    assert (found.outside_whole < 1).all()


def test_a_part_or_a_relation_that_is_not_there_is_refused():
    model, _ = tiny_rrid(scales=(3,))
    with pytest.raises(ValueError, match="no stripe 4 of 3"):
        stripe_block(model, 3, 3)
    with pytest.raises(ValueError, match="no stripe 1 of 6"):
        part_focus(model, [images(1)], 6, 0)
    with pytest.raises(ValueError, match="no relation"):
        part_focus(tiny_rrid("none", scales=(3,))[0], [images(1)], 3, 0)
