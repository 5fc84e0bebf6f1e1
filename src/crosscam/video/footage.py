"""Back from a gallery's entry to its video: the frame with the box drawn, and a short clip around it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from crosscam.data.images import decode_image
from crosscam.errors import ArgumentError, DataError, ImageError
from crosscam.gallery.entries import Entry
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.video.decoding import Upright, VideoFile, decoded, digest_of_file, opened_video
from crosscam.video.detections import Pixels
from crosscam.video.encoded_clips import encode_clip
from crosscam.video.frame_times import Stamps
from crosscam.video.live import FrameFolder
from crosscam.video.watch_record import DOCUMENT

# Fragments tell times to the millisecond.
EXACT = 0.0006
# A clip begins before its track and ends after it, and is not longer than this.
MARGIN, LONGEST = 1.0, 60.0
LARGEST_CLIP = 100_000_000
# Codings that browsers play in an MP4 file.
PLAYED, PLAYED_PIXELS = ("h264", "hevc", "vp9", "av1", "libdav1d"), ("yuv420p", "yuvj420p")
# Containers that have an index with the length of each frame.
INDEXED = frozenset(("mp4", "avi"))
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
    found = None if _is_joined(path) else _by_time(path, fragment.seconds)
    if found is None:
        found = _by_number(path, fragment.frame)
    if found is None:
        raise DataError(f"{path} has no frame at {fragment.seconds:.3f} s. Expected the video that was watched.")
    return found


def _pass_over(_: str) -> None:
    """What is damaged was told when the video was watched."""


def _is_joined(path: Path) -> bool:
    """Whether the times of a file begin anew, as where recordings were joined: it cannot be searched by times."""
    stat = path.stat()
    return _begins_anew(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _begins_anew(path: Path, *_: int) -> bool:
    import av

    stamps = Stamps(0.0)
    with opened_video(os.fspath(path)) as (container, stream), suppress(av.FFmpegError):
        # An index of lengths: times cannot go back.
        if not INDEXED & set(container.format.name.split(",")):
            for packet in container.demux(stream):
                stamps.seconds(None if packet.dts is None else float(packet.dts * packet.time_base))
                if stamps.restarts:
                    return True
    return False


def _by_time(path: Path, seconds: float) -> Pixels | None:
    """The frame of a time, from the key frame before it; None where it is not met."""
    with opened_video(os.fspath(path)) as (container, stream):
        first = _seek(container, stream, seconds)
        for frame in decoded(container, stream, _pass_over) if first is not None else ():
            if frame.time is not None and frame.time - first >= seconds - EXACT:
                return Upright()(frame) if frame.time - first <= seconds + EXACT else None
    return None


def _by_number(path: Path, number: int) -> Pixels | None:
    """A frame by number, from the beginning on: slower, and for every file."""
    with opened_video(os.fspath(path)) as (container, stream):
        for count, frame in enumerate(decoded(container, stream, _pass_over)):
            if count == number:
                return Upright()(frame)
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
    """A short MP4 of the whole track, without sound.

    Packets are copied where browsers play them as they are; else, and of a folder of frames, the clip is encoded anew.

    Raises:
        DataError: the video cannot be read, or the clip would be too large.
    """
    start, end = span_of(fragment)
    if path.is_dir():
        folder = FrameFolder(path)
        passed = fragment.frame - folder.numbers()[0]
        if passed > 0 and fragment.seconds > 0:  # it may have been watched with --frame-rate
            folder.rate = passed / fragment.seconds
        return encode_clip(_frames_of_folder(folder, start, end), LARGEST_CLIP)
    found = None if _is_joined(path) else _copied_clip(path, start, end)
    return found if found is not None else encode_clip(_frames_between(path, start, end), LARGEST_CLIP)


def _copied_clip(path: Path, start: float, end: float) -> bytes | None:
    """The packets of a time as they are; None where the file cannot be searched, or its coding is not for browsers."""
    import av

    out = io.BytesIO()
    with opened_video(os.fspath(path)) as (container, stream):
        if stream.codec.name not in PLAYED or stream.format is None or stream.format.name not in PLAYED_PIXELS:
            return None
        first = _seek(container, stream, start)
        if first is None:
            return None
        try:
            with av.open(out, "w", format="mp4") as target:
                _copy(container, stream, target, first + start, first + end)
        except (av.FFmpegError, ValueError):
            return None
    return out.getvalue()


def _frames_between(path: Path, start: float, end: float) -> Iterator[tuple[float, Pixels]]:
    """The frames of a time, from the key frame before it where the file can be searched, else from the beginning."""
    pixels_of = Upright()
    with opened_video(os.fspath(path)) as (container, stream):
        first = None if _is_joined(path) else _seek(container, stream, start)
        timed = (frame for frame in decoded(container, stream, _pass_over) if frame.time is not None)
        frame = None if first is None else next(timed, None)
        # Some containers are searched by guessing, and the frame comes from behind the time.
        if first is not None and frame is not None and frame.time - first <= start + EXACT:
            for each in chain((frame,), timed):
                if each.time - first > end:
                    return
                if each.time - first >= start - EXACT:
                    yield each.time - first, pixels_of(each)
            return
    for whole in VideoFile(path).frames():
        if whole.seconds > end:
            return
        if whole.seconds >= start - EXACT:
            yield whole.seconds, whole.pixels


def _frames_of_folder(folder: FrameFolder, start: float, end: float) -> Iterator[tuple[float, Pixels]]:
    """The images of a time; those that cannot be read are left out."""
    for number, file in zip(folder.numbers(), folder.files, strict=True):
        seconds = folder.seconds_of(number)
        if start - EXACT <= seconds <= end:
            with suppress(ImageError):
                yield seconds, decode_image(file)


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
    """Copy packets up to a time. Stamps count from the start: the file tells players to pass over what is before.

    Raises:
        ValueError: the packets do not begin with a key frame at the start or before it.
    """
    copied = target.add_stream_from_template(stream)
    base, size = round(start / stream.time_base), 0
    packets = _with_times_of_decoding(container.demux(stream))
    first = next(packets, None)
    if first is None or not first.is_keyframe or (first.pts or 0) * first.time_base > start + EXACT:
        raise ArgumentError("no key frame before the start")
    for packet in chain((first,), packets):
        if packet.dts * packet.time_base > end:
            break
        size += packet.size
        if size > LARGEST_CLIP:
            raise DataError(f"The clip would be larger than {LARGEST_CLIP / 1e6:.0f} MB.")
        packet.dts -= base
        packet.pts = packet.dts if packet.pts is None else packet.pts - base
        packet.stream = copied
        target.mux(packet)


def _with_times_of_decoding(packets: Iterable[Any]) -> Iterator[Any]:
    """Packets in their order, all with one: Matroska tells none of the first ones where frames are reordered."""
    waiting: list[Any] = []
    for packet in packets:
        if packet.dts is None:
            if packet.pts is not None:
                waiting.append(packet)
            continue
        for before, early in enumerate(reversed(waiting), 1):
            early.dts = packet.dts - before
        yield from (*waiting, packet)
        waiting.clear()
