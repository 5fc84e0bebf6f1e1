"""One experiment from start to end: train a recipe, score it beside what it must beat, write the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crosscam.data.loading import Images, Progress, open_images
from crosscam.data.records import ReidDataset, camids_of, pids_of
from crosscam.errors import DataError
from crosscam.extraction import extract, load_model
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of, own_distances
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.report.page import ReportContent, ScoreRow, write_report
from crosscam.report.strips import RankStrip, rank_strips
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.metrics import RankingResult, evaluate_descriptors, evaluate_ranking
from crosscam.retrieval.rerank import rerank
from crosscam.training.checkpoint import check_free, write_atomically, write_text
from crosscam.training.distributed import World, joined_world
from crosscam.training.listeners import Listeners
from crosscam.training.logbook import read_history
from crosscam.training.loop import train
from crosscam.training.plan import checked_labels
from crosscam.training.provenance import versions

SCORES = "scores.json"
REPORT = "report.html"
PIXEL_SIZE = (64, 32)

Distance = Literal["euclidean", "own"]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Reranking:
    """Parameters of k-reciprocal re-ranking; see :func:`crosscam.rerank`."""

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    def __str__(self) -> str:
        return f"k-reciprocal, k1={self.k1}, k2={self.k2}, lambda={self.lambda_value}"


@dataclass(frozen=True, eq=False)
class Scored:
    """A ranking with its scores.

    Attributes:
        name: what was scored, for example ``"trained"``.
        result: the scores.
        flip: whether mirror images counted.
        reranking: its parameters, or None.
        data_fingerprint: of what was ranked.
        query: (Q, D) descriptors.
        gallery: (G, D) descriptors.
        distance: ``"euclidean"``, or ``"own"`` for a system that compares descriptors in a way of its own.
    """

    name: str
    result: RankingResult
    flip: bool
    reranking: Reranking | None
    data_fingerprint: str
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    distance: Distance = "euclidean"

    def row(self) -> ScoreRow:
        """The line of the score table."""
        reranking = str(self.reranking) if self.reranking else None
        return ScoreRow(self.name, self.result, self.flip, reranking, self.data_fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """The scores with their whole protocol, JSON-ready; all scores are fractions."""
        return {
            "name": self.name,
            **self.result.to_dict(),
            "flip": self.flip,
            "distance": self.distance,
            "reranking": str(self.reranking) if self.reranking else None,
            "data_fingerprint": self.data_fingerprint,
        }


class TestImages:
    """Query and gallery images, decoded once for several scorings.

    Args:
        dataset: what to rank.
        recipe: tells the input size.
        progress: called with (done, all) for each of the two subsets.
        world: processes that share the work; each decodes and describes a part of both subsets, in the batches that one
            process would make, so that the scores are the same.
    Raises:
        DataError: there is no query or no gallery, or an image cannot be read.
    """

    __test__ = False  # The name begins as a test's, but this is none.

    def __init__(
        self, dataset: ReidDataset, recipe: Recipe, progress: Progress | None = None, world: World | None = None
    ) -> None:
        for subset in ("query", "gallery"):
            if not dataset.subsets[subset]:
                raise DataError(
                    f"The {subset} of {dataset.root} is empty, so nothing can be scored. "
                    "'crosscam data holdout' cuts a test split out of training identities."
                )
        self.dataset = dataset
        self.recipe = recipe
        self.world = world or World(0, 1, torch.device("cpu"))
        data, size = recipe.data, recipe.evaluation.batch_size
        self._splits = [self.world.part(len(samples), size) for samples in (dataset.query, dataset.gallery)]
        self.query, self.gallery = (
            open_images([s.path for s in samples], data.height, data.width, data.cache, progress, split.rows)
            for samples, split in zip((dataset.query, dataset.gallery), self._splits, strict=True)
        )

    def score(
        self,
        model: nn.Module,
        name: str = "trained",
        *,
        flip: bool | None = None,
        ap: str | None = None,
        reranking: Reranking | None = None,
        progress: Progress | None = None,
    ) -> Scored:
        """Rank the gallery for each query and score it; what is None follows the recipe."""
        return _alone(self.score_together(model, name, flip=flip, ap=ap, reranking=reranking, progress=progress))

    def score_together(
        self,
        model: nn.Module,
        name: str = "trained",
        *,
        flip: bool | None = None,
        ap: str | None = None,
        reranking: Reranking | None = None,
        progress: Progress | None = None,
    ) -> Scored | None:
        """As :meth:`score`, by all processes of the world, which must all call it; None in all but the first."""
        settings = self.recipe.evaluation
        mirror = settings.flip if flip is None else flip
        both = self._gathered(lambda images: self._describe(model, images, mirror, progress))
        return None if both is None else self._ranked(model, name, *both, mirror, ap, reranking)

    def _gathered(
        self, describe: Callable[[Images], NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Descriptors of query and gallery from all processes, in the first one."""
        found = []
        for images, split in zip((self.query, self.gallery), self._splits, strict=True):
            mine = describe(images) if len(images) else np.empty((0, 0), np.float32)
            found.append(self.world.collect(mine, split))
        query, gallery = found
        return None if query is None or gallery is None else (query, gallery)

    def _ranked(
        self,
        model: nn.Module,
        name: str,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32],
        flip: bool,
        ap: str | None,
        reranking: Reranking | None,
    ) -> Scored:
        settings = self.recipe.evaluation
        own = own_distances(self.recipe.model, torch.from_numpy(query), torch.from_numpy(gallery), layout_of(model))
        if own is None:
            return self._scored(name, query, gallery, flip, ap or settings.ap, reranking)
        if reranking is not None:
            raise _no_reranking(self.recipe)
        variant: Any = ap or settings.ap
        labels = ranking_labels(self.dataset)
        result = evaluate_ranking(own, *labels, ap=variant, protocol=self.dataset.protocol)
        return Scored(name, result, flip, None, self.dataset.fingerprint(), query, gallery, "own")

    def reranked(self, scored: Scored, reranking: Reranking) -> Scored:
        """The same descriptors scored again after re-ranking.

        Raises:
            DataError: the system has a distance of its own.
        """
        if scored.distance == "own":
            raise _no_reranking(self.recipe)
        ap = scored.result.ap
        return self._scored(f"{scored.name}, re-ranked", scored.query, scored.gallery, scored.flip, ap, reranking)

    def score_pixels(self) -> Scored:
        """The same scoring for raw pixels: each image shrunk, centred and scaled to length 1 is its own descriptor."""
        return _alone(self.score_pixels_together())

    def score_pixels_together(self) -> Scored | None:
        """As :meth:`score_pixels`, by all processes of the world; None in all but the first."""
        both = self._gathered(_pixel_descriptors)
        ap = self.recipe.evaluation.ap
        return None if both is None else self._scored("raw pixels", *both, False, ap, None)

    def _describe(self, model: nn.Module, images: Images, flip: bool, progress: Progress | None) -> NDArray[np.float32]:
        data, size = self.recipe.data, self.recipe.evaluation.batch_size
        return extract(model, images, data.height, data.width, flip=flip, batch_size=size, progress=progress)

    def _scored(
        self,
        name: str,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32],
        flip: bool,
        ap: Any,
        reranking: Reranking | None,
    ) -> Scored:
        ds = self.dataset
        labels = ranking_labels(ds)
        if reranking is None:
            result = evaluate_descriptors(query, gallery, *labels, ap=ap, protocol=ds.protocol)
        else:
            distances = rerank(query, gallery, k1=reranking.k1, k2=reranking.k2, lambda_value=reranking.lambda_value)
            result = evaluate_ranking(distances, *labels, ap=ap, protocol=ds.protocol)
        return Scored(name, result, flip, reranking, ds.fingerprint(), query, gallery)


def _alone(scored: Scored | None) -> Scored:
    if scored is None:
        raise ValueError("Only the first of several processes has the scores. Call score_together in all of them.")
    return scored


def _no_reranking(recipe: Recipe) -> DataError:
    return DataError(
        f"Re-ranking works on Euclidean distances, but {recipe.name} compares people by a distance of its own. "
        "Leave re-ranking out."
    )


def ranking_labels(dataset: ReidDataset) -> tuple[Labels, Labels, Labels, Labels]:
    """Identities of query and gallery, (Q,) and (G,), then their cameras: what every ranking is scored with."""
    query, gallery = dataset.query, dataset.gallery
    return pids_of(query), pids_of(gallery), camids_of(query), camids_of(gallery)


def _pixel_descriptors(images: Images) -> NDArray[np.float32]:
    from crosscam.data.augment import resize

    rows = []
    for pixels in images.batches([np.arange(i, min(i + 512, len(images))) for i in range(0, len(images), 512)]):
        flat = resize(pixels, *PIXEL_SIZE).flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        rows.append(torch.nn.functional.normalize(flat, dim=1).numpy())
    return np.concatenate(rows).astype(np.float32)


def untrained_model(recipe: Recipe, num_ids: int) -> nn.Module:
    """The network as it was before its first step: the same seed gives the same weights."""
    torch.manual_seed(recipe.train.seed)
    return build_model(recipe, num_ids).eval()


def run_experiment(
    recipe: Recipe,
    dataset: ReidDataset,
    folder: Path,
    *,
    resume: bool = False,
    listeners: Listeners | None = None,
    provenance: Mapping[str, str] | None = None,
) -> list[Scored]:
    """Train, score and report.

    Args:
        recipe: the experiment.
        dataset: train, query and gallery; without query and gallery nothing is scored.
        folder: the run folder; see :func:`crosscam.training.loop.train`.
        resume: go on with an interrupted training.
        listeners: told of the progress.
        provenance: more lines for the report, for example the command.
    Returns:
        Scores of the trained network, of the same network before training, and of raw pixels; empty without a test
        split, and in all processes but the first. They are also in ``scores.json`` and ``report.html`` of the folder.
    Raises:
        CrosscamError: as the parts raise it.
    """
    # What is quick to find out comes before all images are read.
    checked_labels(recipe, dataset)
    if not resume:
        check_free(folder)
    with joined_world() as world:
        test = TestImages(dataset, recipe, world=world) if dataset.query and dataset.gallery else None

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            assert test is not None
            scored = test.score_together(model)
            return {} if scored is None else {"mAP": scored.result.mAP, "rank1": scored.result.rank1}

        trained = train(
            recipe, dataset, folder, resume=resume, evaluate=evaluate if test else None, listeners=listeners
        )
        if test is None:
            return []
        first = world.rank == 0
        # What is scored is what was saved, so that anyone who loads the folder gets these scores.
        trained = load_model(folder, recipe).to(world.device) if first else trained
        untrained = untrained_model(recipe, len({s.pid for s in dataset.train})).to(world.device)
        scores = [
            test.score_together(trained),
            test.score_together(untrained, "untrained"),
            test.score_pixels_together(),
        ]
        found = [s for s in scores if s is not None]
        if first:
            save_scores(folder / SCORES, found)
            layout = layout_of(trained)
            write_run_report(folder / REPORT, recipe, dataset, found, folder, layout, provenance)
        return found


def save_scores(path: Path, scores: list[Scored]) -> None:
    """Write scores with their protocols as JSON."""
    text = json.dumps([s.to_dict() for s in scores], indent=2) + "\n"
    write_atomically(path, lambda temporary: write_text(temporary, text))


def write_run_report(
    path: Path,
    recipe: Recipe,
    dataset: ReidDataset,
    scores: list[Scored],
    folder: Path,
    layout: Layout,
    provenance: Mapping[str, str] | None = None,
) -> None:
    """The page of one run: scores, curves, and the rankings of the first row of ``scores``."""
    ids = len({s.pid for s in dataset.query})
    content = ReportContent(
        title=f"{recipe.name} on {dataset.name}",
        subtitle=f"{recipe.description} Tested on {ids} identities that it never saw.",
        scores=[s.row() for s in scores],
        history=read_history(folder),
        strips=strips_of(dataset, scores[0], layout),
        provenance={
            "recipe": recipe.name,
            "data": f"{dataset.name}, fingerprint {dataset.fingerprint()}",
            "training": f"{len(dataset.train):,} images of {len({s.pid for s in dataset.train}):,} identities",
            "seed": str(recipe.train.seed),
            **(provenance or {}),
            **versions(),
        },
        notes=dataset.notes,
    )
    write_report(path, content)


def strips_of(dataset: ReidDataset, scored: Scored, layout: Layout) -> list[RankStrip]:
    """Rank strips of the hardest and easiest queries of a scoring without re-ranking."""
    ap = scored.result.average_precision
    scored_queries = np.flatnonzero(~np.isnan(ap))
    order = scored_queries[np.argsort(ap[scored_queries], kind="stable")]
    shown = np.unique(np.concatenate((order[:64], order[-64:])))
    # Strips show few queries, so only their distances are computed.
    chosen = ReidDataset(
        dataset.name,
        dataset.root,
        query=tuple(dataset.query[i] for i in shown),
        gallery=dataset.gallery,
        protocol=dataset.protocol,
    )
    query = scored.query[shown]
    distances = pairwise_distances(query, scored.gallery)
    return rank_strips(chosen, distances, ap[shown], query, scored.gallery, layout)
