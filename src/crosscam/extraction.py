"""From images to descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.data.augment import prepare
from crosscam.data.images import resize_image
from crosscam.data.loading import Images, Progress, open_images
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.training.checkpoint import load_recipe, load_weights_into

Picture = str | os.PathLike[str] | NDArray[np.uint8]


def describe(model: nn.Module, images: Tensor, *, flip: bool = True) -> Tensor:
    """Descriptors of a batch: the mean over the image and its mirror image, then L2-normalised.

    Source: ``differences.md`` row 23.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) normalised images.
        flip: whether the mirror image counts.
    Returns:
        (B, D) float32, each of length 1.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    descriptor: Tensor = model(images).descriptor
    if flip:
        descriptor = (descriptor + model(images.flip(3)).descriptor) / 2
    return normalize(descriptor.float(), dim=1)


@torch.inference_mode()
def extract(
    model: nn.Module,
    images: Images,
    height: int,
    width: int,
    *,
    flip: bool = True,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Descriptors of all images of a list.

    Args:
        model: any model of this package; it is put into evaluation mode.
        images: see :func:`crosscam.data.loading.open_images`.
        height: input height of the model, in pixels.
        width: input width.
        flip: see :func:`describe`.
        batch_size: images at once.
        progress: called with (done, all).
    Returns:
        (N, D) float32, in the order of the images.
    """
    model.eval()
    device = next(model.parameters()).device
    order = [np.arange(i, min(i + batch_size, len(images))) for i in range(0, len(images), batch_size)]
    rows: list[NDArray[np.float32]] = []
    done = 0
    for pixels in images.batches(order):
        rows.append(describe(model, prepare(pixels.to(device), height, width), flip=flip).cpu().numpy())
        done += len(pixels)
        if progress:
            progress(done, len(images))
    return np.concatenate(rows)


class Extractor:
    """A trained model that turns pictures of persons into descriptors.

    >>> extractor = Extractor.load("runs/demo")  # doctest: +SKIP
    >>> extractor(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
    (2, 1792)

    Attributes:
        model: the network, in evaluation mode.
        recipe: what it was trained by.
        layout: the named blocks of its descriptors.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, flip: bool = True) -> None:
        self.model = model.eval()
        self.recipe = recipe
        self.flip = flip

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, flip: bool = True, device: str = "cpu") -> Extractor:
        """Open a run folder.

        Args:
            folder: as ``crosscam train`` leaves it.
            flip: whether the mirror image counts; twice the work for a somewhat better descriptor.
            device: ``"cpu"``, ``"cuda"``, ...
        Raises:
            CheckpointError: not a run folder, or its weights are of another recipe.
        """
        path = Path(folder)
        recipe = load_recipe(path)
        model = load_model(path, recipe).to(device)
        return cls(model.to(memory_format=torch.channels_last), recipe, flip=flip)  # type: ignore[call-overload]

    @property
    def layout(self) -> Layout:
        """The named blocks of the descriptors."""
        return layout_of(self.model)

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop

    def __call__(self, pictures: Sequence[Picture] | NDArray[np.uint8], batch_size: int = 128) -> NDArray[np.float32]:
        """Describe pictures.

        Args:
            pictures: paths, or (H, W, 3) uint8 RGB arrays of any size; a mixture is fine.
            batch_size: pictures at once.
        Returns:
            (N, D) float32, each row of length 1, in the order of the pictures.
        Raises:
            ImageError: a picture that cannot be read.
            ValueError: an array that is not (H, W, 3) uint8, or one path instead of a list.
        """
        if isinstance(pictures, str | os.PathLike):
            raise ValueError(f"Expected a list of pictures, found {str(pictures)!r}. Put it into a list.")
        height, width = self.recipe.data.height, self.recipe.data.width
        device = next(self.model.parameters()).device
        rows = [np.empty((0, self.dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pictures), batch_size):
                pixels = torch.stack(list(self._pixels(pictures[start : start + batch_size]))).to(device)
                rows.append(describe(self.model, prepare(pixels, height, width), flip=self.flip).cpu().numpy())
        return np.concatenate(rows)

    def _pixels(self, pictures: Sequence[Picture] | NDArray[np.uint8]) -> Iterator[Tensor]:
        from crosscam.data.images import decode_image

        for picture in pictures:
            array = picture if isinstance(picture, np.ndarray) else decode_image(Path(picture))
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise ValueError(f"A picture is an (H, W, 3) uint8 RGB array; this one is {array.shape} {array.dtype}.")
            yield torch.from_numpy(resize_image(array, self.recipe.data.height, self.recipe.data.width))

    def files(self, paths: Sequence[Path], progress: Progress | None = None) -> NDArray[np.float32]:
        """(N, D) descriptors of many files, decoded in parallel; the evaluation uses this."""
        data = self.recipe.data
        images = open_images(paths, data.height, data.width, data.cache)
        return extract(
            self.model,
            images,
            data.height,
            data.width,
            flip=self.flip,
            batch_size=self.recipe.evaluation.batch_size,
            progress=progress,
        )


def load_model(folder: Path, recipe: Recipe) -> nn.Module:
    """The network of a run folder without its classifiers, which only training needs.

    Raises:
        CheckpointError: weights that do not fit the recipe.
    """
    model = build_model(recipe, num_ids=0, pretrained=False)
    load_weights_into(model, folder, recipe, leave_out="_classifiers.")
    return model
