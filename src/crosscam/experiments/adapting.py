"""A trained network fitted to images without labels: what it starts from, what it learns, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from crosscam.adaptation.adapter import FINGERPRINT, Adapter, check_same_source
from crosscam.adaptation.outcome import Outcome, Scores, data_of, known_scores, save_outcome
from crosscam.adaptation.pseudo_labels import check_clustering
from crosscam.data.augment import Augment
from crosscam.data.datasets.readers import is_unlabeled, read_dataset
from crosscam.data.datasets.unlabeled import read_images
from crosscam.data.records import DISTRACTOR_PID, ReidDataset
from crosscam.data.text_files import read_text
from crosscam.errors import DataError, RecipeError, TrainingError
from crosscam.experiments.experiment import SCORES, save_scores
from crosscam.experiments.scoring import TestImages, check_scoring
from crosscam.inference.describing import describing_model, load_model
from crosscam.inference.engines.network_file import is_network_file
from crosscam.inference.engines.registry import is_exported
from crosscam.inference.imported import declaration_of
from crosscam.recipes import checkpoint
from crosscam.recipes.choices import AdamW, Adapt, Cosine
from crosscam.recipes.ranges import flatten
from crosscam.recipes.recipe import Distill, Recipe, Train, stages_of
from crosscam.recipes.settings import with_settings
from crosscam.system.files import check_folder
from crosscam.system.text import parse_json
from crosscam.training.callbacks import Listeners, read_history, training_reported
from crosscam.training.provenance import training_data
from crosscam.training.trained_on import load_trained_on, overlap

SUFFIX = "-adapted"
# Flips, shifts and erasing, as in Dai et al.
AUGMENT = Augment(erase="correct", erase_probability=0.5, erase_area=(0.02, 0.4), erase_fill="mean", shift=0.05)


def recipe_for(source: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe by which a run folder or shipped network is adapted, with changes such as ``adapt.eps=0.4``.

    TrainingError: a network that cannot be trained; CheckpointError: no run folder; RecipeError: no such setting, or
    one of the network itself.
    """
    is_file = not source.is_dir() and (is_network_file(source) or is_exported(source))
    if is_file or declaration_of(source, None) is not None:
        raise TrainingError(
            f"{source} is a network that cannot be trained here: a file, or one from elsewhere. Give a run folder of "
            "'crosscam train', or rrid-mini."
        )
    own = checkpoint.load_recipe(source)
    recipe = with_settings(adapted_recipe(own), settings, once=True)
    if recipe.model != own.model:
        raise RecipeError(f"model.*: the network of {source} is adapted as it is. Leave settings of the model out.")
    return recipe


def without_labels(dataset: ReidDataset) -> ReidDataset:
    """The images to learn from, without identities: the training subset, or all of an unlabeled folder."""
    # A folder of images without names is all gallery; a test split is never learned from.
    chosen = dataset.train or (dataset.gallery if not dataset.query else ())
    if not chosen:
        raise DataError(f"{dataset.place} has a test split and no training images. Give images that are not tested on.")
    train = tuple(replace(sample, pid=DISTRACTOR_PID) for sample in chosen)
    return ReidDataset(dataset.name, dataset.root, train, notes=dataset.notes)


def run_adaptation(
    source: Path,
    recipe: Recipe,
    dataset: ReidDataset,
    folder: Path,
    *,
    labeled: ReidDataset | None = None,
    resume: bool = False,
    listeners: Listeners | None = None,
) -> Outcome:
    """Adapt a network, and tell what came of it; see :func:`adapt` for arguments and errors.

    Args:
        recipe: of :func:`recipe_for`.
        dataset: its training images are learned; their identities are taken away first.
    """
    check_clustering()
    user = listeners or Listeners()
    model = load_model(source, recipe)
    if labeled is not None:
        check_scoring(recipe, labeled, model)
    origin = origin_of(source)
    images = without_labels(dataset)

    def keep_and_tell(record: Mapping[str, float]) -> None:
        save()  # on the disk before the user is told of it
        if user.epoch:
            user.epoch(record)

    kept_first = replace(user, epoch=keep_and_tell)
    adapter = Adapter(source, origin, recipe, images, folder, resume=resume, listeners=kept_first)
    notes = [*adapter.units.notes, *_tested_too(images, labeled), *_known_people(source, labeled)]
    for note in notes:
        user.tell(note)
    with adapter.joined() as world:
        if resume:
            _check_finished(folder, origin)
        test = None if labeled is None else TestImages(labeled, recipe, user.reading, world)
        before, kept = known_scores(folder, origin[FINGERPRINT], labeled) if resume else (None, None)
        if test is not None and before is None:
            before = test.score(model.to(world.device), "before").to_dict()

        def save(after: Scores | None = None) -> Outcome:
            epochs = read_history(folder)
            settings = flatten(asdict(recipe))
            outcome = Outcome(origin, data_of(images), settings, notes, epochs, before, after)
            save_outcome(folder, outcome)
            return outcome

        trained = adapter.fit()
        if test is None:
            return save(kept)
        scored = test.score(describing_model(recipe, trained.state_dict()).to(world.device), "adapted")
        save_scores(folder / SCORES, [scored])
        return save(scored.to_dict())


def origin_of(source: Path) -> dict[str, Any]:
    """What provenance tells of the network that is adapted; CheckpointError if it is not a run folder."""
    return {
        "name": checkpoint.load_recipe(source).name,
        "folder": source.name,
        FINGERPRINT: checkpoint.digest_of(checkpoint.load_weights(source))[:16],
        "trained_on": training_data(source),
    }


def _tested_too(images: ReidDataset, labeled: ReidDataset | None) -> list[str]:
    """A sentence where scored images are learned from, though without labels."""
    if labeled is None:
        return []
    tested = {s.path for s in (*labeled.query, *labeled.gallery)}
    shared = len(tested & {s.path for s in images.train})
    if not shared:
        return []
    return [f"{shared:,} of the {len(tested):,} scored images are learned from, too, though without their labels."]


def _known_people(source: Path, labeled: ReidDataset | None) -> list[str]:
    """A sentence where the network knew scored people before, or may have known them."""
    told = None if labeled is None else overlap(load_trained_on(source), labeled).sentence()
    return [] if told is None else [told]


def _check_finished(folder: Path, origin: Mapping[str, Any]) -> None:
    """Refuse to go on with an adaptation of another network."""
    place = folder / checkpoint.PROVENANCE
    if place.is_file():
        with suppress(DataError, ValueError, LookupError, TypeError):
            check_same_source(folder, parse_json(read_text(place))["adapted_from"][FINGERPRINT], origin)


def adapt(
    source: str | os.PathLike[str],
    data: str | os.PathLike[str] | ReidDataset,
    folder: str | os.PathLike[str],
    *,
    labeled: str | os.PathLike[str] | ReidDataset | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    progress: bool = True,
) -> Outcome:
    """Fit a trained network to images without labels; ``crosscam adapt`` as a function.

    Args:
        source: run folder, or the name of a network that comes with crosscam.
        data: a dataset, or its folder or table; its training images are learned, or all of a folder of images.
            Cameras, tracks and times count; identities are not looked at.
        folder: the run folder to write, which :meth:`crosscam.Extractor.load` opens.
        labeled: a dataset whose query and gallery are scored before and after.
        settings: changes of the recipe, such as ``["adapt.eps=0.4", "train.epochs=5"]``.
        resume: go on with the adaptation in the folder, or begin it if there is none yet.
        progress: show a bar, and a line for each epoch and note, on standard error; False for silence.
    Returns:
        What came of it, as ``adapt.json`` in the folder tells it.
    Raises:
        TrainingError: a network that cannot be trained, no scikit-learn, or the adaptation was asked to stop.
        DataError: no such dataset, too few images, or no clusters.
        CheckpointError: not a run folder, or ``folder`` holds another training.
        RecipeError: no such setting.
    """
    start, place = Path(source), Path(folder)
    recipe = recipe_for(start, settings)
    check_folder(place)
    dataset = data if isinstance(data, ReidDataset) else _read(Path(data))
    test = read_dataset(Path(labeled)) if isinstance(labeled, str | os.PathLike) else labeled
    with training_reported(progress) as listeners:
        for note in dataset.notes:
            listeners.tell(note)
        return run_adaptation(start, recipe, dataset, place, labeled=test, resume=resume, listeners=listeners)


def _read(path: Path) -> ReidDataset:
    """A dataset, or a folder of images of which nothing says who is on them; folders in it are cameras."""
    return read_images(path) if is_unlabeled(path) else read_dataset(path)


def adapted_recipe(source: Recipe) -> Recipe:
    """The recipe of an adaptation of a network of recipe ``source``, before the user's settings.

    The network, its input and its scoring are the source's. The first stages of the backbone stay frozen, as in most
    recipes from ImageNet weights, which makes a step cheaper. Rates and epochs are those that were measured
    (docs/adapt.md).
    """
    name = source.name.removesuffix(SUFFIX)
    return replace(
        source,
        name=name + SUFFIX,
        description=f"{name}, fitted to images without labels.",
        data=replace(source.data, sampler="identities", batch_ids=16, batch_images=4, augment=AUGMENT, small_until=0.0),
        distill=Distill(),
        optim=AdamW(lr_backbone=7e-4, lr_head=1.4e-3, weight_decay=5e-4),
        schedule=Cosine(floor=0.1),
        train=Train(
            epochs=14,
            precision=source.train.precision,
            channels_last=source.train.channels_last,
            frozen_stages=stages_of(source.model) * 3 // 8,
        ),
        evaluation=replace(source.evaluation, every=0),
        adapt=Adapt(),
    )
