"""Images that are ranked, and what a model's ranking of them is worth."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crosscam.data.loading import Images, embed, open_images
from crosscam.data.records import ReidDataset, pooled, ranked, ranking_labels, sets_of, unmatched_queries
from crosscam.data.resizing import resize_bytes
from crosscam.data.samplers import in_order
from crosscam.errors import ArgumentError, DataError
from crosscam.inference.describing import check_descriptors, extract
from crosscam.inference.imported import resize_of
from crosscam.metrics.ranking import RankingResult, evaluate_descriptors, evaluate_ranking
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of, own_distances
from crosscam.recipes.recipe import Recipe
from crosscam.report.page import Distance, ScoreRow
from crosscam.retrieval.cross_neighborhoods import CrossNeighborhoods
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.expansion import Expansion
from crosscam.retrieval.frame_sets import SetDistance, set_distances
from crosscam.retrieval.reranking import Reranking
from crosscam.system.distributed import ALONE, World
from crosscam.system.progress import Progress

PIXEL_SIZE = (64, 32)

AfterSearch = Reranking | CrossNeighborhoods | Expansion | SetDistance


@dataclass(frozen=True, eq=False)
class Scored:
    """A ranking with its scores.

    Attributes:
        name: what was scored, for example ``"trained"``.
        flip: whether mirror images counted.
        reranking: parameters of re-ranking, query expansion or distances of frames, or None.
        data_fingerprint: of what was ranked.
        query, gallery: (Q, D) and (G, D) descriptors.
        distance: ``"euclidean"``, of descriptors of length 1 or as they are (``evaluation.normalize``), or ``"own"``
            for a system that compares descriptors in a way of its own.
        unit: what one row of the descriptors stands for; a tracklet's is the mean of its frames.
        frames: descriptors of all frames of query and gallery, where tracklets are ranked.
    """

    name: str
    result: RankingResult
    flip: bool
    reranking: AfterSearch | None
    data_fingerprint: str
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    distance: Distance = "euclidean"
    unit: Literal["image", "tracklet"] = "image"
    frames: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def __repr__(self) -> str:
        again = f", {self.reranking}" if self.reranking else ""
        return f"Scored({self.name!r}, {self.result!r}{again}, data {self.data_fingerprint[:4]}...)"

    def row(self) -> ScoreRow:
        """The line of the score table."""
        reranking = str(self.reranking) if self.reranking else None
        return ScoreRow(self.name, self.result, self.flip, reranking, self.data_fingerprint, self.distance)

    def to_dict(self) -> dict[str, Any]:
        """The scores with their whole protocol, JSON-ready; all scores are fractions."""
        return {
            "name": self.name,
            **self.result.to_dict(),
            "flip": self.flip,
            "distance": self.distance,
            "unit": self.unit,
            "reranking": str(self.reranking) if self.reranking else None,
            "data_fingerprint": self.data_fingerprint,
        }


def check_scoring(recipe: Recipe, dataset: ReidDataset, model: nn.Module, *steps: AfterSearch) -> None:
    """Refuse a scoring that would fail at its end, before an image is read.

    Raises:
        DataError: no query or no gallery, no query with a match, or re-ranking of a system with its own distance.
        ValueError: parameters of re-ranking that so many images do not allow.
    """
    _check_test_split(dataset)
    if not steps:
        return
    layout = layout_of(model)
    some = torch.ones(1, layout[-1].stop)
    if own_distances(recipe.model, some, some, layout) is not None or not recipe.evaluation.normalize:
        raise _no_reranking(recipe)
    for step in steps:
        if isinstance(step, SetDistance) and not dataset.tracklets:
            raise _no_tracklets(dataset)
        units = ranked(dataset)
        step.check(len(units.query), len(units.gallery))


def _check_test_split(dataset: ReidDataset) -> None:
    for subset in ("query", "gallery"):
        if not dataset.subsets[subset]:
            raise DataError(
                f"The {subset} of {dataset.place} is empty, so nothing can be scored. "
                "'crosscam data holdout' cuts a test split out of training identities."
            )
    if len(unmatched_queries(dataset)) == len(dataset.query):
        raise DataError(
            f"No query of {dataset.place} has a gallery image of its pid from another camera, so nothing can be "
            "scored. Check pids and camids of query and gallery; 'crosscam data doctor' shows them."
        )


class How(TypedDict, total=False):
    """How a model is scored, where that is not as its recipe says; ``progress`` gets (done, all) for each subset."""

    flip: bool | None
    ap: str | None
    progress: Progress | None


class TestImages:
    """Query and gallery images, decoded once for several scorings.

    Args:
        recipe: tells the input size.
        progress: called with (done, all) for each of the two subsets.
        world: processes that share the work; each decodes and describes a part of both subsets, in the batches that one
            process would make, so that the scores are the same.
    Raises:
        DataError: there is no query or no gallery, no query has a match, or an image cannot be read.
    """

    __test__ = False  # The name begins as a test's, but this is none.

    def __init__(
        self, dataset: ReidDataset, recipe: Recipe, progress: Progress | None = None, world: World | None = None
    ) -> None:
        _check_test_split(dataset)
        self.dataset, self.recipe, self.world = dataset, recipe, world or ALONE
        data, size = recipe.data, recipe.evaluation.batch_size
        self._splits = [self.world.part(len(samples), size) for samples in (dataset.query, dataset.gallery)]
        self.query, self.gallery = (
            open_images(
                [s.path for s in samples], data.height, data.width, data.cache, progress, split.rows, resize_of(recipe)
            )
            for samples, split in zip((dataset.query, dataset.gallery), self._splits, strict=True)
        )

    def of(self, recipe: Recipe) -> TestImages:
        """The same images, scored as another recipe of the same input size says."""
        other = copy(self)
        other.recipe = recipe
        return other

    def score(self, model: nn.Module, name: str = "trained", **how: Unpack[How]) -> Scored:
        """Rank the gallery for each query and score it; what ``how`` leaves out follows the recipe."""
        scored = self.score_together(model, name, **how)
        if scored is None:
            raise ArgumentError("Only the first process has the scores. Call score_together in all of them.")
        return scored

    def score_together(self, model: nn.Module, name: str = "trained", **how: Unpack[How]) -> Scored | None:
        """As :meth:`score`, by all processes of the world, which must all call it; None in all but the first."""
        flip = how.get("flip")
        mirror = self.recipe.evaluation.flip if flip is None else flip
        both = self._gathered(lambda images: self._describe(model, images, mirror, how.get("progress")))
        if both is None:
            return None
        for rows, samples in zip(both, (self.dataset.query, self.dataset.gallery), strict=True):
            check_descriptors(rows, [s.path for s in samples])
        scored = self.rank(model, name, *self._pooled(both), mirror, how.get("ap"))
        return replace(scored, frames=both) if self.dataset.tracklets else scored

    def _pooled(
        self, both: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Descriptors of query and gallery as they are ranked, from those of all images."""
        ds, unit = self.dataset, self.recipe.evaluation.normalize
        return pooled(ds, ds.query, both[0], unit), pooled(ds, ds.gallery, both[1], unit)

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

    def rank(
        self,
        model: nn.Module,
        name: str,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32],
        flip: bool,
        ap: str | None,
    ) -> Scored:
        """Rank described queries and gallery by the model's distance; arguments as in :class:`How` and ``Scored``."""
        settings = self.recipe.evaluation
        variant: Any = ap or settings.ap
        own = _own(self.recipe, layout_of(model), query, gallery)
        if own is None:
            scored = self._scored(name, query, gallery, flip, variant, None)
            return scored if settings.normalize else replace(scored, distance="euclidean, lengths kept")
        result = evaluate_ranking(own, *ranking_labels(self.dataset), ap=variant, protocol=self.dataset.protocol)
        return Scored(name, result, flip, None, self.dataset.fingerprint(), query, gallery, "own", self._unit)

    def reranked(self, scored: Scored, reranking: AfterSearch) -> Scored:
        """The same descriptors scored after re-ranking, with expanded queries, or by distances of frames."""
        if scored.distance != "euclidean":
            raise _no_reranking(self.recipe)
        ds, ap = self.dataset, scored.result.ap
        name = f"{scored.name}, {reranking.done}"
        if not isinstance(reranking, SetDistance):
            return self._scored(name, scored.query, scored.gallery, scored.flip, ap, reranking)
        if scored.frames is None:
            raise _no_tracklets(ds)
        distances = set_distances(*scored.frames, sets_of(ds.query), sets_of(ds.gallery), reranking.kind)
        result = evaluate_ranking(distances, *ranking_labels(ds), ap=ap, protocol=ds.protocol)
        return replace(scored, name=name, result=result, reranking=reranking)

    def score_pixels_together(self) -> Scored | None:
        """The scoring of raw pixels, shrunk, centered and scaled to length 1; None in all processes but the first."""
        both = self._gathered(_pixel_descriptors)
        ap = self.recipe.evaluation.ap
        return None if both is None else self._scored("raw pixels", *self._pooled(both), False, ap, None)

    @property
    def _unit(self) -> Literal["image", "tracklet"]:
        return "tracklet" if self.dataset.tracklets else "image"

    def _describe(self, model: nn.Module, images: Images, flip: bool, progress: Progress | None) -> NDArray[np.float32]:
        data, size = self.recipe.data, self.recipe.evaluation.batch_size
        unit = self.recipe.evaluation.normalize
        return extract(model, images, data.height, data.width, flip=flip, unit=unit, batch_size=size, progress=progress)

    def _scored(
        self,
        name: str,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32],
        flip: bool,
        ap: Any,
        reranking: Reranking | CrossNeighborhoods | Expansion | None,
    ) -> Scored:
        ds = self.dataset
        labels = ranking_labels(ds)
        if isinstance(reranking, Reranking | CrossNeighborhoods):
            result = evaluate_ranking(reranking.distances(query, gallery), *labels, ap=ap, protocol=ds.protocol)
        else:
            asked = query if reranking is None else reranking.queries(query, gallery)
            result = evaluate_descriptors(asked, gallery, *labels, ap=ap, protocol=ds.protocol)
        return Scored(name, result, flip, reranking, ds.fingerprint(), query, gallery, unit=self._unit)


def _no_tracklets(dataset: ReidDataset) -> DataError:
    return DataError(
        f"{dataset.place} is ranked image by image, so that there are no sets of frames to compare. Leave "
        "--set-distance out, or rank the tracks of a table (--tracklets)."
    )


def _no_reranking(recipe: Recipe) -> DataError:
    does = "compares people by a distance of its own" if recipe.evaluation.normalize else "keeps their lengths"
    return DataError(
        f"Re-ranking works on Euclidean distances of descriptors of length 1, but {recipe.name} {does}. "
        "Leave re-ranking out."
    )


def distances_of(
    recipe: Recipe, layout: Layout, query: NDArray[np.float32], gallery: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(Q, G) distances by which a network of this recipe is scored: the system's own, or the Euclidean one.

    Args:
        recipe, layout: of the network.
        query, gallery: (Q, D) and (G, D) descriptors, as in :class:`Scored`.
    """
    own = _own(recipe, layout, query, gallery)
    return pairwise_distances(query, gallery) if own is None else own.numpy()


def _own(
    recipe: Recipe, layout: Layout, query: NDArray[np.float32], gallery: NDArray[np.float32]
) -> torch.Tensor | None:
    return own_distances(recipe.model, torch.from_numpy(query), torch.from_numpy(gallery), layout)


def _pixel_descriptors(images: Images) -> NDArray[np.float32]:
    def of_batch(pixels: torch.Tensor, _: int) -> NDArray[np.float32]:
        flat = resize_bytes(pixels, *PIXEL_SIZE).permute(0, 3, 1, 2).float().flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        return torch.nn.functional.normalize(flat, dim=1).numpy().astype(np.float32, copy=False)

    return embed(images.batches(in_order(len(images), 512)), of_batch)
