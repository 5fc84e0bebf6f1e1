"""One experiment from start to end: train a recipe, score it beside what it must beat, write the report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset, ranked
from crosscam.errors import CheckpointError
from crosscam.experiments.scoring import Scored, TestImages, distances_of
from crosscam.inference.describing import describing_model
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import initial_model
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.report.page import ReportContent, write_report
from crosscam.report.strips import RankStrip, rank_strips
from crosscam.system.distributed import is_first_process
from crosscam.system.files import check_folder, write_atomically
from crosscam.system.text import counted
from crosscam.training.callbacks import Listeners, read_history, training_reported
from crosscam.training.provenance import training_data, versions
from crosscam.training.trained_on import Overlap, load_trained_on
from crosscam.training.trained_on import overlap as find_overlap
from crosscam.training.trainer import Trainer

SCORES = "scores.json"
REPORT = "report.html"
# The row of a network that began as another run's.
BEFORE = "before training"


def untrained_model(recipe: Recipe, num_ids: int) -> nn.Module:
    """The network as it was before its first step: the same seed gives the same weights."""
    torch.manual_seed(recipe.train.seed)
    return initial_model(recipe, num_ids).eval()


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
    """Train, score and report, as :func:`train` does.

    Without query and gallery nothing is scored. ``show`` gets the scores as soon as they are known, before they are
    written to ``scores.json`` and ``report.html``, to which ``provenance`` adds lines. Scores before training are
    missing, with a note, where a resumed training no longer finds what it began with. BusyError: another process trains
    there.
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
        found = _beside_controls(test, trained, _before(recipe, dataset, trainer.listeners))
        if show:
            show(found)
        if world.rank == 0:
            save_scores(folder / SCORES, found)
            shared = find_overlap(load_trained_on(folder), dataset)
            trainer.listeners.tell(shared.sentence())
            layout = layout_of(trained)
            write_run_report(folder / REPORT, recipe, dataset, found, folder, layout, provenance, shared)
        return found


def _before(recipe: Recipe, dataset: ReidDataset, listeners: Listeners) -> nn.Module | None:
    """The network before training; None, with a note, if what it began with is gone since."""
    try:
        return untrained_model(recipe, len({s.pid for s in dataset.train}))
    except CheckpointError as error:
        listeners.tell(f"The network before training is not scored: {error}")
        return None


def _beside_controls(test: TestImages, trained: nn.Module, untrained: nn.Module | None) -> list[Scored]:
    """Scores of the trained network, of the one before training, and of pixels; in the first process alone."""
    scores = [test.score_together(trained)]
    if untrained is not None:
        name = "untrained" if test.recipe.train.start is None else BEFORE
        scores.append(test.score_together(untrained.to(next(trained.parameters()).device), name))
    return [score for score in (*scores, test.score_pixels_together()) if score is not None]


def train(
    recipe: str | Recipe,
    data: str | os.PathLike[str] | ReidDataset,
    folder: str | os.PathLike[str],
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
    progress: bool = True,
) -> list[Scored]:
    """Train a recipe on a dataset, score it, and write a report; ``crosscam train`` as a function.

    Args:
        recipe: a recipe or its name, see :func:`crosscam.list_recipes`.
        data: a dataset, or its folder or table, see :func:`crosscam.read_dataset`.
        folder: the run folder to write, which :meth:`crosscam.Extractor.load` opens.
        settings: changes of the recipe, such as ``["train.epochs=5"]``.
        resume: go on with the training in the folder, or begin it if there is none yet.
        progress: show a bar, and a line for each epoch and note, on standard error; False for silence.
    Returns:
        Scores of the trained network, of the same network before training, and of raw pixels; empty without a test
        split, and in all processes but the first.
    Raises:
        RecipeError: no such recipe or setting.
        DataError: no such dataset, or one that cannot be trained.
        CheckpointError: the folder holds another training.
        TrainingError: the loss is not finite, the disk is full, or the training was asked to stop.
    """
    chosen = with_settings(find_recipe(recipe) if isinstance(recipe, str) else recipe, settings, once=True)
    place = Path(folder)
    check_folder(place)
    dataset = data if isinstance(data, ReidDataset) else read_dataset(Path(data))
    with training_reported(progress and is_first_process()) as listeners:
        for note in dataset.notes:
            listeners.tell(note)
        return run_experiment(chosen, dataset, place, resume=resume, listeners=listeners)


def save_scores(path: Path, scores: list[Scored], overlap: Overlap | None = None) -> None:
    """Write scores with their protocols as JSON, and with the tested people that were trained on, if they are known."""
    further = {} if overlap is None else overlap.to_dict()
    write_atomically(path, json.dumps([s.to_dict() | further for s in scores], indent=2) + "\n")


def write_run_report(
    path: Path,
    recipe: Recipe,
    dataset: ReidDataset,
    scores: list[Scored],
    folder: Path,
    layout: Layout,
    provenance: Mapping[str, str] | None = None,
    overlap: Overlap | None = None,
) -> None:
    """The page of one run: scores, curves, and the rankings of the first row of ``scores``.

    Args:
        path, folder: the page, and the run folder.
        layout: of the descriptors.
        provenance: more lines, for example the command.
        overlap: the tested people that were trained on; looked up where it is not given.
    """
    tested = counted(len({s.pid for s in dataset.query}), "identity")
    shared = find_overlap(load_trained_on(folder), dataset) if overlap is None else overlap
    warning = shared.sentence()
    content = ReportContent(
        title=f"{recipe.name} on {dataset.name}",
        subtitle=f"Recipe: {recipe.description} Tested on {tested}{'.' if warning else ' that it never saw.'}",
        scores=[s.row() for s in scores],
        history=read_history(folder),
        strips=strips_of(dataset, scores[0], recipe, layout),
        provenance={
            "recipe": recipe.name,
            "data": f"{dataset.name}, fingerprint {dataset.fingerprint()}",
            "training": training_data(folder),
            "seed": str(recipe.train.seed),
            **(provenance or {}),
            **versions(),
        },
        notes=(*((warning,) if warning else ()), *dataset.notes),
    )
    write_report(path, content)


def strips_of(dataset: ReidDataset, scored: Scored, recipe: Recipe, layout: Layout) -> list[RankStrip]:
    """Rank strips of the hardest and easiest queries of a scoring without re-ranking, by the distance of its scores."""
    ap = scored.result.average_precision
    scored_queries = np.flatnonzero(~np.isnan(ap))
    order = scored_queries[np.argsort(ap[scored_queries], kind="stable")]
    shown = np.unique(np.concatenate((order[:64], order[-64:])))
    dataset = ranked(dataset)
    # Strips show few queries, so only their distances are computed.
    chosen = replace(dataset, query=tuple(dataset.query[i] for i in shown))
    query = scored.query[shown]
    distances = distances_of(recipe, layout, query, scored.gallery)
    return rank_strips(chosen, distances, ap[shown], query, scored.gallery, layout)
