"""People cut out of frames: boxes, and the frames of a video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.errors import ArgumentError, DataError

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
        left, top = np.floor(np.maximum(box[:2], 0)).astype(int)
        right, bottom = np.ceil(np.minimum(box[2:], (width, height))).astype(int)
        if right <= left or bottom <= top:
            raise ArgumentError(
                f"Box {number} is {box.tolist()}, which holds no pixel of a frame of {width} x {height}. "
                "Expected left, top, right, bottom; leave boxes outside the frame out."
            )
        crops.append(np.ascontiguousarray(rgb[top:bottom, left:right]))
    return crops


def video_frames(path: str | os.PathLike[str]) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video file in order, (H, W, 3) uint8 RGB, decoded one at a time.

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
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video. Expected a file with a video stream.")
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except av.FFmpegError as error:
        raise DataError(f"{path} cannot be decoded ({error}). Copy it again, or convert it.") from error
