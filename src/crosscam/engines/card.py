"""What a describing model is: its fingerprint, layout and input, as saved inside every exported file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from crosscam.engines.seal import NAME, UNSEALED
from crosscam.errors import EngineError
from crosscam.models.output import Block, Layout
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_from_json, recipe_to_json
from crosscam.system.json_text import parse_json

Precision = Literal["fp32", "int8"]
PREFIX = "crosscam."
# Only training needs classifiers, and the count of batches says nothing about a descriptor.
_NOT_DESCRIBING = ("_classifiers.", "num_batches_tracked")


@dataclass(frozen=True)
class ModelCard:
    """What anybody who holds descriptors must know of the model that made them.

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
    """The card as named texts, which is what every file format can hold; see :mod:`crosscam.engines.seal`."""
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
            f"{where} was not written by 'crosscam export', and there is no network.json that says which pictures it "
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
            f"{where} cannot be read ({type(error).__name__}: {' '.join(str(error).split())}). "
            "Export it again with this version of crosscam."
        ) from error
