"""Images of a dataset as uint8 batches: decoded once into memory when they fit, else streamed from disk; and embedded.

What cannot be read stops the reading, with the number of bad files and the first of them: nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crosscam.data.images import decode_image, resize_image
from crosscam.data.resizing import Resize, resize_bytes
from crosscam.errors import DataError, ImageError
from crosscam.system.cores import available_cores
from crosscam.system.progress import Progress

Cache = Literal["auto", "memory", "stream"]
MEMORY_SHARE = 0.5
# Processes that decode a stream.
WORKERS = 2
# Items that are read one after another: threads would take longer to start than this, and a tracker asks for few people
# at every frame.
FEW = 8
DOCTOR_HINT = "'crosscam data doctor' lists all that a dataset has."


S = TypeVar("S")
T = TypeVar("T")


def read_ahead(items: Iterable[S], read: Callable[[S], T], size: int) -> Iterator[list[T]]:
    """What ``read`` gives for each item, in batches and in order; threads read the next batch while this one is used.

    Args:
        items: what is read, for example paths; drawn in this thread, at most two batches ahead.
        read: called in threads; what it raises comes when its batch is asked for.
        size: items of a batch.
    """
    drawn = iter(items)
    first = list(islice(drawn, FEW + 1))
    batches = _in_batches(chain(first, drawn), size)
    if len(first) <= FEW:
        yield from ([read(item) for item in batch] for batch in batches)
        return
    pool = ThreadPoolExecutor(available_cores())
    try:
        coming: list[Future[T]] = []
        for batch in chain(batches, [[]]):
            ready, coming = coming, [pool.submit(read, item) for item in batch]
            if ready:
                yield [answer.result() for answer in ready]
    finally:
        pool.shutdown(cancel_futures=True)


def _in_batches(items: Iterable[S], size: int) -> Iterator[list[S]]:
    drawn = iter(items)
    while batch := list(islice(drawn, size)):
        yield batch


def embed(
    batches: Iterable[T],
    describe: Callable[[T, int], NDArray[np.float32]],
    total: int = 0,
    progress: Progress | None = None,
    dim: int | None = None,
) -> NDArray[np.float32]:
    """The descriptors of all batches, one below the other.

    Args:
        batches: decoded images.
        describe: gives (B, D) rows of a batch, from the batch and the number of images before it.
        total: images in all, for ``progress``.
        progress: called with (done, all) after each batch.
        dim: D, for the result of no batches; without it there must be one.
    Returns:
        (N, D), in the order of the batches.
    """
    rows = [] if dim is None else [np.empty((0, dim), np.float32)]
    done = 0
    for batch in batches:
        rows.append(describe(batch, done))
        done += len(rows[-1])
        if progress:
            progress(done, total)
    return np.concatenate(rows)


class ImageFiles(Dataset[Tensor]):
    """Image files, decoded when asked for.

    Args:
        paths: the files.
        height, width: size in pixels to which images are resized.
        resize: how.
        keep: (height, width) of images that stay as they are, where all of a batch have this size; the device enlarges
            them. None for no size.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        height: int,
        width: int,
        resize: Resize = "bilinear",
        keep: tuple[int, int] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.height, self.width, self.resize, self.keep = height, width, resize, keep

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """(height, width, 3) uint8 image; of the size to keep, if it has that."""
        image = decode_image(self.paths[index])
        return torch.from_numpy(image if image.shape[:2] == self.keep else self._resized(image))

    def read(self, indices: Sequence[int]) -> Tensor:
        """(B, height, width, 3) uint8 images; those of one size are resized together, where it costs less."""
        images = [decode_image(self.paths[i]) for i in indices]
        shapes = {image.shape[:2] for image in images}
        if shapes == {self.keep}:
            return torch.from_numpy(np.stack(images))
        if len(shapes) == 1:
            return resize_bytes(torch.from_numpy(np.stack(images)), self.height, self.width, self.resize)
        return torch.from_numpy(np.stack([self._resized(image) for image in images]))

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return resize_image(image, self.height, self.width, self.resize)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """(B, height, width, 3) uint8 batches in the given order, decoded by worker processes.

        Raises:
            DataError: an image that cannot be read.
        """
        batches = [b.tolist() for b in order]
        for batch in DataLoader(_Answers(self), sampler=batches, batch_size=None, num_workers=WORKERS):
            if isinstance(batch, str):
                raise DataError(f"An image cannot be read. {batch} {DOCTOR_HINT}")
            yield batch


class _Answers(Dataset["Tensor | str"]):
    """The same images by the batch, with a message in place of a batch that cannot be read: an exception would leave a
    worker process as a page of traceback."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __getitem__(self, indices: list[int]) -> Tensor | str:
        try:
            return self.files.read(indices)
        except ImageError as error:
            return str(error)


class ImagesInMemory:
    """All images of a list of files, decoded once.

    Attributes:
        images: (N, height, width, 3) uint8, at the size that the files keep, if there is one.
        alike: whether all files have that size; else reading ended early, and the images are not to be used.
    """

    def __init__(self, files: ImageFiles, progress: Progress | None = None) -> None:
        size = files.keep or (files.height, files.width)
        self.images = torch.empty((len(files), *size, 3), dtype=torch.uint8)
        self.alike = True
        failures: dict[int, str] = {}

        def read(index: int) -> None:
            try:
                image = files[index]
                if image.shape[:2] == size:
                    self.images[index] = image
                else:
                    self.alike = False
            except ImageError as error:
                failures[index] = str(error)

        done = 0
        for some in read_ahead(range(len(files)), read, 256):
            if not self.alike:
                return
            done += len(some)
            if progress:
                progress(done, len(files))
        if failures:
            first = failures[min(failures)]
            raise DataError(f"{len(failures)} of {len(files)} images cannot be read. First: {first} {DOCTOR_HINT}")

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """(B, height, width, 3) uint8 batches in the given order."""
        for indices in order:
            yield self.images.index_select(0, torch.from_numpy(np.ascontiguousarray(indices)))


Images = ImageFiles | ImagesInMemory


def open_images(
    paths: Sequence[Path],
    height: int,
    width: int,
    cache: Cache = "auto",
    progress: Progress | None = None,
    rows: slice = slice(None),
    resize: Resize = "bilinear",
) -> Images:
    """Images of a dataset, in memory if they fit.

    Files that all have one size not above the wanted one are kept at that size (Market-1501: 128 x 64) and enlarged
    later on the device, where it costs less; all others are resized here. A stream decides batch by batch.

    Args:
        paths: image files.
        height, width: what the model takes, in pixels.
        cache: ``"memory"``, ``"stream"``, or ``"auto"``: memory if the images take at most half of what is free.
        progress: called with (done, all).
        rows: open these of them only, as a process that does a part of the work; they are read as all would be.
        resize: how they are resized; where it is not ``"bilinear"``, all are resized here.
    Raises:
        DataError: no images, or some that cannot be read.
    """
    if not paths:
        raise DataError("No images to read: the subset is empty.")
    small = _small_size(paths, height, width) if resize == "bilinear" else None
    for keep in dict.fromkeys((small, None)):
        files = ImageFiles(paths[rows], height, width, resize, keep)
        kept_height, kept_width = keep or (height, width)
        needed = len(files) * kept_height * kept_width * 3
        if cache == "stream" or (cache == "auto" and needed > MEMORY_SHARE * _free_memory()):
            return files
        images = ImagesInMemory(files, progress)
        if images.alike:
            break
    return images


def _small_size(paths: Sequence[Path], height: int, width: int) -> tuple[int, int] | None:
    """The size of the files if a sample of them agrees on one within the wanted size; another file may have another."""
    sizes = set()
    for path in paths[:: max(1, len(paths) // 32)]:
        # What cannot be read is reported by the reading itself, which counts all of it.
        with suppress(ImageError):
            sizes.add(decode_image(path).shape[:2])
    if len(sizes) == 1:
        h, w = sizes.pop()
        if h <= height and w <= width:
            return int(h), int(w)
    return None


def _free_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as info:
            return next(int(line.split()[1]) * 1024 for line in info if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 * 2**30
