from __future__ import annotations

import pytest
import torch

from crosscam.retrieval.reranking import nearest


@pytest.mark.parametrize("levels", [2, 5, 10**6])
@pytest.mark.parametrize("count", [1, 7, 29, 30])
def test_equals_a_stable_sort(levels: int, count: int) -> None:
    generator = torch.Generator().manual_seed(levels + count)
    distances = torch.randint(0, levels, (40, 30), generator=generator) / levels
    expected = distances.sort(dim=1, stable=True).indices[:, :count]
    assert torch.equal(nearest(distances, count), expected)


def test_negative_zero_ties_with_zero() -> None:
    distances = torch.tensor([[0.0, -0.0, 0.0, 1.0]])
    assert nearest(distances, 2).tolist() == [[0, 1]]
