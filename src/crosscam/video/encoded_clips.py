"""Clips that are drawn anew: of folders of frames, and of videos that a browser does not play as they are."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from crosscam.errors import DataError
from crosscam.video.detections import Pixels

# Larger frames are made smaller: the clip is to be looked at soon, and two cores must do.
WIDEST = 960
# Stamps count in this many parts of a second; MPEG-4 takes no more than 65,535.
CLOCK = 60_000
ENCODERS = ("libx264", "libopenh264", "mpeg4")


def encode_clip(frames: Iterable[tuple[float, Pixels]], most: int) -> bytes:
    """An MP4 file of frames.

    Args:
        frames: seconds from the first one, and (H, W, 3) uint8 RGB; frames of another size than the first are made to
            fit.
        most: bytes.
    Raises:
        DataError: there are no frames, or the clip would be larger.
    """
    import av

    out = io.BytesIO()
    name = next(name for name in ENCODERS if name in av.codecs_available)
    with av.open(out, "w", format="mp4") as target:
        stream: Any = target.add_stream(name, options={"preset": "ultrafast"} if name == "libx264" else {})
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        stream.codec_context.time_base = Fraction(1, CLOCK)
        size: tuple[int, int] | None = None
        first, last = 0.0, -1
        for seconds, pixels in frames:
            if size is None:
                first, size = seconds, _size_of(pixels)
                stream.width, stream.height = size
            stamp = max(last + 1, round((seconds - first) * CLOCK))
            image = av.VideoFrame.from_ndarray(_fitted(pixels, size), format="rgb24")
            image.pts, image.time_base, last = stamp, Fraction(1, CLOCK), stamp
            target.mux(stream.encode(image))
            if out.tell() > most:
                raise DataError(f"The clip would be larger than {most / 1e6:.0f} MB.")
        if size is None:
            raise DataError("There is no frame in the time of the clip that can be read.")
        target.mux(stream.encode())
    return out.getvalue()


def _size_of(pixels: Pixels) -> tuple[int, int]:
    """Width and height of the clip: even, as its coding wants, and not too large."""
    height, width = pixels.shape[:2]
    scale = min(1.0, WIDEST / max(height, width))
    wide, high = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    return wide, high


def _fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR), np.uint8)
