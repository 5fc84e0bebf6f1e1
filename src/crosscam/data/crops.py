"""People cut out of frames: boxes, and the frames of a video."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.errors import ArgumentError, DataError
from crosscam.system import needed
from crosscam.system.text import counted, is_unicode

Color = Literal["rgb", "bgr"]


class HasBoxes(Protocol):
    """Detections as supervision holds them."""

    @property
    def xyxy(self) -> ArrayLike:
        """(N, 4) left, top, right, bottom in pixels."""


OfFrame = ArrayLike | HasBoxes
# Of the frames of a video: by number, in order, or asked for by number and frame.
Boxes = (
    Mapping[int, OfFrame | None]
    | Sequence[OfFrame | None]
    | NDArray[Any]
    | Callable[[int, NDArray[np.uint8]], OfFrame | None]
)

P = ParamSpec("P")
R = TypeVar("R")


def earlier_spelling(call: Callable[P, R]) -> Callable[P, R]:
    """The function, which takes ``colour=`` for ``color=``, too, as in earlier versions."""

    @wraps(call)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        if "colour" in kwargs:
            kwargs["color"] = kwargs.pop("colour")
        return call(*args, **kwargs)

    return either


@earlier_spelling
def crop_boxes(frame: NDArray[np.uint8], boxes: OfFrame, color: Color = "rgb") -> list[NDArray[np.uint8]]:
    """Cut boxes out of a frame.

    Args:
        frame: (H, W, 3) uint8.
        boxes: (N, 4) left, top, right, bottom in pixels, whole or not, or detections that hold them as ``xyxy``; what
            reaches over the frame's edge is cut off.
        color: order of the frame's channels; OpenCV's is ``"bgr"``.
    Returns:
        N images, RGB, each at least one pixel high and wide.
    Raises:
        ValueError: no such frame or boxes, or a box that holds no pixel of the frame.
    """
    if not isinstance(frame, np.ndarray):
        raise ArgumentError(f"A frame is an (H, W, 3) uint8 array; this one is a {type(frame).__name__}.")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ArgumentError(f"A frame is an (H, W, 3) uint8 array; this one is {frame.shape} {frame.dtype}.")
    try:
        edges = np.asarray(getattr(boxes, "xyxy", boxes), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(boxes).__name__
        raise ArgumentError(
            f"Boxes are (N, 4): left, top, right, bottom in pixels; {kind} has no such numbers ({error})."
        ) from error
    if edges.size == 0:
        return []
    if edges.ndim != 2 or edges.shape[1] != 4:
        raise ArgumentError(f"Boxes are (N, 4): left, top, right, bottom in pixels; these are {edges.shape}.")
    if color not in ("rgb", "bgr"):
        raise ArgumentError(f"Unknown color {color!r}. Known: rgb, bgr.")
    rgb = frame if color == "rgb" else frame[:, :, ::-1]
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

    The container's rotation is applied, as the EXIF orientation is to images: phones film on their side.

    Raises:
        DataError: PyAV is not installed, no such file, or it holds no video that can be decoded.
    """
    av = needed("av", "Reading a video needs PyAV: pip install 'crosscam[video]'.")
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
                yield upright(pixels, display_matrix(frame))
    except av.FFmpegError as error:
        raise DataError(f"{path} cannot be decoded ({error}). Copy it again, or convert it.") from error


def boxed_frames(path: str | os.PathLike[str], boxes: Boxes) -> Iterator[tuple[int, NDArray[np.uint8], OfFrame]]:
    """The frames of a video that have boxes, in order.

    Args:
        path: the video file.
        boxes: by frame number, counted from 0: a mapping, a list, or a function of (number, frame).
    Returns:
        an iterator of number, (H, W, 3) uint8 RGB frame, and boxes; a frame whose boxes are None or are not named is
        left out.
    Raises:
        ArgumentError: boxes of another kind; at once, not at the first frame.
        DataError: see :func:`video_frames`; or no frame of the video has boxes, at the end.
    """
    if isinstance(boxes, Mapping):
        strange = next((number for number in boxes if not _is_whole(number)), None)
        if strange is not None:
            raise ArgumentError(f"Boxes are by frame number, counted from 0; found the key {strange!r}.")
        return _named_frames(path, boxes)
    if callable(boxes):
        return _asked_frames(path, boxes)
    if not isinstance(boxes, Sequence | np.ndarray) or isinstance(boxes, str | bytes):
        raise ArgumentError(
            f"Boxes are a {type(boxes).__name__}. Expected a mapping from frame number to (N, 4) boxes, a list with "
            "the boxes of each frame, or a function of (number, frame)."
        )
    for number, found in enumerate(boxes):
        if np.ndim(found) == 0 and found is not None and not hasattr(found, "xyxy"):
            raise ArgumentError(f"Item {number} of the boxes is {found!r:.60}. Expected the (N, 4) boxes of a frame.")
        if isinstance(found, Sequence | np.ndarray) and len(found) and np.ndim(found[0]) == 0:
            raise ArgumentError(
                f"Item {number} of the boxes is one box, {found!r:.60}. Expected the (N, 4) boxes of frame {number}, "
                "such as [[left, top, right, bottom]]."
            )
    return _named_frames(path, dict(enumerate(boxes)))


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _asked_frames(
    path: str | os.PathLike[str], boxes: Callable[[int, NDArray[np.uint8]], OfFrame | None]
) -> Iterator[tuple[int, NDArray[np.uint8], OfFrame]]:
    for number, frame in enumerate(video_frames(path)):
        found = boxes(number, frame)
        if found is not None:
            yield number, frame, found


def _named_frames(
    path: str | os.PathLike[str], boxes: Mapping[int, OfFrame | None]
) -> Iterator[tuple[int, NDArray[np.uint8], OfFrame]]:
    frames = matched = 0
    for number, frame in enumerate(video_frames(path)):
        frames = number + 1
        if number in boxes:
            matched += 1
            found = boxes[number]
            if found is not None:
                yield number, frame, found
    lost = sorted(number for number in boxes if not 0 <= number < frames)
    if not lost:
        return
    which = f"frame {lost[0]}" if len(lost) == 1 else f"{len(lost):,} frames that it does not have, first {lost[0]}"
    said = f"{path} has {counted(frames, 'frame')}, numbered from 0; boxes are given for {which}."
    if not matched:
        raise DataError(f"{said} None of its frames has boxes.")
    warnings.warn(said, stacklevel=2)


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


def display_matrix(frame: Any) -> tuple[float, float, float, float]:
    """How a decoded frame is shown, for :func:`upright`."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), "=i4")[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1
