"""A network for cameras it was not trained at, from pictures that nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosscam.data.loading import Progress, open_images
from crosscam.errors import CheckpointError, DataError
from crosscam.extraction import load_model
from crosscam.models.rrid import RRIDModel
from crosscam.models.systems import layout_of
from crosscam.training import checkpoint
from crosscam.training.provenance import versions
from crosscam.training.whitening import PROJECTION, fit_projection

# A block of c numbers has c directions; their variances want a few pictures each.
PICTURES_PER_NUMBER = 2


@dataclass(frozen=True)
class Adapted:
    """What :func:`adapt` did.

    Attributes:
        pictures: how many there were.
        length: numbers of each block now.
        numbers: of the whole descriptor.
    """

    pictures: int
    length: int
    numbers: int


def adapt(
    source: Path, pictures: Sequence[Path], folder: Path, *, length: int | None = None, progress: Progress | None = None
) -> Adapted:
    """Whiten the blocks of an RRID's descriptor over pictures of new cameras, and write that as a run folder.

    The network itself is not trained. What all people there have in common, and what varies together, counts for less
    afterwards; blocks keep their names and rows. Of many pictures a part is taken, see
    :data:`crosscam.training.whitening.FIT_IMAGES`.
    Source: PCA whitening of descriptors (Jégou & Chum, ECCV 2012) over the target's pictures, block by block.

    Args:
        source: run folder of an RRID, or a shipped network's name.
        pictures: person pictures from the new cameras, of as many people as possible.
        folder: the run folder to write; it must not hold a training.
        length: numbers of each block afterwards; None keeps the network's own.
        progress: called with (done, all) while pictures are read.
    Raises:
        CheckpointError: no such network, not an RRID, or the folder is taken.
        DataError: too few pictures, or some that cannot be read.
    """
    checkpoint.check_free(folder)
    recipe = checkpoint.load_recipe(source)
    settings = recipe.model
    if not isinstance(settings, RRIDModel):
        raise CheckpointError(
            f"{source} is a network of {settings.system}; only the blocks of an RRID can be projected. "
            "Adapt an RRID, for example rrid-mini."
        )
    if length is None:
        length = settings.project or settings.dim
    if not 1 <= length <= settings.dim:
        raise CheckpointError(
            f"length={length}: a block of {source} has {settings.dim} numbers. Give 1 to {settings.dim}."
        )
    needed = PICTURES_PER_NUMBER * settings.dim
    if len(pictures) < needed:
        raise DataError(
            f"{len(pictures):,} pictures, but blocks of {settings.dim} numbers take at least {needed:,} to be "
            f"whitened. Add pictures, or take {source} as it is."
        )
    before = load_model(source, recipe)
    weights = {k: v for k, v in before.state_dict().items() if not k.startswith(PROJECTION)}
    recipe = replace(recipe, model=replace(settings, project=length))
    model = recipe.model.build(0, pretrained=False)
    model.load_state_dict(weights, strict=False)
    fit_projection(model, recipe, open_images(pictures, recipe.data.height, recipe.data.width, progress=progress))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, model.state_dict())
    checkpoint.save_provenance(folder, {"adapted_from": str(source), "pictures": len(pictures), "versions": versions()})
    return Adapted(len(pictures), length, length * len(layout_of(model)))
