from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.metrics.ranking import evaluate_ranking
from crosscam.metrics.single_shot import sampled_single_shot_cmc

FIXTURE = Path(__file__).parents[1] / "data" / "parity" / "evaluation.npz"


def fixture_inputs(case: str) -> list[np.ndarray]:
    with np.load(FIXTURE) as arrays:
        return [arrays[f"{case}_{key}"] for key in ("dist", "qid", "gid", "qcam", "gcam")]


@pytest.mark.parametrize("case", ["market", "ties"])
def test_draws_are_those_of_the_authors(case: str) -> None:
    cmc = sampled_single_shot_cmc(*fixture_inputs(case), repeats=10, seed=0, max_rank=100)
    with np.load(FIXTURE) as arrays:
        np.testing.assert_allclose(cmc, arrays[f"{case}_cmc_cuhk03_stable"], rtol=0, atol=1e-9)


def test_exact_cmc_of_the_authors_rankings() -> None:
    result = evaluate_ranking(*fixture_inputs("market"), protocol="cuhk03", max_rank=100)
    with np.load(FIXTURE) as arrays:
        np.testing.assert_allclose(result.cmc, arrays["market_cmc_cuhk03_expected"], rtol=0, atol=1e-9)


def test_draws_approach_the_exact_cmc_under_ties() -> None:
    inputs = fixture_inputs("ties")
    exact = evaluate_ranking(*inputs, protocol="cuhk03", max_rank=30).cmc
    drawn = sampled_single_shot_cmc(*inputs, repeats=400, seed=1, max_rank=30)
    # 30 queries x 400 draws: four standard errors of a share are below 0.02.
    np.testing.assert_allclose(drawn, exact, atol=0.02)


def test_by_hand() -> None:
    # Identity 2 stands before the match with one of its two images: rank 1 in half of the draws. The image of
    # identity 3 is of the query's own camera, and that of -1 is junk.
    distances = np.array([[0.5, 0.1, 0.9, 0.2, 0.3]])
    labels = ([1], [1, 2, 2, 3, -1], [0], [1, 1, 1, 0, 1])
    result = evaluate_ranking(distances, *labels, protocol="cuhk03", max_rank=3)
    np.testing.assert_allclose(result.cmc, [0.5, 1.0, 1.0])


def test_ties_rank_by_gallery_index() -> None:
    # All are equally far. Before the match, at index 1, stands one of the two images of identity 2, and nobody else.
    result = evaluate_ranking(
        np.ones((1, 5)), [1], [2, 1, 2, 3, 4], [0], [1, 1, 1, 1, 1], protocol="cuhk03", max_rank=3
    )
    np.testing.assert_allclose(result.cmc, [0.5, 1.0, 1.0])
