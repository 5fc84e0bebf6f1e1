"""One scoring for each random split of a dataset; every image is described once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from crosscam.data.records import ReidDataset, Sample, ranked
from crosscam.errors import DataError
from crosscam.experiments.scoring import AfterSearch, Scored, TestImages


def all_splits(datasets: Sequence[ReidDataset]) -> ReidDataset:
    """One dataset with the queries of all splits and their gallery images, each once; DataError if all are one."""
    if len(datasets) > 1 and len({d.fingerprint() for d in datasets}) == 1:
        raise DataError(f"All {len(datasets)} splits of {datasets[0].root} are the same. Leave --splits out.")
    query, gallery = (
        tuple(dict.fromkeys(s for d in datasets for s in d.subsets[name])) for name in ("query", "gallery")
    )
    return replace(datasets[0], train=(), query=query, gallery=gallery)


def score_splits(
    test: TestImages, model: nn.Module, scored: Scored, datasets: Sequence[ReidDataset], steps: Sequence[AfterSearch]
) -> list[Scored]:
    """A ranking for each split out of descriptors of all: first the plain ones, then one list for each step.

    Args:
        test, scored: of :func:`all_splits`, described by ``model``.
        steps: re-ranking or expansion, each beside the plain ranking.
    """
    units = ranked(test.dataset)
    found: list[list[Scored]] = [[] for _ in (None, *steps)]
    for number, dataset in enumerate(datasets):
        part = copy.copy(test)
        part.dataset = dataset
        own = ranked(dataset)
        query = _of_these(scored.query, units.query, own.query)
        gallery = _of_these(scored.gallery, units.gallery, own.gallery)
        plain = part.rank(model, f"split {number}", query, gallery, scored.flip, scored.result.ap)
        if scored.frames is not None:
            asked = _of_these(scored.frames[0], test.dataset.query, dataset.query)
            plain = replace(plain, frames=(asked, _of_these(scored.frames[1], test.dataset.gallery, dataset.gallery)))
        for results, one in zip(found, (plain, *(part.reranked(plain, step) for step in steps)), strict=True):
            results.append(one)
    return [one for results in found for one in results]


def mean_scores(scores: Sequence[Scored]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of mAP, rank-1, rank-5, rank-10 and mINP over splits; fractions."""
    values = {
        "mAP": [s.result.mAP for s in scores],
        **{f"rank{r}": [s.result.cmc_at(r) for s in scores if r <= len(s.result.cmc)] for r in (1, 5, 10)},
        "mINP": [s.result.mINP for s in scores],
    }
    return {
        name: (float(np.mean(some)), float(np.std(some, ddof=1)) if len(some) > 1 else 0.0)
        for name, some in values.items()
        if len(some) == len(scores)
    }


def _of_these(rows: NDArray[np.float32], samples: Sequence[Sample], wanted: Sequence[Sample]) -> NDArray[np.float32]:
    place = {_key(s): number for number, s in enumerate(samples)}
    return rows[[place[_key(s)] for s in wanted]]


def _key(s: Sample) -> tuple[str, int, int, str | None]:
    return str(s.path), s.pid, s.camid, s.track
