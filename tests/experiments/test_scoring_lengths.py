"""Scores of descriptors that keep their lengths (TriNet's paper)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosscam.data.records import ReidDataset, camids_of, pids_of
from crosscam.errors import DataError
from crosscam.experiments.scoring import TestImages, check_scoring
from crosscam.metrics.ranking import evaluate_ranking
from crosscam.models.output import Block, ReidOutput
from crosscam.recipes.catalogue import find_recipe
from crosscam.retrieval.reranking import Reranking


class Levels(nn.Module):
    """The mean level of each color: descriptors whose lengths differ."""

    layout = (Block("global", 0, 3, 1, "global", (0.0, 1.0)),)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> ReidOutput:
        return ReidOutput((images.mean((2, 3)) * self.weight,))


def test_lengths_count_where_the_recipe_says_so(rendered: ReidDataset) -> None:
    recipe = find_recipe("trinet")
    kept = replace(recipe, evaluation=replace(recipe.evaluation, normalize=False))
    unit, raw = (TestImages(rendered, r).score(Levels()) for r in (recipe, kept))
    assert (unit.to_dict()["distance"], raw.to_dict()["distance"]) == ("euclidean", "euclidean, lengths kept")
    distances = np.linalg.norm(raw.query[:, None] - raw.gallery[None], axis=2)
    labels = [f(s) for s in (rendered.query, rendered.gallery) for f in (pids_of, camids_of)]
    expected = evaluate_ranking(distances, labels[0], labels[2], labels[1], labels[3])
    assert raw.result.mAP == pytest.approx(expected.mAP, abs=1e-6)
    assert raw.result.mAP != pytest.approx(unit.result.mAP, abs=1e-3)
    with pytest.raises(DataError, match=r"trinet keeps their lengths\. Leave re-ranking out"):
        check_scoring(kept, rendered, Levels(), Reranking(2, 1))


def test_re_ranking_keeps_the_average_precision_of_the_scores(rendered: ReidDataset) -> None:
    recipe = find_recipe("trinet")
    test = TestImages(rendered, recipe)
    scored = test.score(Levels(), ap="trapezoid")
    assert recipe.evaluation.ap == "step"
    assert test.reranked(scored, Reranking(2, 1)).result.ap == scored.result.ap == "trapezoid"
