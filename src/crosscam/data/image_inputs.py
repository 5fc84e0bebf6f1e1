"""One image of any kind that Python programs hold: path, bytes, file object, Pillow image, array or tensor."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crosscam.data.images import decode_image, decode_pil
from crosscam.errors import ArgumentError, ImageError


class BinaryFile(Protocol):
    """A file that was opened in binary mode, or what reads like one."""

    def read(self) -> bytes:
        """The rest of its bytes."""


ImageLike = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[Any] | Tensor
ImagesLike = Iterable[ImageLike] | NDArray[Any] | Tensor
# What threads can share: no file position, no half-decoded image.
Settled = str | os.PathLike[str] | bytes | NDArray[np.uint8]
ValueRange = tuple[float, float]

KINDS = "a path, the bytes of an image file, an open file, a PIL image, an array or a tensor"
# Of the stated range: what a resize with a sharp filter may reach beyond it.
OVERSHOOT = 0.01


def name_of(image: object, place: int) -> str:
    """What messages call an image: its path, or its place in the list, counted from 0."""
    if isinstance(image, str | os.PathLike):
        return str(image)
    return f"Image {place}"


def is_image(value: object) -> bool:
    """Whether a value is one image by its type alone, whatever it holds."""
    if isinstance(value, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray | Tensor):
        return True
    return callable(getattr(value, "read", None))


def check_kind(image: object, name: str) -> None:
    """Refuse what is not an image, by its type alone (ArgumentError: a number, a list, None or the like)."""
    if not is_image(image):
        raise ArgumentError(f"{name} is {_kind(image)}. Expected {KINDS}.")


def in_list(images: ImagesLike) -> Iterable[ImageLike]:
    """The images, if they are several; what is not an image in a list is refused before the first is described.

    Raises:
        ArgumentError: one image, something that holds none, or something else among them.
    """
    one = is_image(images) and not (isinstance(images, np.ndarray | Tensor) and images.ndim != 3)
    if one:
        shown = f"{images!r:.80}" if isinstance(images, str | os.PathLike) else f"one {type(images).__name__}"
        raise ArgumentError(f"Expected a list of images, found {shown}. Put it into a list.")
    kind = type(images)
    several = hasattr(kind, "__iter__") or (hasattr(kind, "__getitem__") and hasattr(kind, "__len__"))
    if not several or (isinstance(images, np.ndarray | Tensor) and images.ndim == 0):
        raise ArgumentError(f"Expected a list of images, found {images!r:.80}.")
    if isinstance(images, list | tuple):
        for place, image in enumerate(images):
            check_kind(image, f"Image {place}")
    return images


def check_range(value_range: ValueRange | None) -> None:
    """Refuse a range of values that is none (ArgumentError: not two finite numbers that rise)."""
    if value_range is None:
        return
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite((low, high)).all() and low < high):
        raise ArgumentError(f"value_range is {value_range!r}. Expected the values of black and white, such as (0, 1).")


def settle(image: ImageLike, name: str, value_range: ValueRange | None = None) -> Settled:
    """An image as threads can share it; a file is read and a Pillow image decoded, tensors become arrays.

    Args:
        image: see ``ImageLike``. Arrays are (H, W, 3) and tensors (H, W, 3) or (3, H, W), RGB, of any size.
        name: for messages.
        value_range: black and white of floats; integers are uint8 from 0 to 255 whatever it says.
    Returns:
        a path, the bytes of an image file, or (H, W, 3) uint8 RGB.
    Raises:
        ArgumentError: not an image, or an array of another shape or type.
        ImageError: a file or Pillow image that cannot be read.
    """
    if isinstance(image, str | os.PathLike | bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return decode_pil(image, name)
    if isinstance(image, Tensor):
        return _of_tensor(image, name, value_range)
    if isinstance(image, np.ndarray):
        return _of_array(image, name, value_range)
    check_kind(image, name)
    return _of_file(image, name)


def decode_settled(image: Settled, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of what :func:`settle` gives; called in threads.

    Raises:
        ImageError: an image that cannot be read.
    """
    if isinstance(image, np.ndarray):
        return image
    return decode_image(image if isinstance(image, bytes) else Path(image), name=name)


def _of_file(file: Any, name: str) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise ArgumentError(f"{name} is a file opened as text. Open it in binary mode: open(path, 'rb').")
    try:
        data: object = file.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read ({error}). Expected a file that is open: open(path, 'rb').") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ArgumentError(f"{name} is {_kind(file)} that reads {_kind(data)}. Expected bytes: open(path, 'rb').")
    if not len(data):
        raise ImageError(f"{name} gives no bytes: it is empty, or was read before. Go to its beginning with seek(0).")
    return bytes(data)


def _of_tensor(tensor: Tensor, name: str, value_range: ValueRange | None) -> NDArray[np.uint8]:
    shape = tuple(tensor.shape)
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or 0 in shape:
        raise ArgumentError(
            f"{name} is a tensor of shape {shape}, {tensor.dtype}. Expected (3, H, W) or (H, W, 3), RGB."
        )
    if shape[0] == shape[2]:
        raise ArgumentError(
            f"{name} is a tensor of shape {shape}: channels may be first or last. Give a larger image, or an array."
        )
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()
    if shape[0] == 3:
        values = values.permute(1, 2, 0)
    found: NDArray[Any] = values.numpy()
    return _as_bytes(found, f"{name} is a tensor of shape {shape}, {tensor.dtype}", value_range)


def _of_array(array: NDArray[Any], name: str, value_range: ValueRange | None) -> NDArray[np.uint8]:
    described = f"{name} is an array of shape {array.shape}, {array.dtype}"
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ArgumentError(f"{described}. Expected (H, W, 3) uint8 RGB.")
    return _as_bytes(array, described, value_range)


def _as_bytes(values: NDArray[Any], described: str, value_range: ValueRange | None) -> NDArray[np.uint8]:
    """(H, W, 3) of uint8, or of floats whose black and white are stated."""
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise ArgumentError(f"{described}. Expected (H, W, 3) uint8 RGB, or (3, H, W) of a tensor.")
    if value_range is None:
        raise ArgumentError(
            f"{described}. Expected (H, W, 3) uint8 RGB; for floats state their black and white: value_range=(0, 1)."
        )
    low, high = (float(value) for value in value_range)
    least, most = float(values.min()), float(values.max())
    slack = OVERSHOOT * (high - low)
    if not (low - slack <= least and most <= high + slack):
        raise ArgumentError(
            f"{described}, from {least:.4g} to {most:.4g}. Expected values within value_range={value_range!r}; undo a "
            "normalization by mean and deviation first."
        )
    return np.clip(np.rint((values.astype(np.float64) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _kind(value: object) -> str:
    """A value's type in words, with the value where it is short."""
    if value is None:
        return "None"
    name = type(value).__name__
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"{article} {name} ({value!r})" if isinstance(value, bool | int | float) else f"{article} {name}"
