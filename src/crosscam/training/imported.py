"""Run folders from the authors' checkpoints."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from crosscam.errors import CheckpointError
from crosscam.models.authors import AuthorsModel, import_authors
from crosscam.models.rrid import RRIDModel
from crosscam.recipes.catalogue import RRID_F
from crosscam.system.locks import only_writer
from crosscam.training import checkpoint
from crosscam.training.provenance import versions


def import_run(file: Path, folder: Path) -> AuthorsModel:
    """Turn a checkpoint of the authors' code into a run folder; nothing in the file is run.

    Args:
        file: a whole pickled module, as the authors save it.
        folder: the run folder to write; it must not hold a training.
    Raises:
        CheckpointError: not the authors' checkpoint, damaged, unsafe, or the folder is taken.
    """
    with only_writer(folder, folder=True):
        return _import(file, folder)


def _import(file: Path, folder: Path) -> AuthorsModel:
    if any((folder / name).exists() for name in (checkpoint.RECIPE, checkpoint.WEIGHTS, checkpoint.STATE)):
        raise CheckpointError(f"{folder} already holds a training. Choose another folder.")
    found = import_authors(file)
    model = RRIDModel(backbone=found.backbone, scales=found.scales, dim=found.dim)
    recipe = replace(RRID_F, name="imported", description=f"RRID imported from the authors' {file.name}.", model=model)
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, found.model.state_dict())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    origin = {"imported_from": file.name, "sha256": digest, "num_ids": found.num_ids, "versions": versions()}
    checkpoint.save_provenance(folder, origin)
    return found
