"""From images to descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crosscam.data.crops import Boxes, Color, HasBoxes, boxed_frames, crop_boxes, earlier_spelling
from crosscam.data.image_inputs import ImageLike, ImagesLike, ValueRange, in_list
from crosscam.data.loading import embed, open_images, read_ahead
from crosscam.data.network_input import NetworkInput
from crosscam.data.resizing import resize_bytes
from crosscam.data.samplers import in_order
from crosscam.data.walk import list_images, path_key
from crosscam.errors import ArgumentError, DataError
from crosscam.inference.describing import check_descriptors, load_model
from crosscam.inference.engines.base import Pixels
from crosscam.inference.engines.registry import is_exported
from crosscam.inference.imported import Source, declaration_of, open_callable, open_declared, resize_of
from crosscam.inference.opened_model import OpenedModel, int8_images_of
from crosscam.recipes.checkpoint import load_recipe
from crosscam.shipped import run_folder
from crosscam.system.progress import Progress, ProgressOption, reported


class Extractor(OpenedModel):
    """A trained model that turns images of persons into descriptors.

    >>> extractor = Extractor.load("runs/demo")  # doctest: +SKIP
    >>> extractor(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
    (2, 1792)

    Attributes:
        recipe: what the model was trained by.
        flip: whether the mirror image counts.
    """

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        flip: bool | None = None,
        device: str = "cpu",
        engine: str = "auto",
        int8_images: Sequence[ImageLike] | None = None,
        calibration: Sequence[ImageLike] | None = None,
        input: str | None = None,
        name: str | None = None,
    ) -> Self:
        """Open a run folder, a file that ``crosscam export`` wrote, or a network from elsewhere.

        Args:
            source: a run folder as ``crosscam train`` leaves it; a file of ``crosscam export``; or a network from
                elsewhere: an .onnx file, an .xml file of OpenVINO's, TorchScript, a ``torch.nn.Module`` that takes
                (B, 3, H, W) float32, or a function from (B, H, W, 3) uint8 images to (B, D) rows.
            flip: whether the mirror image counts (twice the work for a somewhat better descriptor); by default as the
                run's ``data.mirror_pass`` says (``evaluation.flip`` is of its scores). In an exported file this is
                settled.
            device: ``"cpu"``, ``"cuda"``, ...
            engine: one of :data:`crosscam.inference.engines.registry.ENGINES`, or ``"auto"``: the fastest that gives
                what the network gives, measured once when a call brings many images and kept beside the run, in
                ``engines.json``; ``"torch"`` for few.
            int8_images: about 128 images of the kind that will come, from which engines in int8 take their ranges.
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
        if is_exported(path):
            return cls.of_exported(path, flip, engine, device)
        recipe = load_recipe(path)
        flip = recipe.data.mirror_pass if flip is None else flip
        self = cls(load_model(path, recipe), recipe, flip=flip, engine=engine, device=device, int8_images=images)
        # A network of the package is in a folder that is not the user's.
        self._folder = path if run_folder(path) == path else None
        return self

    def __call__(
        self,
        images: ImagesLike,
        batch_size: int | None = None,
        *,
        names: Sequence[object] | None = None,
        value_range: ValueRange | None = None,
        progress: ProgressOption = False,
    ) -> NDArray[np.float32]:
        """Describe images.

        Args:
            images: a list, a generator or a batch of images of any size; a mixture is fine. An image is a path,
                the bytes of an image file, an open file, a PIL image, an (H, W, 3) array, or an (H, W, 3) or
                (3, H, W) tensor; arrays and tensors are RGB, of uint8 or, with ``value_range``, of floats. A
                generator is drawn batch by batch; ``"auto"`` cannot count it, and takes the engine for few images.
            batch_size: images at once; 32 on a CPU and 128 on a GPU by default.
            names: what messages call the images; by default their paths, or their places in the list.
            value_range: black and white of arrays and tensors of floats, such as ``(0, 1)``.
            progress: True for a bar, or a function that is called with (done, all), all being 0 for a generator.
        Returns:
            (N, D) float32, each row of length 1, in the order of the images.
        Raises:
            ImageError: an image that cannot be read.
            DataError: a descriptor that is not finite or has length 0.
            ValueError: something that is not an image, or one image instead of a list.
        """
        self._refuse_fork()
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ArgumentError(f"batch_size is {size}. Expected at least 1.")
        listed, seen = in_list(images), list[object]()
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
            names: of the images, for messages; only those that are described by then need to be there.
            expected: images that will come in all; many of them are worth choosing an engine for.
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

    def folder(
        self, folder: str | os.PathLike[str], *, progress: ProgressOption = False
    ) -> tuple[list[Path], NDArray[np.float32]]:
        """The images of one folder in natural order, by their names' endings, and their (N, D) descriptors.

        Args:
            folder: without its subfolders.
            progress: True for a bar, or a function that is called with (done, all).
        Raises:
            DataError: no folder, no images, or one that cannot be read.
        """
        if not Path(folder).is_dir():
            raise DataError(f"No folder {folder}. Give a folder of images.")
        paths = list_images(Path(folder))[0]
        if not paths:
            raise DataError(f"No images in {folder}. Expected files in .jpg, .png, .bmp, .webp or .tif.")
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
            return resize_bytes(batch, *self._size).contiguous().numpy()

        batches = images.batches(in_order(len(paths), self.batch_size))
        with reported(progress, "describing") as report:
            return self.embed(map(full, batches), paths, len(paths), report)
