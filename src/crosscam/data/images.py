"""One safe decoder for every image that crosscam reads, and the resize of the published numbers."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from crosscam.data.image_limits import (
    HEAD,
    MAX_SIDE,
    chunks_fault,
    foreign_fault,
    foreign_kind,
    scans_fault,
    segments_fault,
    size_fault,
)
from crosscam.data.jpeg import decode_plain_jpeg
from crosscam.errors import ArgumentError, ImageError
from crosscam.system.text import reason_of

if TYPE_CHECKING:
    from crosscam.data.resizing import Resize

# Only these decoders are tried: a person image has no reason to be a PostScript or a medical file.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
WHITE = (255, 255, 255)
# Larger files stay on the disk until Pillow has looked at their header.
READ_WHOLE = 16 * 2**20

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# Byte order, photometric interpretation, sample format, fill order, bits and extra samples of 16-bit gray. Pillow opens
# white as zero in Intel's byte order alone.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
_DEPTH_IN_PNG = 24
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    source: Path | str | bytes,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> NDArray[np.uint8]:
    """Read one image as RGB, upright.

    Gray, palette, CMYK and 16-bit images become 8-bit RGB; transparent ones are laid over ``background``;
    the orientation in the EXIF block is applied; of an animation or a multi-page file the first frame counts.
    Color profiles are not applied. Ordinary JPEG files are decoded by simplejpeg where it is installed, to the same
    pixels, see :mod:`crosscam.data.jpeg`.

    Args:
        source: a file, or the bytes of one.
        background: RGB that shows through transparent pixels.
        max_pixels: larger images are refused from their header, before any pixel is decoded.
        name: what messages call the bytes; a file is called by its path.
    Returns:
        (H, W, 3) uint8, RGB, [0, 255]; the array is the caller's own.
    Raises:
        ImageError: missing, empty, truncated, too large or too complicated (see :mod:`crosscam.data.image_limits`), or
            not an image in one of ``FORMATS``.
    """
    if isinstance(source, bytes):
        return _decode_bytes(source, name or f"<{len(source)} bytes>", background, max_pixels)
    path = Path(source)
    try:
        if not path.is_file():
            raise ImageError(_no_file(path))
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= READ_WHOLE:
                return _decode_bytes(file.read(), str(path), background, max_pixels)
            if file.read(2) == b"\xff\xd8":  # a JPEG of this size is rare, and its scans are counted in memory
                file.seek(0)
                return _decode_bytes(file.read(), str(path), background, max_pixels)
            file.seek(0)
            return _decode(file, str(path), background, max_pixels)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror or error}. Check its permissions.") from error


def _no_file(path: Path) -> str:
    if not path.exists():
        return f"No image at {path}. Check the path, or whether the dataset is unpacked completely."
    return f"{path} is {'a folder' if path.is_dir() else 'a device or a pipe'}. Expected an image file."


def _decode_bytes(data: bytes, name: str, background: tuple[int, int, int], max_pixels: int) -> NDArray[np.uint8]:
    if not data:
        raise ImageError(f"{name} is empty (0 bytes). Copy or download it again.")
    fault = scans_fault(data) or segments_fault(data) or chunks_fault(data)
    if fault:
        raise ImageError(f"{name} {fault}")
    pixels = decode_plain_jpeg(data, max_pixels)
    return _decode(io.BytesIO(data), name, background, max_pixels) if pixels is None else pixels


def _decode(file: IO[bytes], name: str, background: tuple[int, int, int], max_pixels: int) -> NDArray[np.uint8]:
    try:
        image: Image.Image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has more than {max_pixels:,} pixels. Crop the person out first.") from error
    except UnidentifiedImageError as error:
        file.seek(0)
        kind = foreign_kind(name, file.read(HEAD))
        if kind is not None:
            raise ImageError(foreign_fault(name, kind)) from error
        raise ImageError(
            f"{name} is not an image that can be read: expected JPEG, PNG, BMP, WebP, TIFF or GIF."
        ) from error
    except Exception as error:  # a damaged header makes decoders raise nearly anything
        raise ImageError(_damaged(name, error)) from error
    with image:
        _check_size(image, name, max_pixels)
        if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
            raise ImageError(_too_deep(name, image.mode))
        try:
            image.load()
            _scale_transparent_value(image, file)
            return np.array(_as_rgb(_upright(image), background), dtype=np.uint8)
        except Exception as error:  # the same for damaged pixel data
            raise ImageError(_damaged(name, error)) from error


def decode_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """An image that Pillow has open or made, as :func:`decode_image` reads its file; it stays open.

    Args:
        image: of any mode but floats and 32-bit integers.
        name: for messages.
    Returns:
        (H, W, 3) uint8, RGB, upright; the array is the caller's own.
    Raises:
        ImageError: closed, damaged, too large, or of another mode.
    """
    _check_size(image, name, MAX_PIXELS)
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ImageError(_too_deep(name, image.mode))
    try:
        image.load()
        return np.array(_as_rgb(_upright(image), WHITE), dtype=np.uint8)
    except Exception as error:
        reason = reason_of(error)
        raise ImageError(f"{name} cannot be read ({reason}). Expected a PIL image that is open and whole.") from error


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width:,} x {height:,} pixels, more than the {max_pixels:,} allowed. "
            "Crop the person out first."
        )
    fault = size_fault(width, height) if width and height else "has no pixels."
    if fault:
        raise ImageError(f"{name} {fault}")


def _too_deep(name: str, mode: str) -> str:
    return f"{name} has {mode!r} pixels (float or 32 bits). Expected 8 or 16 bits a channel; convert it first."


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or cut short ({reason_of(error)}). Copy or download it again."


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block beside good pixels: viewers show the image as stored
        orientation = 1
    method = _TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


def _as_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if _has_16_bits(image):
        return _as_8_bits(image, background)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        below = Image.new("RGBA", rgba.size, (*background, 255))
        return Image.alpha_composite(below, rgba).convert("RGB")
    return image.convert("RGB")


def _has_16_bits(image: Image.Image) -> bool:
    """Whether an image is gray with 16 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def _as_8_bits(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image of 16-bit gray as RGB; its transparent value, if it has one, shows the background.

    Pillow's own conversion clips at 255 instead of scaling, forgets the transparent value, and takes white as zero for
    black as zero.
    """
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 65535 - values
    pixels = np.repeat((values // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = background
    return Image.fromarray(pixels)


def _scale_transparent_value(image: Image.Image, file: IO[bytes]) -> None:
    """Give the transparent value of a PNG the levels of its pixels, which Pillow has spread or cut to 8 bits.

    Of 16-bit colors Pillow keeps the upper byte alone, so that colors with the same upper bytes are transparent, too.
    """
    value = image.info.get("transparency")
    if image.format != "PNG" or value is None or isinstance(value, bytes):
        return
    file.seek(_DEPTH_IN_PNG)
    depth = file.read(1)[0]
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = value * (255 // (2**depth - 1))
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in value)


def resize_image(image: NDArray[np.uint8], height: int, width: int, kind: Resize = "bilinear") -> NDArray[np.uint8]:
    """Resize as the published numbers were made: Pillow's bilinear filter, antialiased when shrinking; see
    :mod:`crosscam.data.resizing`.

    Args:
        image: (H, W, 3) uint8.
        height: the wanted height in pixels.
        width: the wanted width; the aspect ratio is not kept.
        kind: another filter, for networks from elsewhere.
    Returns:
        (height, width, 3) uint8; the array is the caller's own.
    Raises:
        ValueError: another shape or dtype, a size below 1, or a side above ``MAX_SIDE``.
    """
    # Here alone: a process that only decodes needs neither the time nor the memory that torch takes.
    import torch

    from crosscam.data.resizing import resize_bytes

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ArgumentError(f"Expected an image (H, W, 3) uint8, found {image.shape} {image.dtype}.")
    if height < 1 or width < 1:
        raise ArgumentError(f"Expected a size of at least 1 x 1 pixels, found height {height}, width {width}.")
    if image.shape[:2] == (height, width):
        return image.copy()
    if max(image.shape[:2]) > MAX_SIDE:
        raise ArgumentError(f"The image {image.shape} has a side above {MAX_SIDE:,} pixels. Crop the person out first.")
    # torch wants strides that go forward and memory that may be written.
    whole = np.require(image, requirements=("C", "W"))
    resized: NDArray[np.uint8] = resize_bytes(torch.from_numpy(whole).unsqueeze(0), height, width, kind)[0].numpy()
    return resized
