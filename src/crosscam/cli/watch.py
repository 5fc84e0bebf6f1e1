"""``crosscam watch``."""

from __future__ import annotations

import dataclasses
import math
import time as clock
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.progress import Progress
from tyro.conf import Positional, arg

from crosscam.cli.gallery_options import Time, extractor_of, new_gallery
from crosscam.cli.options import General, Unset
from crosscam.cli.show import SECONDS_BETWEEN_LINES, bars, say, show_json
from crosscam.errors import ArgumentError, CrosscamError, DataError, StoppedError
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import is_address, open_gallery
from crosscam.inference.extractor import Extractor
from crosscam.system.cores import best_device
from crosscam.system.files import check_folder
from crosscam.system.text import counted, read_time
from crosscam.training.callbacks import stop_requests
from crosscam.video.cameras import Camera, check_apart, folders_of, read_cameras
from crosscam.video.decoding import Source, VideoFile
from crosscam.video.live import FrameFolder, open_source
from crosscam.video.opening import knows_frames, open_detector
from crosscam.video.tiles import read_tiles
from crosscam.video.tracks import WatchSettings
from crosscam.video.watch_record import check_same_way, how_of
from crosscam.video.watching import Watched, watch


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Add the people of a video to a gallery: detect, track, crop, describe.

    The same call goes on after a kill. Live sources are watched until Ctrl-C.
    """

    video: Annotated[Positional[str], arg(metavar="VIDEO")]
    """Video file, folder of frames (such as MOT's img1), address of a camera (rtsp://...), or a .toml file of several
    cameras."""
    camera: Unset[str] = None
    """Name or number of the camera."""
    gallery: Unset[str] = None
    """Gallery that the tracks go to; it is made if it is not there."""
    start: Time = None
    """When the video begins: a date such as '2026-11-24 08:30' (UTC) or 2026-11-24T08:30+01:00, or seconds. Without it
    times count from the first frame."""
    detector: Unset[str] = None
    """YOLOX or SSD file (.onnx, .xml, .pb), MOT det.txt, or MODULE:FUNCTION; by default the one that 'crosscam models
    get person-detector' keeps."""
    tiles: Unset[str] = None
    """Also look at overlapping tiles, such as 3x2: slower, and finds people who are small in the frame."""
    tracker: str = "plain"
    """plain, bytetrack or ocsort; the last two are of the package trackers."""
    frame_rate: Unset[float] = None
    """Frames a second of a folder of frames that has no seqinfo.ini; 25 by default."""
    rate: Unset[float] = None
    """Most frames a second that are looked at; all by default."""
    min_score: float = 0.1
    """Least confidence of a detection; tracks begin at 0.4."""
    min_height: int = 64
    """Least height of a crop, in pixels."""
    crops: int = 4
    """Most crops of one track."""
    out: Unset[Path] = None
    """Folder for crops, the reasons for choosing them, and all boxes in MOT's format; works without --gallery too."""
    again: bool = False
    """Forget the tracks that the gallery has of this video, and watch it anew."""
    network: Unset[Path] = None
    """Network of a gallery that is made, rrid-mini by default; or the run folder of the gallery's network, if it is not
    where it was when the gallery was made."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        cameras = self._cameras()
        settings = self._settings()
        check_folder(self.out)
        with ExitStack() as stack:
            asked: list[Callable[[], bool]] = []
            sources = self._sources(cameras, lambda: any(stop() for stop in asked))
            if any(source.live for source in sources):
                asked.append(stack.enter_context(stop_requests()))
            detector = open_detector(self.detector)
            if knows_frames(detector) and len(cameras) > 1:
                raise ArgumentError(f"--detector {self.detector} holds the boxes of one video. Give one camera.")
            gallery, extractor = (None, None) if self.gallery is None else self._opened(self.gallery, stack)
            if gallery is not None:
                for camera, source in zip(cameras, sources, strict=True):
                    if not self.again:
                        how = how_of(source, detector, settings, camera.zones)
                        check_same_way(gallery, source, camera.name, camera.start, how)
                    note_start(camera, source)
            folders = dict(zip(map(id, sources), folders_of(self.out, cameras), strict=False))
            progress = stack.enter_context(bars(self.general.json))

            def watch_one(camera: Camera, source: Source) -> Watched:
                return watch(
                    source,
                    detector,
                    gallery=gallery,
                    extractor=extractor,
                    camera=camera.name,
                    start=camera.start,
                    settings=settings,
                    zone=camera.zones,
                    out=folders.get(id(source)),
                    again=self.again,
                    note=lambda text: say(f"warning: {text}"),
                    progress=Telling(progress, source, camera.name),
                )

            watched = watch_all(cameras, sources, watch_one)
        self._show(watched, sources)

    def _opened(self, place: str, stack: ExitStack) -> tuple[Gallery, Extractor]:
        """The gallery, made if it is not there, and its network."""
        extractor = None
        if not is_address(place) and not Path(place).exists():
            model, extractor = new_gallery(place, self.network or Path("rrid-mini"), device=best_device())
            say(f"note: {place} is new; it is for descriptors of {model.name}.")
        gallery = stack.enter_context(open_gallery(place))
        return gallery, extractor or extractor_of(gallery, place, [] if self.network is None else [self.network])

    def _cameras(self) -> tuple[Camera, ...]:
        if self.gallery is None and self.out is None:
            raise ArgumentError("Nothing says where the people go. Give --gallery GALLERY, or --out FOLDER.")
        if self.gallery is None and (self.again or self.network is not None):
            option = "--again" if self.again else "--network"
            raise ArgumentError(f"{option} is for a gallery. Give --gallery GALLERY, or leave it out.")
        if self.video.endswith(".toml"):
            if (self.camera, self.start, self.frame_rate) != (None, None, None):
                raise ArgumentError(
                    f"{self.video} names cameras, starts and frame rates. Leave --camera, --start and --frame-rate out."
                )
            return read_cameras(Path(self.video))
        if self.gallery is not None and not (self.camera or "").strip():
            raise ArgumentError("Nothing says which camera filmed this. Give --camera NAME.")
        start = None if self.start is None else read_time(self.start, "--start", spans=False)
        name = (self.camera or "video").strip()
        return (Camera(name, self.video, start, frame_rate=self.frame_rate),)

    def _sources(self, cameras: Sequence[Camera], stop: Callable[[], bool]) -> list[Source]:
        sources = []
        for number, camera in enumerate(cameras, 1):
            try:
                sources.append(open_source(camera.source, stop, camera.frame_rate))
            except DataError as error:
                if len(cameras) == 1:
                    raise
                raise DataError(f"{self.video}, camera {number}: {error}") from error
        for camera, source in zip(cameras, sources, strict=True):
            rate = camera.frame_rate
            same = isinstance(source, FrameFolder) or math.isclose(rate or 0, source.rate or 0, rel_tol=0.01)
            if rate is not None and not same:
                raise ArgumentError(
                    f"A frame rate is for folders of frames. {camera.source} tells the times of its frames."
                )
            if camera.start is not None and source.live:
                raise ArgumentError(f"{camera.source} is live: its frames have the time of the clock. Give no start.")
        if self.again and all(source.live for source in sources):
            raise ArgumentError("--again is for videos: a live source gives new tracks each time. Leave it out.")
        if self.gallery is not None:
            check_apart(cameras, sources)
        return sources

    def _settings(self) -> WatchSettings:
        return WatchSettings(
            rate=self.rate,
            tiles=None if self.tiles is None else read_tiles(self.tiles),
            tracker=self.tracker,
            min_score=self.min_score,
            min_height=self.min_height,
            crops=self.crops,
        )

    def _show(self, watched: Sequence[Watched], sources: Sequence[Source]) -> None:
        if self.general.json:
            told = [
                {**dataclasses.asdict(found), "source": source.name, "key": source.key, "notes": source.notes}
                for found, source in zip(watched, sources, strict=True)
            ]
            show_json(told if self.video.endswith(".toml") else told[0])
            return
        for found, source in zip(watched, sources, strict=True):
            say((f"{source.name}: " if len(sources) > 1 else "") + in_words(found, source))


def note_start(camera: Camera, source: Source) -> None:
    """Say that times are not dates, where nothing says when the video was filmed."""
    if camera.start is not None or source.live or (isinstance(source, FrameFolder) and source.begun is not None):
        return
    made = source.made if isinstance(source, VideoFile) else None
    hint = f" Its header says {made}; if that is right: --start {made}" if made else ""
    say(f"note: {camera.name}: times count from the first frame, for nothing says when that was (--start).{hint}")


def watch_all(
    cameras: Sequence[Camera], sources: Sequence[Source], watch_one: Callable[[Camera, Source], Watched]
) -> list[Watched]:
    """Videos one after another, then all live sources at once, each in a thread.

    Raises:
        StoppedError: Ctrl-C, while a video was watched.
        CrosscamError: of the first live source that failed, once the others have ended.
    """
    found: dict[int, Watched] = {}
    live = [i for i, source in enumerate(sources) if source.live]
    try:
        for i in range(len(sources)):
            if i not in live:
                found[i] = watch_one(cameras[i], sources[i])
    except KeyboardInterrupt as interrupt:
        raise StoppedError("stopped; the same command goes on where this one was.") from interrupt

    def watch_live(i: int) -> Watched:
        try:
            return watch_one(cameras[i], sources[i])
        except CrosscamError as error:
            if len(live) > 1:  # the others go on, perhaps for days
                say(f"warning: {cameras[i].name} has ended: {error}")
            raise

    if live:
        with ThreadPoolExecutor(len(live)) as pool:
            running = {i: pool.submit(watch_live, i) for i in live}
        found |= {i: future.result() for i, future in running.items()}
    return [found[i] for i in range(len(sources))]


def in_words(watched: Watched, source: Source) -> str:
    """What was added, and what was left out and why."""
    if watched.complete:
        return f"{source.name} is in the gallery already. --again forgets its tracks and watches it anew."
    left = "".join(f"; {count:,} left out: {reason}" for reason, count in sorted(watched.left_out.items()))
    known = f", {watched.known:,} were there already" if watched.known else ""
    dropped = f"; {counted(watched.dropped, 'frame')} dropped" if source.live else ""
    return (
        f"{counted(watched.frames, 'frame')}, {watched.seconds:.1f} s: {counted(watched.tracks, 'track')} with "
        f"{counted(watched.crops, 'crop')} added{known}{left}{dropped}."
    )


class Telling:
    """Progress: a bar with frames a second; for live sources, a line now and then."""

    def __init__(self, progress: Progress, source: Source, name: str) -> None:
        self._progress, self._source, self._name = progress, source, name
        self._task = progress.add_task(f"watching {name}", total=source.total, note="")
        self._began = self._said = clock.monotonic()

    def __call__(self, watched: Watched) -> None:
        """Tell what was seen so far."""
        now = clock.monotonic()
        speed = watched.frames / max(now - self._began, 1e-9)
        note = f"{speed:.1f} frames/s, {counted(watched.tracks + watched.known, 'track')}"
        if self._source.live:
            note += f", {watched.dropped:,} dropped"
        self._progress.update(self._task, completed=watched.frames, note=note)
        if self._source.total is None and self._progress.disable and now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            say(f"watching {self._name}: {watched.frames:,} frames  {note}")
