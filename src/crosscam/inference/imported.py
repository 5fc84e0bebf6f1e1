"""Networks from elsewhere, opened: from a file with its declared input, a torch module, or a Python function."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from crosscam.data.network_input import NetworkInput
from crosscam.data.resizing import Resize
from crosscam.errors import ArgumentError, EngineError, RecipeError
from crosscam.inference.engines.base import ModelCard
from crosscam.inference.engines.imported_network import ImportedEngine, ImportedNetwork
from crosscam.inference.engines.network_file import (
    Declaration,
    declare,
    find_declaration,
    fingerprint_of_parts,
    is_network_file,
)
from crosscam.inference.engines.network_runtimes import (
    TORCHSCRIPT,
    PixelFunction,
    open_file,
    open_function,
    open_module,
)
from crosscam.recipes.recipe import Data, Recipe

Source = str | os.PathLike[str] | nn.Module | PixelFunction
_EXAMPLE = "'rgb 256x128 imagenet'"


@dataclass(frozen=True, eq=False)
class Imported:
    """An opened network from elsewhere.

    Attributes:
        network: it.
        recipe: what stands in the place of a recipe.
        card: what is known of it.
        declared: its file and declaration; None for a module or a function.
    """

    network: ImportedNetwork
    recipe: Recipe
    card: ModelCard
    declared: Declaration | None = None

    def engine(self) -> ImportedEngine:
        """It as an engine."""
        return ImportedEngine(self.network, flip=self.card.flip)


def declaration_of(source: Source, input: str | None) -> Declaration | None:
    """The declaration of a network's file; None for what is not one: a run folder, or a file of 'crosscam export'.

    Args:
        source: a path.
        input: declared by the caller; it goes before ``network.json``.
    Raises:
        ArgumentError: an input of something that says itself what it takes.
        EngineError: TorchScript without a declaration, or a declaration of another file.
    """
    path = Path(str(source)) if not isinstance(source, str | os.PathLike) else Path(source)
    if input is not None:
        if path.is_dir() or not is_network_file(path):
            found = find_declaration(path) if path.is_dir() else None
            if found is None:
                raise ArgumentError(
                    f"{path} is not a network's file, so that it takes no input={input!r}. Leave it out."
                )
            path = found.file
        return declare(path, NetworkInput.parse(input))
    found = find_declaration(path)
    # What is no export of crosscam's is told of where exports are opened: it may be a damaged one.
    if found is None and path.suffix.lower() in TORCHSCRIPT and path.is_file():
        raise undeclared(path)
    return found


def undeclared(path: Path) -> EngineError:
    """What is said of a network's file of which nothing says what it takes."""
    return EngineError(
        f"{path} does not say which images it takes, and there is no network.json for it. Tell it once: "
        f"crosscam import-network {path} --input {_EXAMPLE}, or input={_EXAMPLE} in Python."
    )


def open_declared(declared: Declaration, *, flip: bool = True, engine: str = "auto", device: str = "cpu") -> Imported:
    """Open a network's file.

    Args:
        declared: the file and its input.
        flip: whether the mirror image counts.
        engine, device: see :func:`crosscam.inference.engines.network_runtimes.open_file`.
    Raises:
        EngineError: see there; or no output has one row for each image.
    """
    opened = open_file(declared.file, declared.takes, engine, device)
    network = ImportedNetwork(opened, declared.takes, str(declared.file), declared.output)
    # By its name, so that a file with several outputs keeps its fingerprint when it is declared.
    known = replace(declared, output=network.output if len(network.outputs) > 1 else None)
    return _imported(network, declared.file.stem, known.fingerprint(flip=flip), flip, known)


def open_callable(
    source: nn.Module | PixelFunction, takes: NetworkInput, *, name: str | None, flip: bool = True, device: str = "cpu"
) -> Imported:
    """Open a torch module or a Python function.

    Args:
        source: what ``open_module`` and ``open_function`` of :mod:`crosscam.inference.engines.imported_network` take.
        takes: its input.
        name: of the network with its version; a function needs one, since nothing else tells it from another.
        flip: whether the mirror image counts.
        device: of torch.
    Raises:
        ArgumentError: a function without a name.
    """
    if isinstance(source, nn.Module):
        called = name or type(source).__name__
        digest = _digest_of_weights(source.state_dict())
        network = ImportedNetwork(open_module(source, device), takes, called)
    else:
        if not name:
            raise ArgumentError(
                "A function has no file by which its descriptors could be told from another's. Give name='...', a name "
                "with a version that changes when the function does."
            )
        called, digest = name, ""
        network = ImportedNetwork(open_function(source, takes), takes, called)
    fingerprint = fingerprint_of_parts(called, digest, str(takes), network.output, flip=flip)
    return _imported(network, called, fingerprint, flip, None)


def _imported(
    network: ImportedNetwork, name: str, fingerprint: str, flip: bool, declared: Declaration | None
) -> Imported:
    recipe = imported_recipe(name, network.takes)
    card = ModelCard(fingerprint, network.layout, recipe, flip, version=version("crosscam"))
    return Imported(network, recipe, card, declared)


def _digest_of_weights(weights: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        if isinstance(value, Tensor):
            array = value.detach().cpu()
            numbers = array.float().numpy() if array.is_floating_point() else array.numpy()
            digest.update(f"|{name}|{numbers.shape}|{numbers.dtype}|".encode())
            digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ImportedModel:
    """A network from elsewhere; nothing builds or trains it.

    Attributes:
        takes: its declared input.
    """

    takes: NetworkInput
    system: Literal["imported"] = "imported"

    def check(self, height: int, width: int) -> None:
        """Every size is its own."""

    def build(self, num_ids: int, *, pretrained: bool = True) -> nn.Module:
        """Refuse."""
        del num_ids, pretrained
        raise RecipeError("A network that was imported cannot be trained here. Choose a recipe: 'crosscam recipes'.")


def imported_recipe(name: str, takes: NetworkInput) -> Recipe:
    """A recipe by which an imported network is opened and scored.

    Args:
        name: of the network.
        takes: its declared input.
    """
    description = f"A network from elsewhere; declared input: {takes}."
    return Recipe(name, description, Data(height=takes.height, width=takes.width), ImportedModel(takes))


def resize_of(recipe: Recipe) -> Resize:
    """How the images for a network are resized."""
    return recipe.model.takes.resize if isinstance(recipe.model, ImportedModel) else "bilinear"
