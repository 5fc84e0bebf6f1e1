"""``crosscam watch``."""

from __future__ import annotations

import dataclasses
import signal
import time as clock
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.progress import Progress
from tyro.conf import Positional, arg

from crosscam.cli.gallery_options import Time, extractor_of
from crosscam.cli.options import General, Unset
from crosscam.cli.show import SECONDS_BETWEEN_LINES, bars, say, show_json
from crosscam.errors import ArgumentError, StoppedError
from crosscam.gallery.places import open_gallery
from crosscam.system.names import counted
from crosscam.system.outputs import check_folder
from crosscam.system.times import read_time
from crosscam.video.decoding import Source, VideoFile
from crosscam.video.live import open_source
from crosscam.video.opening import open_detector
from crosscam.video.settings import WatchSettings
from crosscam.video.tiles import read_tiles
from crosscam.video.watching import Watched, watch


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Add the people of a video to a gallery: detect, track, crop, describe.

    The same call goes on after a kill. Live sources are watched until Ctrl-C.
    """

    video: Annotated[Positional[str], arg(metavar="VIDEO")]
    """Video file, folder of frames (such as MOT's img1), or address of a camera: rtsp://..."""
    camera: Unset[str] = None
    """Name or number of the camera."""
    gallery: Unset[str] = None
    """Gallery that the tracks go to, made by 'crosscam gallery create'."""
    start: Time = None
    """When the video begins: a date such as '2026-11-24 08:30' (UTC) or 2026-11-24T08:30+01:00, or seconds. Without it
    times count from the first frame."""
    detector: Unset[str] = None
    """YOLOX or SSD file (.onnx, .xml, .pb), MOT det.txt, or MODULE:FUNCTION; by default the one that 'crosscam models
    get person-detector' keeps."""
    tiles: Unset[str] = None
    """Also look at overlapping tiles, such as 3x2: slower, and finds people who are small in the frame."""
    tracker: str = "auto"
    """auto, plain, bytetrack or ocsort; the last two are of the package trackers, which auto takes where it is
    installed."""
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
    """Run folder of the gallery's network, if it is not where it was when the gallery was made."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Watch and count."""
        if self.gallery is None and self.out is None:
            raise ArgumentError("Nothing says where the people go. Give --gallery GALLERY, or --out FOLDER.")
        if self.gallery is not None and not (self.camera or "").strip():
            raise ArgumentError("Nothing says which camera filmed this. Give --camera NAME.")
        settings = self._settings()
        start = None if self.start is None else read_time(self.start, "--start")
        check_folder(self.out)
        with ExitStack() as stack:
            stop = Stop()
            source = open_source(self.video, stop)
            if source.live:
                stack.enter_context(stop.listening())
            detector = open_detector(self.detector)
            gallery = None if self.gallery is None else stack.enter_context(open_gallery(self.gallery, write=True))
            extractor = None
            if gallery is not None and self.gallery is not None:
                extractor = extractor_of(gallery, self.gallery, [] if self.network is None else [self.network])
                self._note_start(source)
            progress = stack.enter_context(bars(self.general.json))
            telling = Telling(progress, source)
            try:
                watched = watch(
                    source,
                    detector,
                    gallery=gallery,
                    extractor=extractor,
                    camera=self.camera,
                    start=start,
                    settings=settings,
                    out=self.out,
                    again=self.again,
                    note=lambda text: say(f"warning: {text}"),
                    progress=telling,
                )
            except KeyboardInterrupt as interrupt:
                raise StoppedError("stopped; the same command goes on where this one was.") from interrupt
        self._show(watched, source)

    def _settings(self) -> WatchSettings:
        return WatchSettings(
            rate=self.rate,
            tiles=None if self.tiles is None else read_tiles(self.tiles),
            tracker=self.tracker,
            min_score=self.min_score,
            min_height=self.min_height,
            crops=self.crops,
        )

    def _note_start(self, source: Source) -> None:
        if self.start is not None or source.live:
            return
        made = source.made if isinstance(source, VideoFile) else None
        hint = f" Its header says {made}; if that is right: --start {made}" if made else ""
        say(f"note: times count from the first frame, for --start does not say when that was.{hint}")

    def _show(self, watched: Watched, source: Source) -> None:
        if self.general.json:
            value = dataclasses.asdict(watched)
            show_json({**value, "source": source.name, "key": source.key, "notes": source.notes})
            return
        if watched.complete:
            say(f"{source.name} is in the gallery already. --again forgets its tracks and watches it anew.")
            return
        left = "".join(f"; {count:,} left out: {reason}" for reason, count in sorted(watched.left_out.items()))
        known = f", {watched.known:,} were there already" if watched.known else ""
        dropped = f"; {watched.dropped:,} frames dropped" if source.live else ""
        say(
            f"{counted(watched.frames, 'frame')}, {watched.seconds:.1f} s: {counted(watched.tracks, 'track')} with "
            f"{counted(watched.crops, 'crop')} added{known}{left}{dropped}."
        )


class Stop:
    """Whether Ctrl-C, or a signal to end, has asked a live source to end; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        """Whether to end."""
        return self._asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals within a block."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._ask) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


class Telling:
    """Progress: a bar with frames a second; for live sources, a line now and then."""

    def __init__(self, progress: Progress, source: Source) -> None:
        self._progress, self._source = progress, source
        self._task = progress.add_task("watching", total=source.total, note="")
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
            say(f"watching: {watched.frames:,} frames  {note}")
