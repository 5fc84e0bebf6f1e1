"""What an engine is, what all of them share, and the card of the model that every exported file holds.

The card has the model's fingerprint, layout and input, and the file's digest, which is of all bytes but its own: a
flipped bit gives other descriptors.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crosscam.errors import EngineError
from crosscam.models.output import Block, Layout
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_from_json, recipe_to_json
from crosscam.system.cores import available_cores
from crosscam.system.text import parse_json, reason_of

Pixels = NDArray[np.uint8]
Descriptors = NDArray[np.float32]


class Engine(Protocol):
    """Runs one model on one kind of runtime."""

    @property
    def name(self) -> str:
        """As :func:`crosscam.Extractor.load` takes it."""

    def __call__(self, pixels: Pixels) -> Descriptors:
        """(B, H, W, 3) uint8 RGB at the model's input size -> (B, D) float32, each row of length 1."""


def runtime(module: str) -> ModuleType:
    """An optional runtime, imported when it is needed.

    ONNX Runtime reports its use to its maker over the network, through a file in the user's cache folder and a thread.
    Only a variable that is set before its import turns that off; crosscam sets it, unless the user did.

    Raises:
        EngineError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise EngineError(f"This needs {package}, which is not installed: pip install 'crosscam[export]'.") from error


def num_threads() -> int:
    """Threads that an engine may use: what OMP_NUM_THREADS says, or one for each core of this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isascii() and stated.isdigit() and len(stated) < 5 and int(stated) > 0:
        return int(stated)
    return available_cores()


def in_batches_of(size: int | None, run: Callable[[Pixels], Descriptors], pixels: Pixels) -> Descriptors:
    """Run a model that takes a fixed number of images; the last batch is filled up, and the filling cut off.

    Without images, (0, D).
    """
    if not len(pixels):
        # The runtimes refuse empty batches; one black image tells the length of a descriptor.
        return in_batches_of(size, run, np.zeros((1, *pixels.shape[1:]), np.uint8))[:0]
    if size is None or len(pixels) == size:
        found = run(pixels)
        if len(found) != len(pixels):
            raise EngineError(
                f"The graph gives {len(found)} descriptors for {len(pixels)} images. Export it again, or take "
                "--engine torch."
            )
        return found
    rows = []
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        filled = np.concatenate((batch, np.zeros((size - len(batch), *batch.shape[1:]), np.uint8)))
        rows.append(run(filled)[: len(batch)])
    return np.concatenate(rows)


def cache_folder() -> Path:
    """Where graphs and measurements are kept for the next time: CROSSCAM_CACHE, or the user's cache folder."""
    stated = os.environ.get("CROSSCAM_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosscam"


NAME = "digest"
UNSEALED = "0" * 64
# As ONNX and OpenVINO hold a named text; both leave texts as they are.
_PLACE = re.compile(rb'digest(?:\x12\x40| value=")([0-9a-f]{64})')


def seal(path: Path) -> None:
    """Write the digest into a file whose card holds :data:`UNSEALED` in its place."""
    data = path.read_bytes()
    place = _PLACE.search(data)
    assert place is not None
    start, end = place.span(1)
    path.write_bytes(data[:start] + _digest(path, data, start, end).encode() + data[end:])


def is_sealed(path: Path) -> bool | None:
    """Whether a file is what was written; None for files of earlier versions, which have no digest.

    Of an .xml, the .bin beside it counts: the two may also be of different exports.
    """
    data = path.read_bytes()
    place = _PLACE.search(data)
    if place is None:
        return None
    return place[1].decode() == _digest(path, data, *place.span(1))


def refuse_changed(path: Path) -> None:
    """Refuse a file that is not what was written (EngineError: it was damaged, or its .bin is of another export)."""
    try:
        sealed = is_sealed(path)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be opened ({error.strerror or error}). Export it again, or copy the file again."
        ) from error
    if sealed is False:
        beside = f" together with its {path.with_suffix('.bin').name}" if path.suffix.lower() == ".xml" else ""
        raise EngineError(
            f"{path} is damaged: its bytes are not those that were written. Export it again, or copy it again{beside}."
        )


def _digest(path: Path, data: bytes, start: int, end: int) -> str:
    digest = hashlib.sha256(data[:start])
    digest.update(data[end:])
    if path.suffix.lower() == ".xml":
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


Precision = Literal["fp32", "int8"]
PREFIX = "crosscam."
# Only training needs classifiers, and the count of batches says nothing about a descriptor.
_NOT_DESCRIBING = ("_classifiers.", "num_batches_tracked")


@dataclass(frozen=True)
class ModelCard:
    """What users of descriptors must know of the model that made them.

    Attributes:
        fingerprint: sixteen hexadecimal digits, see :func:`fingerprint_of`; an int8 model has one of its own.
        layout: the named blocks of a descriptor.
        recipe: what it was trained by.
        flip: whether the mirror image counts.
        precision: ``"fp32"`` or ``"int8"``.
        version: of crosscam, when the card was written.
        checks: what was measured against the network itself, for example ``{"cosine_min": 0.99999}``.
    """

    fingerprint: str
    layout: Layout
    recipe: Recipe
    flip: bool
    precision: Precision = "fp32"
    version: str = ""
    checks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the model takes, in pixels."""
        return self.recipe.data.height, self.recipe.data.width

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop


def fingerprint_of(model: nn.Module, height: int, width: int, layout: Layout, *, flip: bool) -> str:
    """Sixteen hexadecimal digits that change with any weight, the input size, the layout or the mirror pass.

    Descriptors of models with different fingerprints must not be compared. Classifiers do not count.
    """
    digest = hashlib.sha256(json.dumps([height, width, flip, [asdict(b) for b in layout]]).encode())
    for name, value in sorted(model.state_dict().items()):
        if any(part in name for part in _NOT_DESCRIBING):
            continue
        array = value.detach().cpu().to(torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        digest.update(f"|{name}|{tuple(array.shape)}|".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()[:16]


def derived_fingerprint(fingerprint: str, change: bytes) -> str:
    """The fingerprint of a model that was made from another by a change, for example by rounding its weights."""
    return hashlib.sha256(fingerprint.encode() + b"|" + change).hexdigest()[:16]


def card_to_texts(card: ModelCard) -> dict[str, str]:
    """The card as named texts, which is what every file format can hold; see :mod:`crosscam.inference.engines.base`."""
    height, width = card.size
    return {
        f"{PREFIX}fingerprint": card.fingerprint,
        f"{PREFIX}layout": json.dumps([asdict(block) for block in card.layout]),
        f"{PREFIX}recipe_name": card.recipe.name,
        f"{PREFIX}recipe": recipe_to_json(card.recipe),
        f"{PREFIX}height": str(height),
        f"{PREFIX}width": str(width),
        f"{PREFIX}flip": json.dumps(card.flip),
        f"{PREFIX}precision": card.precision,
        f"{PREFIX}version": card.version,
        f"{PREFIX}checks": json.dumps(dict(card.checks)),
        f"{PREFIX}{NAME}": UNSEALED,
    }


def card_from_texts(texts: Mapping[str, str], where: str) -> ModelCard:
    """The card inside a file.

    Args:
        texts: names and texts, as :func:`card_to_texts` gives them; others are not looked at.
        where: the file's name, for the message.
    Raises:
        EngineError: there is no card, or a newer crosscam wrote it.
    """
    found = {name.removeprefix(PREFIX): text for name, text in texts.items() if name.startswith(PREFIX)}
    if "fingerprint" not in found:
        raise EngineError(
            f"{where} was not written by 'crosscam export', and there is no network.json that says which images it "
            f"takes. Tell it once: crosscam import-network {where} --input 'rgb 256x128 imagenet'."
        )
    try:
        layout = tuple(Block(**{**block, "rows": tuple(block["rows"])}) for block in parse_json(found["layout"]))
        return ModelCard(
            fingerprint=found["fingerprint"],
            layout=layout,
            recipe=recipe_from_json(found["recipe"]),
            flip=bool(parse_json(found["flip"])),
            precision="int8" if found["precision"] == "int8" else "fp32",
            version=found["version"],
            checks=parse_json(found["checks"]),
        )
    except Exception as error:  # whatever a damaged or newer card makes the parsers raise
        raise EngineError(
            f"{where} cannot be read ({type(error).__name__}: {reason_of(error)}). "
            "Export it again with this version of crosscam."
        ) from error
