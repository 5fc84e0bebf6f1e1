"""An opened model: a run folder, an exported file or a network from elsewhere, from pixels to descriptors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crosscam.data.image_inputs import (
    ImageLike,
    ImagesLike,
    Settled,
    ValueRange,
    check_range,
    decode_settled,
    in_list,
    name_of,
    settle,
)
from crosscam.data.images import resize_image
from crosscam.data.loading import read_ahead
from crosscam.errors import ArgumentError, EngineError
from crosscam.inference.engines.autotune import Measurement, Runner
from crosscam.inference.engines.base import ModelCard, Pixels, fingerprint_of
from crosscam.inference.engines.graph import Network
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.inference.engines.onnx_engine import MEASURED_IMAGES
from crosscam.inference.engines.registry import int8_fingerprint, is_int8, open_exported
from crosscam.inference.imported import Imported, resize_of
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of
from crosscam.recipes.recipe import Recipe

# Whether an extractor has run in this process, and whether one had run, in several threads, where it was forked.
_used = _threads_left_behind = False


class OpenedModel:
    """A trained model that turns pixels into descriptors; :class:`crosscam.Extractor` takes images of any kind.

    Attributes:
        recipe: what the model was trained by.
        flip: whether the mirror image counts.
    """

    _imported: Imported | None = None

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        flip: bool = True,
        engine: str = "torch",
        device: str = "cpu",
        int8_images: Sequence[ImageLike] | None = None,
        calibration: Sequence[ImageLike] | None = None,
    ) -> None:
        self.recipe = recipe
        self.flip = flip
        self._model: nn.Module | None = model.eval()
        self._device = device
        self._folder: Path | None = None
        self._card: ModelCard | None = None
        self._process = os.getpid()
        self._runner = Runner(engine, lambda: self._network)
        images = int8_images_of(int8_images, calibration)
        self._int8_images = None if images is None else self.decoded(images)

    @classmethod
    def of_exported(cls, path: Path, flip: bool | None, engine: str, device: str) -> Self:
        """A file that ``crosscam export`` wrote."""
        found, card = open_exported(path, engine, device)
        if flip is not None and flip != card.flip:
            raise ArgumentError(
                f"{path} was exported {'with' if card.flip else 'without'} the mirror pass, which is settled in it. "
                f"Leave {'flip=True' if flip else '--no-flip (flip=False)'} out, or export again."
            )
        return cls._without_torch(card.recipe, card, Runner.of(found), device)

    @classmethod
    def of_imported(cls, found: Imported) -> Self:
        """An extractor of a network from elsewhere."""
        self = cls._without_torch(found.recipe, found.card, Runner.of(found.engine()), "cpu")
        self._imported = found
        return self

    @classmethod
    def _without_torch(cls, recipe: Recipe, card: ModelCard, runner: Runner, device: str) -> Self:
        self = cls.__new__(cls)
        self._process = os.getpid()
        self.recipe, self.flip, self._card, self._runner, self._device = recipe, card.flip, card, runner, device
        self._model = self._int8_images = self._folder = None
        return self

    def __repr__(self) -> str:
        data = self.recipe.data
        size = f"{self.dim} numbers, {data.height} x {data.width}"
        return f"Extractor({self.recipe.name!r}, {size}, {self.used}, {self.fingerprint[:4]}...)"

    @property
    def model(self) -> nn.Module:
        """The network, in evaluation mode.

        Raises:
            EngineError: the extractor is of an exported file, which holds no network of torch, or of a network from
                elsewhere.
        """
        if self._imported is not None:
            raise EngineError(
                f"{self._imported.network.name} is a network from elsewhere, without body parts: its distances cannot "
                "be taken apart, and there is nothing to export. Take a run folder, or use the network's own file."
            )
        if self._model is None:
            raise EngineError("An exported file holds no network of torch. Load the run folder it was made from.")
        return self._model

    @property
    def imported(self) -> ImportedNetwork | None:
        """The network from elsewhere that this is; None for a run folder or an exported file."""
        return None if self._imported is None else self._imported.network

    @property
    def has_fixed_flip(self) -> bool:
        """Whether the mirror pass is settled in the file, as 'crosscam export' writes it."""
        return self._model is None and self._imported is None

    @property
    def layout(self) -> Layout:
        """The named blocks of the descriptors."""
        return self._card.layout if self._model is None and self._card else layout_of(self.model)

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop

    @property
    def engine(self) -> str:
        """The engine in use, or ``"auto"`` as long as none has been chosen."""
        return self._runner.name

    @property
    def used(self) -> str:
        """The engine that described last, or ``"auto"`` if nothing was described."""
        return self._runner.used

    @property
    def measured(self) -> Mapping[str, Measurement]:
        """What each engine showed, by name, if this extractor measured them."""
        return self._runner.measured

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of weights, input size, layout and mirror pass, see
        :func:`crosscam.inference.engines.base.fingerprint_of`. The same for a run folder and its fp32 export; another
        in int8.
        """
        if is_int8(self._runner.name) and self._int8_images is not None:
            return int8_fingerprint(self.card, self._int8_images)
        return self.card.fingerprint

    @property
    def card(self) -> ModelCard:
        """What an exported file says of the model; see :class:`crosscam.inference.engines.base.ModelCard`."""
        if self._card is None:
            data, layout = self.recipe.data, self.layout
            digits = fingerprint_of(self.model, data.height, data.width, layout, flip=self.flip)
            self._card = ModelCard(digits, layout, self.recipe, self.flip, version=version("crosscam"))
        return self._card

    def pixels(self, pixels: Pixels, expected: int = 0) -> NDArray[np.float32]:
        """Describe one batch that is decoded already.

        Args:
            pixels: (B, height, width, 3) uint8 RGB at the size that the recipe states.
            expected: images that will come in all; many of them are worth choosing an engine for.
        Returns:
            (B, D) float32, each row of length 1.
        """
        self._refuse_fork()
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        return self._runner(pixels, max(expected, len(pixels)))

    def _refuse_fork(self) -> None:
        """Refuse to run in a forked child, which has none of the parent's threads and would wait for them forever."""
        global _used
        if self._process != os.getpid() and (self._model is None or _threads_left_behind):
            raise EngineError(
                f"This extractor was loaded in process {self._process}, from which this one ({os.getpid()}) was "
                "forked; its threads do not exist here. Load it in the process that uses it, or start processes with "
                "the method 'spawn'."
            )
        _used = True

    def tune(self, images: Iterable[ImageLike]) -> str:
        """Measure the engines on some images now, and keep the fastest for any number of images; its name."""
        self._runner.choose(self.decoded(list(islice(in_list(images), MEASURED_IMAGES))))
        return self.engine

    @property
    def batch_size(self) -> int:
        """Images at once."""
        return 32 if self._device == "cpu" else 128

    @property
    def _size(self) -> tuple[int, int]:
        return self.recipe.data.height, self.recipe.data.width

    @property
    def _network(self) -> Network:
        return Network(self.model, self.card, self._device, self._int8_images, self._folder)

    def decoded(self, images: ImagesLike, *, value_range: ValueRange | None = None) -> Pixels:
        """Images as :meth:`pixels` takes them: (N, height, width, 3) uint8, decoded and resized in parallel.

        Args:
            images: as when they are described at once.
            value_range: likewise.
        Raises:
            ImageError: an image that cannot be read.
            ValueError: something that is not an image, or one image instead of a list.
        """
        self._refuse_fork()
        settled = self._settled(in_list(images), None, value_range, [])
        found = [image for batch in read_ahead(settled, self._read, self.batch_size) for image in batch]
        return np.stack(found) if found else np.empty((0, *self._size, 3), np.uint8)

    def _settled(
        self,
        images: Iterable[ImageLike],
        names: Sequence[object] | None,
        value_range: ValueRange | None,
        seen: list[object],
    ) -> Iterator[tuple[Settled, str]]:
        """Each image as threads can share it, and what messages call it; ``seen`` gets what the caller calls it."""
        check_range(value_range)
        for place, image in enumerate(images):
            known = names[place] if names is not None and place < len(names) else image
            name = name_of(known, place)
            # The images themselves are not kept: a generator may bring any number.
            seen.append(known if isinstance(known, str | os.PathLike) else place)
            yield settle(image, name, value_range), name

    def _read(self, image: tuple[Settled, str]) -> Pixels:
        """(height, width, 3) of one image."""
        return self.resized(decode_settled(*image))

    def resized(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) uint8 -> (height, width, 3), as the model takes it."""
        return resize_image(pixels, *self._size, resize_of(self.recipe))


def int8_images_of(
    images: Sequence[ImageLike] | None, calibration: Sequence[ImageLike] | None
) -> Sequence[ImageLike] | None:
    """The images for int8, also by the argument's old name, which warns."""
    if calibration is None:
        return images
    warnings.warn("calibration= is now called int8_images=.", DeprecationWarning, stacklevel=3)
    return calibration


def _after_fork() -> None:
    """A forked child has none of its parent's threads; torch would wait for them, so that one thread must do."""
    global _threads_left_behind
    if torch.get_num_threads() > 1:
        _threads_left_behind = _used
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
