"""Watch a video: decode, detect, track, choose crops, describe, add to a gallery."""

from __future__ import annotations

import hashlib
import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crosscam.errors import ArgumentError
from crosscam.gallery.interface import Gallery
from crosscam.inference.extractor import Extractor
from crosscam.system.text import counted
from crosscam.video.cameras import Zones
from crosscam.video.decoding import USUAL_RATE, Frame, Source
from crosscam.video.detections import Detections, Detector, as_detections
from crosscam.video.gallery_tracks import GalleryTracks
from crosscam.video.journal import Journal
from crosscam.video.mot import MotDetections
from crosscam.video.opening import knows_frames
from crosscam.video.tiles import Tiled
from crosscam.video.tracking import open_tracker
from crosscam.video.tracks import Exported, OpenTracks, Track, WatchSettings
from crosscam.video.watch_record import how_of, start_of, watching_alone

# Ended tracks are described and added together: this many, or after so many seconds.
TRACKS_AT_ONCE = 32
SECONDS_AT_ONCE = 10.0
# Seconds between two tries at the end, while another program writes the gallery.
SECONDS_BETWEEN_TRIES = 2.0


@dataclass
class Watched:
    """What was seen; while the watching goes on, what was seen so far.

    Attributes:
        frames: frames that were looked at.
        total: frames of the source, about; None where it is not known.
        seconds: time of the last frame, from the first one.
        tracks: tracks added to the gallery (or written, where there is none).
        crops: their crops.
        known: tracks that the gallery had already.
        left_out: tracks that were left out, by the reason.
        dropped: frames of a live source that came while another was being worked on.
        complete: whether the video was watched to its end before, so that nothing was done.
        stages: seconds spent in each stage.
    """

    frames: int = 0
    total: int | None = None
    seconds: float = 0.0
    tracks: int = 0
    crops: int = 0
    known: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    complete: bool = False
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block."""
        began = clock.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + clock.perf_counter() - began


def watch(
    source: Source,
    detector: Detector,
    *,
    gallery: Gallery | None = None,
    extractor: Extractor | None = None,
    camera: str | None = None,
    start: float | None = None,
    settings: WatchSettings | None = None,
    zone: Zones | None = None,
    out: Path | None = None,
    again: bool = False,
    note: Callable[[str], object] = str,
    progress: Callable[[Watched], object] = id,
) -> Watched:
    """Watch a video, and add the best crops of each track to a gallery.

    A second call after a kill goes on: tracks that are in the gallery are skipped, and frames that went to the detector
    do not go there again. The same video with the same settings gives the same tracks.

    Args:
        source: of :func:`crosscam.video.live.open_source`.
        detector: see :mod:`crosscam.video.detections`.
        gallery: opened for reading, so that other programs can write it meanwhile, or for writing; None to write to
            ``out`` alone.
        extractor: of the gallery's network.
        camera: name of the camera, or its number as text.
        start: seconds of the Unix epoch at the first frame; without it, and where names of frames do not tell it,
            times count from the first frame.
        settings: how crops are chosen.
        zone: the people outside do not count.
        out: folder for crops, reasons and boxes; see :mod:`crosscam.video.tracks`.
        again: forget the tracks that the gallery has of this video, and begin anew.
        note: is told of faults, in sentences.
        progress: called after each frame.
    Raises:
        ArgumentError: neither a gallery nor a folder, a gallery without its network or camera, or tiles for a detector
            that has its boxes.
        GalleryError: the video was watched with other settings.
        GalleryBusyError: another call watches the same into the gallery, or another program writes it.
        DataError: nothing can be decoded.
    """
    settings = settings or WatchSettings()
    start = start_of(source, start)
    if gallery is None and out is None:
        raise ArgumentError("Nothing would be kept. Give a gallery, or a folder for crops and boxes.")
    if gallery is not None and (extractor is None or not camera):
        raise ArgumentError("Tracks in a gallery need its network and the camera's name.")
    if settings.tiles is not None and knows_frames(detector):
        raise ArgumentError("Tiles are for a detector that looks at frames; this one has its boxes. Leave them out.")
    rates = [rate for rate in (settings.rate, source.rate) if rate]
    tracker = open_tracker(settings.tracker, min(rates, default=USUAL_RATE))
    how = how_of(source, detector, settings, zone)
    watched, writer = Watched(total=source.total), None
    with ExitStack() as stack:
        if gallery is not None and extractor is not None and camera is not None:
            stack.enter_context(watching_alone(gallery, source))
            writer = GalleryTracks(gallery, extractor, source, camera, start, how, again)
            if writer.record.note:
                note(writer.record.note)
            if writer.record.complete and out is None:
                watched.complete = True
                return watched
        exported = None if out is None else Exported(out)
        journal = None if source.live or knows_frames(detector) else Journal(_journal_name(source, how))
        run = _Run(source, detector, settings, zone, journal, writer, exported, watched, note, progress)
        run.run(OpenTracks(tracker, settings))
    return watched


def _journal_name(source: Source, how: dict[str, object]) -> str:
    decides = (how["rate"], how["tiles"], how["detector"])
    return f"{source.key}-{hashlib.sha256(repr(decides).encode()).hexdigest()[:8]}"


@dataclass
class _Run:
    """One pass over a video."""

    source: Source
    detector: Detector
    settings: WatchSettings
    zone: Zones | None
    journal: Journal | None
    writer: GalleryTracks | None
    exported: Exported | None
    watched: Watched
    note: Callable[[str], object]
    progress: Callable[[Watched], object]
    pending: list[tuple[Track, int | None]] = field(default_factory=list)
    told: int = 0
    waited: int = 0

    def __post_init__(self) -> None:
        tiles = self.settings.tiles
        self.looking = self.detector if tiles is None else Tiled(self.detector, *tiles)

    def run(self, tracks: OpenTracks) -> None:
        """Take all frames; what was detected is kept for another try unless it went to the end."""
        with ExitStack() as stack:
            if self.exported is not None:
                stack.callback(self.exported.close)
            if self.journal is not None:
                stack.enter_context(self.journal)
            self._watch(tracks)
            if self.journal is not None:
                self.journal.remove()

    def _watch(self, tracks: OpenTracks) -> None:
        watched = self.watched
        first: float | None = None
        last = 0
        flushed = clock.monotonic()
        for frame in self._frames():
            last = frame.number
            if first is None:
                first = frame.seconds
                self._look_at_zone(*frame.pixels.shape[:2])
            with watched.stage("detect"):
                found = self._detect(frame)
            with watched.stage("track"):
                ended = tracks.add(frame, found)
            self.pending += [(track, frame.number) for track in ended if self._wanted(track)]
            watched.frames += 1
            watched.seconds = frame.seconds - first
            watched.dropped = self.source.dropped
            if len(self.pending) >= TRACKS_AT_ONCE or clock.monotonic() - flushed > SECONDS_AT_ONCE:
                self._flush(frame.number)
                flushed = clock.monotonic()
            self.progress(watched)
        self.pending += [(track, None) for track in tracks.end() if self._wanted(track)]
        self._flush(None)
        self._tell()
        self._look_beyond(last)

    def _look_beyond(self, last: int) -> None:
        """Tell of boxes that no frame has, as where they are of another video."""
        if isinstance(self.detector, MotDetections) and self.settings.rate is None:
            count = self.detector.beyond(last)
            if count:
                self.note(
                    f"{self.detector.path} has boxes in {counted(count, 'frame')} behind the last one of "
                    f"{self.source.name}: they count for nobody. Is it of this video?"
                )

    def _look_at_zone(self, height: int, width: int) -> None:
        if self.zone is not None and not self.zone.meets(height, width):
            self.note(f"no zone lies in the frame, of {width} x {height} px: no person of {self.source.name} counts.")

    def _frames(self) -> Iterator[Frame]:
        """The frames, their decoding timed, and faults told as they come."""
        frames = self.source.frames(self.settings.rate)
        while True:
            with self.watched.stage("decode"):
                frame = next(frames, None)
            self._tell()
            if frame is None:
                return
            yield frame

    def _detect(self, frame: Frame) -> Detections:
        found = self.journal.read(frame.number) if self.journal is not None else None
        if found is None:
            known: object = self.detector
            if knows_frames(known):
                found = known.of_frame(frame.number)
            else:
                found = as_detections(self.looking(frame.pixels))
            if self.journal is not None:
                self.journal.write(frame.number, found)
        found = found[found.scores >= self.settings.min_score]
        return found if self.zone is None else self.zone.inside(found)

    def _wanted(self, track: Track) -> bool:
        fault = track.fault(self.settings)
        if fault:
            self.watched.left_out[fault] = self.watched.left_out.get(fault, 0) + 1
        return not fault

    def _flush(self, frame: int | None) -> None:
        """Write what has ended by a frame, or by the end."""
        watched = self.watched
        known = 0
        if self.exported is not None:
            with watched.stage("export"):
                for track, _ in self.pending:
                    self.exported.add(track)
        if self.writer is not None:
            known = self.writer.add(self.pending, frame, watched.stage)
            self._wait(self.writer, frame)
            watched.crops = self.writer.crops
        else:
            watched.crops += sum(len(track.crops) for track, _ in self.pending)
        watched.known += known
        watched.tracks += len(self.pending) - known
        self.pending.clear()

    def _wait(self, writer: GalleryTracks, frame: int | None) -> None:
        """Where another program writes the gallery, tracks wait for the next time, or, at the end, for that program."""
        while True:
            self.waited = self.waited + 1 if writer.waiting else 0
            if self.waited == 2:  # a moment is nothing to tell of
                self.note(f"{writer.waiting.partition('. ')[0]}: tracks wait until that is done.")
            if not writer.waiting or frame is not None:
                return
            with self.watched.stage("write"):
                clock.sleep(SECONDS_BETWEEN_TRIES)
                writer.write(frame)

    def _tell(self) -> None:
        for text in self.source.notes[self.told :]:
            self.note(text)
        self.told = len(self.source.notes)
