"""Back from a gallery's entry to its video: the frame with the box drawn, and a short clip around it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from crosscam.data.images import decode_image
from crosscam.errors import DataError
from crosscam.gallery.entries import Entry
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.video.decoding import Pictures, decoded, digest_of_file, opened_video
from crosscam.video.detections import Pixels
from crosscam.video.gallery_tracks import DOCUMENT
from crosscam.video.live import FrameFolder

# Fragments tell times to the millisecond.
EXACT = 0.0006
# A clip begins before its track and ends after it, and is not longer than this.
MARGIN, LONGEST = 1.0, 60.0
LARGEST_CLIP = 100_000_000
BOX, BOX_EDGE = (255, 140, 0), (0, 0, 0)


def videos_of(gallery: Gallery, entries: Iterable[Entry]) -> dict[int, Path]:
    """The videos of entries, by entry; of those alone that are still there with the content that was watched.

    Only videos that the gallery's own record of watching names are opened, whatever path an entry was given since.
    """
    watched = gallery.document(DOCUMENT)
    records = watched if isinstance(watched, dict) else {}
    found = {entry.id: _video_of(records, entry) for entry in entries}
    return {number: path for number, path in found.items() if path is not None}


def _video_of(records: Mapping[str, Any], entry: Entry) -> Path | None:
    fragment = Fragment.read(entry.path)
    key = (entry.track or "").rpartition("-")[0]
    record = records.get(key)
    if fragment is None or fragment.live or not isinstance(record, dict):
        return None
    # Records of earlier versions tell no place.
    for name in (record.get("source"), fragment.video):
        if isinstance(name, str) and os.path.isabs(name) and _key_of(Path(name)) == key:
            return Path(name)
    return None


def _key_of(path: Path) -> str | None:
    """As :class:`crosscam.video.decoding.Source` names the content; None where nothing is there."""
    try:
        if path.is_dir():
            return FrameFolder(path).key
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError, DataError):
        return None


@lru_cache(maxsize=256)
def _digest(path: Path, *_: int) -> str:
    """Of a file; its size and the time of its change make another file of the name another call."""
    return digest_of_file(path)


def frame_of(path: Path, fragment: Fragment) -> Pixels:
    """The frame of a fragment, (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: the video has no such frame, or cannot be read.
    """
    if path.is_dir():
        folder = FrameFolder(path)
        files = dict(zip(folder.numbers(), folder.files, strict=True))
        if fragment.frame not in files:
            raise DataError(f"{path} has no frame {fragment.frame}. Expected the folder that was watched.")
        return decode_image(files[fragment.frame])
    found = _by_time(path, fragment.seconds)
    if found is None:
        found = _by_number(path, fragment.frame)
    if found is None:
        raise DataError(f"{path} has no frame at {fragment.seconds:.3f} s. Expected the video that was watched.")
    return found


def _pass_over(_: str) -> None:
    """What is damaged was told when the video was watched."""


def _by_time(path: Path, seconds: float) -> Pixels | None:
    """The frame of a time, from the key frame before it; None where it is not met."""
    with opened_video(os.fspath(path)) as (container, stream):
        first = _seek(container, stream, seconds)
        for frame in decoded(container, stream, _pass_over) if first is not None else ():
            if frame.time is not None and frame.time - first >= seconds - EXACT:
                return Pictures()(frame) if frame.time - first <= seconds + EXACT else None
    return None


def _by_number(path: Path, number: int) -> Pixels | None:
    """A frame by number, from the beginning on: slower, and for every file."""
    with opened_video(os.fspath(path)) as (container, stream):
        for count, frame in enumerate(decoded(container, stream, _pass_over)):
            if count == number:
                return Pictures()(frame)
    return None


def _seek(container: Any, stream: Any, seconds: float) -> float | None:
    """Go to the key frame before a time; the stamp of the first frame, None where the file cannot be searched."""
    import av

    first = next((frame.time for frame in decoded(container, stream, _pass_over)), None)
    if first is None:
        return None
    try:
        container.seek(int((first + seconds) / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return None
    return float(first)


def with_box(pixels: Pixels, fragment: Fragment) -> bytes:
    """A frame as JPEG with the box of a fragment."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    left, top, width, height = fragment.box
    line = max(2, round(max(image.size) / 400))
    for grown, color, thick in ((line + 1, BOX_EDGE, line + 2), (line, BOX, line)):
        box = (left - grown, top - grown, left + width + grown, top + height + grown)
        draw.rectangle(box, outline=color, width=thick)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def clip_of(path: Path, fragment: Fragment) -> bytes:
    """A short MP4 of the whole track; packets are copied as they are, without sound.

    Raises:
        DataError: the source is a folder of frames, its coding does not go into MP4, or the clip would be too large.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder of frames. Clips are cut from video files alone.")
    import av

    start, end = span_of(fragment)
    out = io.BytesIO()
    with opened_video(os.fspath(path)) as (container, stream):
        first = _seek(container, stream, start)
        if first is None:
            raise DataError(f"{path} cannot be searched by time, so that no clip can be cut from it.")
        try:
            with av.open(out, "w", format="mp4") as target:
                _copy(container, stream, target, first + start, first + end)
        except (av.FFmpegError, ValueError) as error:
            raise DataError(f"{path} cannot be cut ({error}). Its coding may not go into an MP4 file.") from error
    return out.getvalue()


def span_of(fragment: Fragment) -> tuple[float, float]:
    """Seconds of the video that a clip shows: the track with a margin; of a long one the part around the crop."""
    start, end = fragment.seen[0] - MARGIN, fragment.seen[1] + MARGIN
    if end - start > LONGEST:
        start = min(max(start, fragment.seconds - LONGEST / 2), end - LONGEST)
        end = start + LONGEST
    return max(0.0, start), end


def length_of(fragment: Fragment) -> float:
    """Seconds that a clip lasts, about; the video may end before."""
    start, end = span_of(fragment)
    return end - start


def _copy(container: Any, stream: Any, target: Any, start: float, end: float) -> None:
    """Copy packets up to a time. Stamps count from the start: the file tells players to pass over what is before."""
    copied = target.add_stream_from_template(stream)
    base, size = round(start / stream.time_base), 0
    for packet in container.demux(stream):
        if packet.dts is None:
            continue
        if packet.dts * packet.time_base > end:
            break
        size += packet.size
        if size > LARGEST_CLIP:
            raise DataError(f"The clip would be larger than {LARGEST_CLIP / 1e6:.0f} MB.")
        packet.dts -= base
        packet.pts = packet.dts if packet.pts is None else packet.pts - base
        packet.stream = copied
        target.mux(packet)
