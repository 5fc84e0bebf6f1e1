"""Run folders: what a training leaves behind, and how it goes on after any interruption.

A run folder holds ``weights.safetensors``, ``recipe.json`` and ``provenance.json``, readable without crosscam; and,
until the training is done, ``state.pt`` with everything needed to go on. Each file is written beside its place, flushed
to disk and moved over the old one, so that a kill at any instant leaves the last good one. ``state.pt`` is complete in
itself: resuming reads nothing else. Weights and state carry a digest of their numbers, which is checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor, nn

from crosscam.data.text_files import read_text
from crosscam.errors import CheckpointError, DataError, RecipeError, TrainingError
from crosscam.models.torch_files import refuse_quantized
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.ranges import flatten
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_from_json, recipe_to_json
from crosscam.shipped import SHIPPED, run_folder
from crosscam.system import files
from crosscam.system.text import is_unicode, parse_json

WEIGHTS = "weights.safetensors"
RECIPE = "recipe.json"
PROVENANCE = "provenance.json"
# Beside a network from elsewhere; a folder is either's.
DECLARATION = "network.json"
STATE = "state.pt"
# What a training learned from, in its state and provenance.
LEARNED = "learned"
DIGEST = "crosscam.digest"
# In the names of weights that only training needs.
CLASSIFIERS = "_classifiers."
RESUME = "Free some space, or choose another place; a training goes on with --resume."
write_atomically = partial(files.write_atomically, next_step=RESUME, error=TrainingError)
_EXPECTED = f"Expected a run folder as 'crosscam train' leaves it, or a shipped network: {', '.join(SHIPPED)}."


def save_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a model as safetensors."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in weights.items()}
    write_atomically(folder / WEIGHTS, lambda path: _write_tensors(path, tensors))


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe as JSON."""
    write_atomically(folder / RECIPE, recipe_to_json(recipe))


def save_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write where the weights come from, as JSON."""
    write_atomically(folder / PROVENANCE, json.dumps(provenance, indent=2) + "\n")


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write all that a training needs to go on."""
    whole = {**state, DIGEST: digest_of(state)}
    write_atomically(folder / STATE, lambda path: _write_state(path, whole))


def digest_of(value: object) -> str:
    """SHA-256 of nested mappings and sequences of tensors and plain values, whatever file they lie in."""
    digest = hashlib.sha256()
    _add_to(digest, value)
    return digest.hexdigest()


def _add_to(digest: Any, value: object) -> None:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"tensor {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key in sorted(value, key=repr):
            digest.update(f"{key!r}: ".encode())
            _add_to(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)} ".encode())
        for item in value:
            _add_to(digest, item)
    else:
        digest.update(f"{value!r} ".encode())


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        metadata = {DIGEST: digest_of(tensors)}
        # safetensors takes no path that is not UTF-8, but gives and takes bytes.
        if is_unicode(path):
            save_file(dict(tensors), path, metadata=metadata)
        else:
            path.write_bytes(save(dict(tensors), metadata=metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    # Through a file of Python's, a full disk is told as such, and not as an unexpected position in the archive.
    with open(path, "wb") as file:
        torch.save(dict(state), file)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Read ``weights.safetensors`` of a run folder or shipped network; CheckpointError if it is missing or damaged."""
    path = run_folder(folder) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"No {WEIGHTS} in {folder}. {_EXPECTED}")
    try:
        weights = load_file(path) if is_unicode(path) else load(path.read_bytes())
        digest = _metadata(path).get(DIGEST)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Train again, or copy the file again.") from error
    # Files of earlier versions have none.
    if digest is not None and digest != digest_of(weights):
        raise CheckpointError(
            f"{path} is damaged: its numbers are not those that were written. Train again, or copy the file again."
        )
    return weights


def _metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself: its header is JSON behind the header's length in 8 bytes."""
    with open(path, "rb") as file:
        header = parse_json(file.read(int.from_bytes(file.read(8), "little")))
    return dict(header.get("__metadata__", {}))


def load_weights_into(model: nn.Module, folder: Path, recipe: Recipe, leave_out: str | None = None) -> None:
    """Fill a model with a run folder's weights, but for names with ``leave_out``; CheckpointError if they don't fit."""
    weights = {k: v for k, v in load_weights(folder).items() if leave_out is None or leave_out not in k}
    refuse_quantized(weights, model.state_dict(), folder / WEIGHTS)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).split("\n")[1].strip()
        raise CheckpointError(
            f"{folder / WEIGHTS} does not fit its recipe {recipe.name}: {first} "
            "Keep weights.safetensors and recipe.json of one training together."
        ) from error


def start_from(model: nn.Module, source: Path) -> None:
    """Fill a model with another network's weights, but for its own classifiers; CheckpointError if they do not fit."""
    weights = {name: value for name, value in load_weights(source).items() if CLASSIFIERS not in name}
    own = {name: value for name, value in model.state_dict().items() if CLASSIFIERS not in name}
    other = sorted(own.keys() ^ weights.keys()) or [k for k, v in own.items() if v.shape != weights[k].shape]
    if other:
        raise CheckpointError(
            f"train.start={source} is another network than this recipe's: {len(other)} weights are missing, unknown or "
            f"of another shape (first: {other[0]}). Set model.* as {source / RECIPE} has them, or train.start=none."
        )
    refuse_quantized(weights, own, source / WEIGHTS)
    model.load_state_dict(weights, strict=False)


def initial_model(recipe: Recipe, num_ids: int) -> nn.Module:
    """The network before its first step: random, with a pretrained backbone, or from ``train.start``."""
    start = recipe.train.start
    model = build_model(recipe, num_ids, pretrained=start is None)
    if start is not None:
        start_from(model, Path(start))
    return model


def trained_start(recipe: Recipe) -> Path | None:
    """The run folder or shipped network with whose weights, or with whose backbone, a training begins.

    None where it begins with none: with random weights, or with a backbone that a file or a package holds.
    """
    if recipe.train.start is not None:
        return Path(recipe.train.start)
    body = getattr(recipe.model, "pretrained", None)
    # Not whether it is a folder: one that is gone when a training goes on was one.
    if body is None or body in ("imagenet", "download") or run_folder(Path(body)).is_file():
        return None
    return Path(body)


def load_recipe(folder: Path) -> Recipe:
    """Read ``recipe.json`` of a run folder or shipped network; CheckpointError if it is missing or not a recipe."""
    path = run_folder(folder) / RECIPE
    if not path.is_file():
        raise CheckpointError(f"No {RECIPE} in {folder}. {_EXPECTED}")
    try:
        return recipe_from_json(read_text(path))
    except (RecipeError, DataError) as error:
        raise CheckpointError(f"{path} is not a recipe: {error}") from error


def check_free(folder: Path, next_step: str = "Go on with --resume, or choose another folder.") -> None:
    """Refuse (CheckpointError) a folder for a new run that holds a training, weights, or a network from elsewhere."""
    if (folder / DECLARATION).is_file():
        raise CheckpointError(f"{folder} holds a network from elsewhere ({DECLARATION}). Choose another folder.")
    found = [name for name in (RECIPE, WEIGHTS, STATE) if (folder / name).exists()]
    if found:
        raise CheckpointError(f"{folder} already holds a training ({found[0]}). {next_step}")


def load_state(folder: Path, recipe: Recipe, data_fingerprint: str) -> dict[str, Any] | None:
    """``state.pt`` of an interrupted training, or None; CheckpointError if it is damaged or of another training."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}). Nothing was run from it. Start in another folder."
        ) from error
    if not isinstance(state, dict) or not {"recipe", "data", "epoch", "step"} <= set(state):
        raise CheckpointError(f"{path} is not the state of a crosscam training. Start in another folder.")
    # States of earlier versions have none.
    digest = state.pop(DIGEST, None)
    if digest is not None and digest != digest_of(state):
        raise CheckpointError(
            f"{path} is damaged: its numbers are not those that were written. Copy it again from where it is whole, or "
            "start in another folder."
        )
    _check_same(folder, recipe_from_json(state["recipe"]), recipe, state["data"], data_fingerprint)
    return state


def check_same_training(
    folder: Path, recipe: Recipe, data_fingerprint: str, learned: Callable[[], Mapping[str, str]] | None = None
) -> None:
    """Refuse (CheckpointError) a finished run folder of another recipe or other data, or one that cannot be read.

    ``learned`` gives what is there to learn from, as in :func:`check_learned`; without it, names alone are compared.
    """
    try:
        provenance = parse_json(read_text(folder / PROVENANCE))
        data = provenance["data"]["fingerprint"]
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / PROVENANCE} cannot be read ({error}). Start in another folder.") from error
    _check_same(folder, load_recipe(folder), recipe, data, data_fingerprint)
    if learned is not None:
        check_learned(folder, provenance["data"].get(LEARNED), learned)


def check_learned(folder: Path, begun: Mapping[str, str] | None, now: Callable[[], Mapping[str, str]]) -> None:
    """Refuse (CheckpointError) to go on with a training whose images or teachers changed since it began.

    Args:
        folder: the run folder.
        begun: digests of what it learned from, by name; None of earlier versions.
        now: gives those of what is there. What either does not name is not compared.
    """
    if not isinstance(begun, Mapping):
        return
    changed = [name for name, digest in now().items() if begun.get(name, digest) != digest]
    if changed:
        raise CheckpointError(
            f"{folder} learned from other data than there is now: {' and '.join(changed)} changed since it began. "
            "Resume with the same data, or start in another folder."
        )


def _check_same(folder: Path, saved: Recipe, wanted: Recipe, saved_data: str, wanted_data: str) -> None:
    changed = _differences(saved, wanted)
    if changed:
        raise CheckpointError(
            f"{folder} holds a training of recipe {saved.name} with {changed}. "
            "Resume with the same settings, or start in another folder."
        )
    if saved_data != wanted_data:
        raise CheckpointError(
            f"{folder} was trained on other data (fingerprint {saved_data}, now {wanted_data}). "
            "Resume with the same data, or start in another folder."
        )


def _differences(saved: Recipe, wanted: Recipe) -> str:
    before, now = (flatten(json.loads(recipe_to_json(r))) for r in (saved, wanted))
    names = [n for n in before if n not in ("name", "description") and before[n] != now.get(n)]
    return ", ".join(f"{n}={before[n]} (now {now.get(n)})" for n in names[:3])
