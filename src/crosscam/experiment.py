"""One experiment from start to end: train a recipe, score it beside what it must beat, write the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crosscam.data.records import ReidDataset
from crosscam.extraction import describing_model
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.report.page import ReportContent, write_report
from crosscam.report.strips import RankStrip, rank_strips
from crosscam.retrieval.distances import pairwise_distances
from crosscam.scoring import Scored, TestImages
from crosscam.system.files import write_atomically, write_text
from crosscam.training.listeners import Listeners
from crosscam.training.logbook import read_history
from crosscam.training.loop import Trainer
from crosscam.training.provenance import versions

SCORES = "scores.json"
REPORT = "report.html"


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
    show: Callable[[list[Scored]], None] | None = None,
) -> list[Scored]:
    """Train, score and report.

    Args:
        recipe: the experiment.
        dataset: train, query and gallery; without query and gallery nothing is scored.
        folder: the run folder; see :func:`crosscam.training.loop.train`.
        resume: go on with an interrupted training.
        listeners: told of the progress.
        provenance: more lines for the report, for example the command.
        show: gets the scores as soon as they are known, before they are written.
    Returns:
        Scores of the trained network, of the same network before training, and of raw pixels; empty without a test
        split, and in all processes but the first. They are also in ``scores.json`` and ``report.html`` of the folder.
    Raises:
        BusyError: another process trains there.
        CrosscamError: as the parts raise it.
    """
    trainer = Trainer(recipe, dataset, folder, resume=resume, listeners=listeners)
    with trainer.joined() as world:
        test = TestImages(dataset, recipe, world=world) if dataset.query and dataset.gallery else None

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            assert test is not None
            scored = test.score_together(model)
            return {} if scored is None else {"mAP": scored.result.mAP, "rank1": scored.result.rank1}

        trained = trainer.fit(evaluate if test else None)
        if test is None:
            if show:
                show([])
            return []
        # What is scored is built as from the folder, so that anyone who loads it gets these scores.
        trained = describing_model(recipe, trained.state_dict()).to(world.device)
        untrained = untrained_model(recipe, len({s.pid for s in dataset.train})).to(world.device)
        scores = [
            test.score_together(trained),
            test.score_together(untrained, "untrained"),
            test.score_pixels_together(),
        ]
        found = [s for s in scores if s is not None]
        if show:
            show(found)
        if world.rank == 0:
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
