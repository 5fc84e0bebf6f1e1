"""Draw people who walk through several cameras, as videos with the truth: who is where in every frame."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from crosscam.data.synthetic.camera import draw_cameras
from crosscam.data.synthetic.dataset import check_empty
from crosscam.data.synthetic.film import SIZE, Film, Pixels
from crosscam.data.synthetic.identities import MAX_IDS, draw_identities
from crosscam.data.synthetic.walks import CAMERA_NAMES, plan_walks
from crosscam.errors import ArgumentError, DataError
from crosscam.system import needed
from crosscam.system.files import make_folder, write_atomically
from crosscam.system.locks import only_writer

CAMERAS_FILE = "cameras.toml"
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
JPEG_QUALITY = 92
BIT_RATE = 2_000_000


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What :func:`render_videos` wrote.

    Attributes:
        out: the folder.
        cameras: names of the cameras.
        people: people who are seen at least once.
        frames: of each camera.
        boxes: rows of truth of all cameras.
        across: people who are seen by more than one camera.
    """

    out: Path
    cameras: tuple[str, ...]
    people: int
    frames: int
    boxes: int
    across: int


def render_videos(
    out: Path,
    *,
    people: int = 8,
    cameras: int = 2,
    seconds: float = 20.0,
    rate: float = 10.0,
    collide: float = 0.0,
    seed: int = 0,
    as_frames: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> VideoSummary:
    """Draw videos of several cameras that the same people walk through.

    For each camera ``NAME.mp4``, or the folder ``NAME/img1`` of its frames, and ``NAME/gt/gt.txt``, where a person has
    the same number at all cameras. ``cameras.toml`` tells name, source, start and frame rate of each.

    Args:
        out: the folder to write; it must be empty or missing.
        people: 4 to ``MAX_IDS``.
        cameras: 1 to 9.
        seconds: length of each video, 1 to 3600.
        rate: frames a second, 1 to 60.
        collide: share of the people who wear a garment of somebody else.
        seed: the same frames for the same arguments; the bytes of a video also depend on the encoder's version.
        as_frames: write frames as JPEG files, which needs no PyAV.
        progress: called with the frames drawn so far and the frames in all.
    Raises:
        ValueError: an argument out of its range.
        DataError: the folder is not empty or cannot be written, or PyAV is not installed.
        BusyError: another process draws there.
    """
    _check(people, cameras, seconds, rate, collide)
    if not as_frames:
        _import_av()
    out = Path(out)
    check_empty(out)
    walks = plan_walks(people, cameras, seconds, seed)
    identities = {who.pid: who for who in draw_identities(people, 0.5, collide, seed)}
    rng = random.Random(f"crosscam/{seed}/starts")
    starts = [round(rng.uniform(0.0, 1.0), 1) for _ in range(cameras)]
    count = max(1, round(seconds * rate))
    seen: list[set[int]] = []
    boxes = 0
    with only_writer(out, folder=True):
        try:
            for number, camera in enumerate(draw_cameras(cameras, seed)):
                mine = [walk for walk in walks if walk.camera == number]
                times = [starts[number] + k / rate for k in range(count)]
                film = Film(camera, mine, identities, times, seed)
                frames = _counted(film, progress, number * count, cameras * count)
                _write(out, CAMERA_NAMES[number], frames, rate, as_frames)
                truth = film.truth
                text = "".join(f"{box.row()}\n" for box in truth)
                write_atomically(out / CAMERA_NAMES[number] / "gt" / "gt.txt", text, error=DataError)
                seen.append({box.pid for box in truth})
                boxes += len(truth)
            write_atomically(out / CAMERAS_FILE, _cameras_text(starts, rate, seed, as_frames), error=DataError)
        except OSError as error:
            raise DataError(f"Cannot write the drawn videos to {out}: {error.strerror or error}.") from error
    everybody = set().union(*seen)
    across = sum(sum(pid in some for some in seen) > 1 for pid in everybody)
    return VideoSummary(out, CAMERA_NAMES[:cameras], len(everybody), count, boxes, across)


def _check(people: int, cameras: int, seconds: float, rate: float, collide: float) -> None:
    for name, value, low, high in (
        ("people", people, 4, MAX_IDS),
        ("cameras", cameras, 1, len(CAMERA_NAMES)),
        ("seconds", seconds, 1, 3600),
        ("rate", rate, 1, 60),
        ("collide", collide, 0, 1),
    ):
        if not low <= value <= high:
            raise ArgumentError(f"{name} must be from {low} to {high}, got {value}.")


def _cameras_text(starts: list[float], rate: float, seed: int, as_frames: bool) -> str:
    lines = [f"# Drawn by 'crosscam data render --video', seed {seed}."]
    for name, seconds in zip(CAMERA_NAMES, starts, strict=False):
        start = (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        source = f"{name}/img1" if as_frames else f"{name}.mp4"
        lines += ["", "[[camera]]", f'name = "{name}"', f'source = "{source}"', f'start = "{start}"']
        lines += [f"frame_rate = {float(rate)}"]
    return "\n".join(lines) + "\n"


def _counted(
    frames: Iterable[Pixels], progress: Callable[[int, int], None] | None, before: int, total: int
) -> Iterator[Pixels]:
    for number, frame in enumerate(frames, before + 1):
        yield frame
        if progress:
            progress(number, total)


def _write(out: Path, name: str, frames: Iterator[Pixels], rate: float, as_frames: bool) -> None:
    if not as_frames:
        write_atomically(out / f"{name}.mp4", lambda path: write_video(path, frames, rate), error=DataError)
        return
    folder = out / name / "img1"
    make_folder(folder)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / f"{number:06d}.jpg", quality=JPEG_QUALITY)


def _import_av() -> Any:
    said = "Writing a video needs PyAV: pip install 'crosscam[video]'. --frames writes JPEG files without it."
    return needed("av", said)


def write_video(path: Path, frames: Iterator[Pixels], rate: float) -> None:
    """Write (H, W, 3) uint8 RGB frames as an MP4 file: H.264 where PyAV has an encoder for it, else MPEG-4."""
    av = _import_av()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000))
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", BIT_RATE
        stream.options = {"preset": "superfast"} if codec == "libx264" else {}
        # With several threads the bytes would depend on their number.
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
