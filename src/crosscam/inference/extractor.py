"""From images to descriptors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from crosscam.data.augment import resize
from crosscam.data.crops import Boxes, Color, HasBoxes, boxed_frames, crop_boxes, earlier_spelling
from crosscam.data.images import list_images, path_key, resize_image
from crosscam.data.loading import embed, open_images, read_ahead
from crosscam.data.network_input import NetworkInput
from crosscam.data.pictures import (
    Picture,
    Pictures,
    Settled,
    ValueRange,
    check_range,
    decode_settled,
    in_list,
    name_of,
    settle,
)
from crosscam.data.samplers import in_order
from crosscam.errors import ArgumentError, DataError, EngineError
from crosscam.inference.describing import check_descriptors, extract, load_model
from crosscam.inference.engines.autotune import Measurement, Runner
from crosscam.inference.engines.base import Pixels
from crosscam.inference.engines.card import ModelCard, fingerprint_of
from crosscam.inference.engines.quantize import MEASURED_IMAGES
from crosscam.inference.engines.registry import Network, int8_fingerprint, is_exported, is_int8, open_exported
from crosscam.inference.imported import Imported, Source, declaration_of, open_callable, open_declared, resize_of
from crosscam.models.output import Layout, describe
from crosscam.models.systems import layout_of
from crosscam.recipes.checkpoint import load_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.shipped import run_folder
from crosscam.system.progress import Progress, ProgressOption, reported

# Whether an extractor has run in this process, and whether one had run, in several threads, where it was forked.
_used = _threads_left_behind = False

__all__ = ["Extractor", "describe", "extract", "load_model"]


class Extractor:
    """A trained model that turns pictures of persons into descriptors.

    >>> extractor = Extractor.load("runs/demo")  # doctest: +SKIP
    >>> extractor(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
    (2, 1792)

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
        int8_images: Sequence[Picture] | None = None,
        calibration: Sequence[Picture] | None = None,
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
    def load(
        cls,
        source: Source,
        *,
        flip: bool | None = None,
        device: str = "cpu",
        engine: str = "auto",
        int8_images: Sequence[Picture] | None = None,
        calibration: Sequence[Picture] | None = None,
        input: str | None = None,
        name: str | None = None,
    ) -> Extractor:
        """Open a run folder, a file that ``crosscam export`` wrote, or a network from elsewhere.

        Args:
            source: a run folder as ``crosscam train`` leaves it; a file of ``crosscam export``; or a network from
                elsewhere: an .onnx file, an .xml file of OpenVINO's, TorchScript, a ``torch.nn.Module`` that takes
                (B, 3, H, W) float32, or a function from (B, H, W, 3) uint8 pictures to (B, D) rows.
            flip: whether the mirror image counts (twice the work for a somewhat better descriptor); by default it
                does. In an exported file this is settled.
            device: ``"cpu"``, ``"cuda"``, ...
            engine: one of :data:`crosscam.inference.engines.registry.ENGINES`, or ``"auto"``: the fastest that gives
                what the network gives, measured once when a call brings many pictures and kept beside the run, in
                ``engines.json``; ``"torch"`` for few.
            int8_images: about 128 pictures of the kind that will come, from which engines in int8 take their ranges.
                With ``"auto"`` they make int8 a candidate.
            calibration: the old name of ``int8_images``.
            input: what a network from elsewhere takes, such as ``"rgb 256x128 imagenet"`` or ``"bgr 256x128 255"``,
                see :class:`crosscam.data.network_input.NetworkInput`; a function gets bytes, ``"rgb 256x128 255"``. A
                file does not need it where ``crosscam import-network`` wrote a ``network.json`` beside it.
            name: of a module or a function, with its version; a function needs one.
        Raises:
            CheckpointError: not a run folder, or its weights are of another recipe.
            EngineError: a file that cannot be read, or an engine that cannot run here.
            ValueError: an unknown engine, a mirror pass that the file does not have, or an input that cannot be read
                or is not declared.
        """
        images = int8_images_of(int8_images, calibration)
        if not isinstance(source, str | os.PathLike):
            if input is None:
                raise ArgumentError("A module or a function needs input='...', for example 'rgb 256x128 imagenet'.")
            if engine not in ("auto", "torch") or images is not None:
                raise ArgumentError("engine= and int8_images= are for files and run folders. Leave them out.")
            takes = NetworkInput.parse(input)
            return cls.of_imported(open_callable(source, takes, name=name, flip=flip is not False, device=device))
        declared = declaration_of(source, input)
        if name is not None:
            raise ArgumentError(f"name={name!r} is for a module or a function; {source} has a name. Leave it out.")
        if declared is not None:
            return cls.of_imported(open_declared(declared, flip=flip is not False, engine=engine, device=device))
        path = Path(source)
        if not is_exported(path):
            recipe = load_recipe(path)
            model = load_model(path, recipe)
            flip = flip is None or flip
            self = cls(model, recipe, flip=flip, engine=engine, device=device, int8_images=images)
            # A network of the package is in a folder that is not the user's.
            self._folder = path if run_folder(path) == path else None
            return self
        found, card = open_exported(path, engine, device)
        if flip is not None and flip != card.flip:
            raise ArgumentError(
                f"{path} was exported {'with' if card.flip else 'without'} the mirror pass. Export again."
            )
        self = cls.__new__(cls)
        self._process = os.getpid()
        self.recipe, self.flip, self._card = card.recipe, card.flip, card
        self._model, self._device, self._int8_images, self._runner = None, device, None, Runner.of(found)
        self._folder = None
        return self

    @classmethod
    def of_imported(cls, found: Imported) -> Extractor:
        """An extractor of a network from elsewhere."""
        self = cls.__new__(cls)
        self._process = os.getpid()
        self.recipe, self.flip, self._card = found.recipe, found.card.flip, found.card
        self._model, self._device, self._int8_images = None, "cpu", None
        self._runner, self._folder, self._imported = Runner.of(found.engine()), None, found
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
        :func:`crosscam.inference.engines.card.fingerprint_of`. The same for a run folder and its fp32 export; another
        in int8.
        """
        if is_int8(self._runner.name) and self._int8_images is not None:
            return int8_fingerprint(self.card, self._int8_images)
        return self.card.fingerprint

    @property
    def card(self) -> ModelCard:
        """What an exported file says of the model; see :class:`crosscam.inference.engines.card.ModelCard`."""
        if self._card is None:
            data, layout = self.recipe.data, self.layout
            digits = fingerprint_of(self.model, data.height, data.width, layout, flip=self.flip)
            self._card = ModelCard(digits, layout, self.recipe, self.flip, version=version("crosscam"))
        return self._card

    def __call__(
        self,
        pictures: Pictures,
        batch_size: int | None = None,
        *,
        names: Sequence[object] | None = None,
        value_range: ValueRange | None = None,
        progress: ProgressOption = False,
    ) -> NDArray[np.float32]:
        """Describe pictures.

        Args:
            pictures: a list, a generator or a batch of pictures of any size; a mixture is fine. A picture is a path,
                the bytes of an image file, an open file, a PIL image, an (H, W, 3) array, or an (H, W, 3) or
                (3, H, W) tensor; arrays and tensors are RGB, of uint8 or, with ``value_range``, of floats. A
                generator is drawn batch by batch; ``"auto"`` cannot count it, and takes the engine for few pictures.
            batch_size: pictures at once; 32 on a CPU and 128 on a GPU by default.
            names: what messages call the pictures; by default their paths, or their places in the list.
            value_range: black and white of arrays and tensors of floats, such as ``(0, 1)``.
            progress: True for a bar, or a function that is called with (done, all), all being 0 for a generator.
        Returns:
            (N, D) float32, each row of length 1, in the order of the pictures.
        Raises:
            ImageError: a picture that cannot be read.
            DataError: a descriptor that is not finite or has length 0.
            ValueError: something that is not a picture, or one picture instead of a list.
        """
        self._refuse_fork()
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ArgumentError(f"batch_size is {size}. Expected at least 1.")
        listed, seen = in_list(pictures), list[object]()
        batches = read_ahead(self._settled(listed, names, value_range, seen), self._read, size)
        expected = len(listed) if isinstance(listed, Sized) else 0
        with reported(progress, "describing") as report:
            return self.embed(map(np.stack, batches), seen, expected, report)

    def embed(
        self, batches: Iterable[Pixels], names: Sequence[object], expected: int, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Describe batches that are decoded already.

        Args:
            batches: (B, height, width, 3) uint8 RGB at the size that the recipe states; none is fine.
            names: of the pictures, for messages; only those that are described by then need to be there.
            expected: pictures that will come in all; many of them are worth choosing an engine for.
            progress: called with (done, expected).
        Returns:
            (N, D) float32, each row of length 1.
        Raises:
            DataError: a descriptor that is not finite or has length 0.
        """

        def of_batch(pixels: Pixels, first: int) -> NDArray[np.float32]:
            rows = self.pixels(pixels, expected)
            check_descriptors(rows, names[first : first + len(rows)], first)
            return rows

        return embed(batches, of_batch, expected, progress, self.dim)

    def pixels(self, pixels: Pixels, expected: int = 0) -> NDArray[np.float32]:
        """Describe one batch that is decoded already.

        Args:
            pixels: (B, height, width, 3) uint8 RGB at the size that the recipe states.
            expected: pictures that will come in all; many of them are worth choosing an engine for.
        Returns:
            (B, D) float32, each row of length 1.
        """
        self._refuse_fork()
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        return self._runner(pixels, max(expected, len(pixels)))

    def _refuse_fork(self) -> None:
        """Threads do not come along into a forked child: whoever waits for them there waits for ever."""
        global _used
        if self._process != os.getpid() and (self._model is None or _threads_left_behind):
            raise EngineError(
                f"This extractor was loaded in process {self._process}, from which this one ({os.getpid()}) was "
                "forked; its threads do not exist here. Load it in the process that uses it, or start processes with "
                "the method 'spawn'."
            )
        _used = True

    def folder(
        self, folder: str | os.PathLike[str], *, progress: ProgressOption = False
    ) -> tuple[list[Path], NDArray[np.float32]]:
        """The pictures of one folder in natural order, by their names' endings, and their (N, D) descriptors.

        Args:
            folder: without its subfolders.
            progress: True for a bar, or a function that is called with (done, all).
        Raises:
            DataError: no folder, no pictures, or one that cannot be read.
        """
        if not Path(folder).is_dir():
            raise DataError(f"No folder {folder}. Give a folder of pictures.")
        paths = list_images(Path(folder))[0]
        if not paths:
            raise DataError(f"No pictures in {folder}. Expected files in .jpg, .png, .bmp, .webp or .tif.")
        paths.sort(key=path_key)
        return paths, self(paths, progress=progress)

    @earlier_spelling
    def boxes(self, frame: NDArray[np.uint8], boxes: ArrayLike | HasBoxes, color: Color = "rgb") -> NDArray[np.float32]:
        """Describe the people in one frame.

        Args:
            frame: (H, W, 3) uint8.
            boxes: (N, 4) left, top, right, bottom in pixels, or detections that hold them as ``xyxy``.
            color: ``"bgr"`` for a frame of OpenCV's.
        Returns:
            (N, D) float32, in the order of the boxes; no rows without boxes.
        Raises:
            ValueError: see :func:`crosscam.data.crops.crop_boxes`.
        """
        return self(crop_boxes(frame, boxes, color))

    def video(self, path: str | os.PathLike[str], boxes: Boxes) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Describe the people of a video, frame by frame; one frame is in memory at a time.

        Args:
            path: the video file.
            boxes: (N, 4) boxes of the frames, which are counted from 0. A mapping from a frame's number to its boxes;
                or a list whose first item is of the first frame, and so on; or a function that is called with
                (number, frame), where the frame is (H, W, 3) uint8 RGB, and gives its boxes. Frames that a mapping or
                a list does not name, or for which it has None, are passed over.
        Yields:
            a frame's number and its (N, D) descriptors; no rows for a frame without boxes.
        Raises:
            DataError: see :func:`crosscam.data.crops.video_frames`; or the boxes are of no frame of the video. Where
                some of them are, a warning tells how many are not.
            ValueError: boxes of another kind.
        """
        return ((number, self.boxes(frame, found)) for number, frame, found in boxed_frames(path, boxes))

    def files(self, paths: Sequence[Path], progress: ProgressOption = None) -> NDArray[np.float32]:
        """(N, D) descriptors of many files, decoded in parallel.

        Args:
            paths: the files.
            progress: True for a bar, or a function that is called with (done, all).
        Raises:
            DataError: files that cannot be read, with their number and the first.
        """
        images = open_images(paths, *self._size, self.recipe.data.cache, resize=resize_of(self.recipe))

        def full(batch: Tensor) -> Pixels:
            if batch.shape[1:3] != self._size:
                batch = resize(batch, *self._size).permute(0, 2, 3, 1).to(torch.uint8)
            return batch.contiguous().numpy()

        batches = images.batches(in_order(len(paths), self.batch_size))
        with reported(progress, "describing") as report:
            return self.embed(map(full, batches), paths, len(paths), report)

    def tune(self, pictures: Iterable[Picture]) -> str:
        """Measure the engines on some pictures now, and keep the fastest for any number of pictures; its name."""
        self._runner.choose(self.decoded(list(islice(in_list(pictures), MEASURED_IMAGES))))
        return self.engine

    @property
    def batch_size(self) -> int:
        """Pictures at once."""
        return 32 if self._device == "cpu" else 128

    @property
    def _size(self) -> tuple[int, int]:
        return self.recipe.data.height, self.recipe.data.width

    @property
    def _network(self) -> Network:
        return Network(self.model, self.card, self._device, self._int8_images, self._folder)

    def decoded(self, pictures: Pictures, *, value_range: ValueRange | None = None) -> Pixels:
        """Pictures as :meth:`pixels` takes them: (N, height, width, 3) uint8, decoded and resized in parallel.

        Args:
            pictures: as when they are described at once.
            value_range: likewise.
        Raises:
            ImageError: a picture that cannot be read.
            ValueError: something that is not a picture, or one picture instead of a list.
        """
        self._refuse_fork()
        settled = self._settled(in_list(pictures), None, value_range, [])
        found = [image for batch in read_ahead(settled, self._read, self.batch_size) for image in batch]
        return np.stack(found) if found else np.empty((0, *self._size, 3), np.uint8)

    def _settled(
        self,
        pictures: Iterable[Picture],
        names: Sequence[object] | None,
        value_range: ValueRange | None,
        seen: list[object],
    ) -> Iterator[tuple[Settled, str]]:
        """Each picture as threads can share it, and what messages call it; ``seen`` gets what the caller calls it."""
        check_range(value_range)
        for place, picture in enumerate(pictures):
            known = names[place] if names is not None and place < len(names) else picture
            name = name_of(known, place)
            # The pictures themselves are not kept: a generator may bring any number.
            seen.append(known if isinstance(known, str | os.PathLike) else place)
            yield settle(picture, name, value_range), name

    def _read(self, picture: tuple[Settled, str]) -> Pixels:
        """(height, width, 3) of one picture."""
        return self.resized(decode_settled(*picture))

    def resized(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) uint8 -> (height, width, 3), as the model takes it."""
        return resize_image(pixels, *self._size, resize_of(self.recipe))


def int8_images_of(images: Sequence[Picture] | None, calibration: Sequence[Picture] | None) -> Sequence[Picture] | None:
    """The pictures for int8, also by the argument's old name, which warns."""
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
