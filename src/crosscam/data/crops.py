"""People cut out of frames: boxes, and the frames of a video."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.errors import ArgumentError, DataError
from crosscam.system.names import is_unicode

Colour = Literal["rgb", "bgr"]


def crop_boxes(frame: NDArray[np.uint8], boxes: ArrayLike, colour: Colour = "rgb") -> list[NDArray[np.uint8]]:
    """Cut boxes out of a frame.

    Args:
        frame: (H, W, 3) uint8.
        boxes: (N, 4) left, top, right, bottom in pixels, whole or not; what reaches over the frame's edge is cut off.
        colour: order of the frame's channels; OpenCV's is ``"bgr"``.
    Returns:
        N pictures, RGB, each at least one pixel high and wide.
    Raises:
        ValueError: no such frame or boxes, or a box that holds no pixel of the frame.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ArgumentError(f"A frame is an (H, W, 3) uint8 array; this one is {frame.shape} {frame.dtype}.")
    edges = np.asarray(boxes, dtype=np.float64)
    if edges.size == 0:
        return []
    if edges.ndim != 2 or edges.shape[1] != 4:
        raise ArgumentError(f"Boxes are (N, 4): left, top, right, bottom in pixels; these are {edges.shape}.")
    if colour not in ("rgb", "bgr"):
        raise ArgumentError(f"Unknown colour {colour!r}. Known: rgb, bgr.")
    rgb = frame if colour == "rgb" else frame[:, :, ::-1]
    height, width = frame.shape[:2]
    crops = []
    for number, box in enumerate(edges):
        if not np.isfinite(box).all():
            raise ArgumentError(f"Box {number} is {box.tolist()}. Expected four finite numbers.")
        # Cut off before they become whole numbers: what is far outside has no whole number of 64 bits.
        left, top = np.floor(np.clip(box[:2], 0, (width, height))).astype(int)
        right, bottom = np.ceil(np.clip(box[2:], 0, (width, height))).astype(int)
        if right <= left or bottom <= top:
            raise ArgumentError(
                f"Box {number} is {box.tolist()}, which holds no pixel of a frame of {width} x {height}. "
                "Expected left, top, right, bottom; leave boxes outside the frame out."
            )
        crops.append(np.ascontiguousarray(rgb[top:bottom, left:right]))
    return crops


def video_frames(path: str | os.PathLike[str]) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video file in order, upright, (H, W, 3) uint8 RGB, decoded one at a time.

    The container's rotation is applied, as the EXIF orientation is to pictures: phones film on their side.

    Raises:
        DataError: PyAV is not installed, no such file, or it holds no video that can be decoded.
    """
    try:
        import av
    except ImportError as error:
        raise DataError("Reading a video needs PyAV: pip install 'crosscam[video]'.") from error
    if not Path(path).is_file():
        raise DataError(f"No video at {path}. Check the path.")
    try:
        with ExitStack() as stack:
            name = os.fspath(path)
            # PyAV takes no path that is not UTF-8, but any open file.
            source = name if is_unicode(name) else stack.enter_context(open(name, "rb"))
            container = stack.enter_context(av.open(source, "r"))
            if not container.streams.video:
                raise DataError(f"{path} holds no video. Expected a file with a video stream.")
            for frame in container.decode(video=0):
                pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                yield upright(pixels, _display_matrix(frame))
    except av.FFmpegError as error:
        raise DataError(f"{path} cannot be decoded ({error}). Copy it again, or convert it.") from error


def upright(frame: NDArray[np.uint8], matrix: Sequence[float]) -> NDArray[np.uint8]:
    """A frame turned and mirrored as its container says.

    Args:
        frame: (H, W, 3).
        matrix: a, b, c, d of the display matrix: pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift. Other
            angles than quarters are taken to the nearest quarter.
    Returns:
        (H, W, 3), or (W, H, 3) where it is turned by a quarter.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):
        # Shown at (c y, b x): rows and columns change places, and then either may run backwards.
        frame, a, d = frame.swapaxes(0, 1), c, b
    return np.ascontiguousarray(frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _display_matrix(frame: Any) -> tuple[float, float, float, float]:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), "=i4")[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1
