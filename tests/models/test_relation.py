from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam.models.relation import RelationModule, one_vs_rest_mean


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 4), num_parts=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_one_vs_rest_mean_equals_the_loop(batch, num_parts, seed):
    parts = torch.randn(batch, num_parts, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = one_vs_rest_mean(parts)
    for b in range(batch):
        for p in range(num_parts):
            others = [parts[b, j] for j in range(num_parts) if j != p]
            assert torch.allclose(found[b, p], sum(others) / len(others), atol=1e-12)


def test_identical_parts_give_themselves_back():
    parts = torch.randn(3, 1, 5, dtype=torch.float64).expand(3, 6, 5)
    assert torch.allclose(one_vs_rest_mean(parts), parts, atol=1e-12)


def test_of_two_parts_each_has_the_other():
    parts = torch.randn(3, 2, 5, dtype=torch.float64)
    assert torch.allclose(one_vs_rest_mean(parts), parts.flip(1), atol=1e-12)


def test_one_part_has_no_rest():
    with pytest.raises(ValueError, match="at least two parts"):
        one_vs_rest_mean(torch.zeros(2, 1, 5))


@pytest.mark.parametrize("relation", ["one_vs_rest", "rest_only"])
def test_relation_is_equation_1(relation):
    torch.manual_seed(0)
    module = RelationModule(4, 7, 3, relation).double()
    parts = torch.randn(5, 4, 7, dtype=torch.float64)
    module.eval()
    found = module(parts)
    p, r = module.part(parts), module.rest(one_vs_rest_mean(parts))
    seen = torch.cat((p, r), dim=2) if relation == "one_vs_rest" else r
    assert torch.equal(found.p, p)
    assert torch.equal(found.r, r)
    assert torch.equal(found.q, p + module.residual(seen))


def test_each_relation_sees_the_whole_body_and_no_relation_sees_its_part():
    torch.manual_seed(1)
    parts = torch.randn(2, 4, 7, requires_grad=True)
    for relation, expected in (("one_vs_rest", 4), ("rest_only", 4), ("none", 1)):
        module = RelationModule(4, 7, 16, relation).eval()
        (grad,) = torch.autograd.grad(module(parts).q[:, 2].sum(), parts)
        assert int(grad.abs().sum(dim=(0, 2)).count_nonzero()) == expected, relation


def test_no_relation_holds_one_unit_alone():
    module = RelationModule(4, 7, 3, "none").eval()
    found = module(torch.randn(2, 4, 7))
    assert found.p is None
    assert found.r is None
    assert {name.split(".")[0] for name in module.state_dict()} == {"part"}
