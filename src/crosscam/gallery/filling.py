"""From image files to entries: read, describe, make thumbnails, add."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.image_limits import size_fault
from crosscam.data.images import decode_image
from crosscam.data.loading import read_ahead
from crosscam.data.records import Sample
from crosscam.data.text_files import refuse_names
from crosscam.errors import ImageError
from crosscam.gallery.entries import Entry, NewEntry, Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import opened_for_writing
from crosscam.gallery.numbering import keep_cameras_apart, kept_name, number_cameras, still_numbered
from crosscam.gallery.store import LONG_PATIENCE
from crosscam.inference.extractor import Extractor
from crosscam.system.files import stamp_of
from crosscam.system.progress import Progress
from crosscam.system.text import counted, printable

THUMBNAIL_HEIGHT = 160
THUMBNAIL_WIDTH = 160
JPEG_QUALITY = 80
IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Filled:
    """What was added from image files.

    Attributes:
        ids: of the new entries.
        known: images that the gallery had already, by their path.
        damaged: images that could not be read, and why.
        changed: known images whose file has changed since: the gallery has what was there before.
        differing: known images that come with another identity, camera, time or track than the gallery has of them.
        joined: camera and name of tracks that the gallery had before, from images that are not among these, and that
            new images now belong to.
    """

    ids: tuple[int, ...]
    known: int
    damaged: tuple[tuple[Path, str], ...]
    changed: tuple[Path, ...] = ()
    differing: tuple[Path, ...] = ()
    joined: tuple[tuple[str, str], ...] = ()


def fill(
    gallery: Gallery,
    extractor: Extractor,
    samples: Sequence[Sample],
    *,
    labeled: bool = True,
    thumbnails: bool = True,
    skip_damaged: bool = False,
    spell_names: bool = False,
    keep_apart: bool = False,
    progress: Progress | None = None,
) -> Filled:
    """Add images; a second call after an interruption goes on where the first one stopped.

    Args:
        gallery: of the extractor's model; see :func:`crosscam.gallery.source_network.matching_extractor`. Opened for
            reading, it is written in moments, between which others can write it; or opened for writing.
        extractor: describes the images.
        samples: the images; one whose path the gallery knows is left alone, and counted; one that comes twice, as in
            query and gallery, is added once.
        labeled: whether the samples' pid means anything.
        thumbnails: keep a small copy of each image.
        skip_damaged: leave images that cannot be read out, and tell which, instead of stopping.
        spell_names: keep names that are not UTF-8 as they are shown (``\\xff``), instead of refusing them.
        keep_apart: numbers of cameras are the source's own: see :func:`crosscam.gallery.numbering.keep_cameras_apart`.
        progress: called with (done, all).
    Raises:
        GalleryBusyError: another program writes the gallery for long.
        DataError: a number would stand for two cameras; or names that are not UTF-8, which a gallery's database
            cannot hold.
        ImageError: an image that cannot be read; what came before it is in the gallery.
    """
    if not spell_names:
        instead = "Rename the files; nothing was added."
        refuse_names((t for s in samples for t in (os.path.abspath(s.path), s.track or "")), "a gallery", instead)
    samples = _once(samples)
    # Refuses here, and not after minutes, a gallery that cannot be written.
    with opened_for_writing(gallery) as writer:
        if keep_apart:
            keep_cameras_apart(writer, samples)
        samples = number_cameras(writer, samples)
    new, changed, differing = _parted(gallery, samples, labeled)
    joined = _joined(gallery, new, samples)
    cameras = list({(s.camera, s.camid): s for s in new}.values())
    ids: list[int] = []
    damaged: list[tuple[Path, str]] = []
    done = 0

    def read(sample: Sample) -> tuple[Sample, _Image | None, str]:
        return sample, *_read(sample.path, thumbnails, extractor)

    for some in read_ahead(new, read, IMAGES_AT_ONCE):
        faults = [(s.path, fault) for s, image, fault in some if image is None]
        good = [(s, image) for s, image, _ in some if image is not None]
        if faults and not skip_damaged:
            before = f"{counted(len(ids), 'image')} before it added; the next try goes on there."
            raise ImageError(f"{faults[0][1]} {before}")
        damaged += faults
        if good:
            rows = extractor([image.pixels for _, image in good], names=[s.path for s, _ in good])
            with opened_for_writing(gallery, patience=LONG_PATIENCE) as writer:
                numbered = still_numbered(writer, [s for s, _ in good], cameras)
                if keep_apart:
                    keep_cameras_apart(writer, numbered)
                entries = [_entry(s, labeled) for s in numbered]
                ids += writer.add(rows, entries, [p.thumbnail for _, p in good], model=writer.model.fingerprint)
        done += len(some)
        if progress:
            progress(done, len(new))
    return Filled(tuple(ids), len(samples) - len(new), tuple(damaged), tuple(changed), tuple(differing), joined)


def _parted(gallery: Gallery, samples: Sequence[Sample], labeled: bool) -> tuple[list[Sample], list[Path], list[Path]]:
    """New samples; images of known paths that changed on the disk since; those that the gallery describes otherwise."""
    known = gallery.known_paths({kept_name(s.path) for s in samples})
    there = [(s, known[kept_name(s.path)]) for s in samples if kept_name(s.path) in known]
    changed = [s.path for s, entry in there if _changed_since(s.path, entry.added)]
    differing = [s.path for s, entry in there if _differs(_entry(s, labeled), entry)]
    return [s for s in samples if kept_name(s.path) not in known], changed, differing


def _joined(gallery: Gallery, new: Sequence[Sample], samples: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Tracks of new images that the gallery has from images of another source; a tracker may have begun anew."""
    tracks = {(s.camid, printable(s.track)) for s in new if s.track is not None}
    if not tracks:
        return ()
    own, names = {kept_name(s.path) for s in samples}, gallery.camera_names()
    there = gallery.entries(Where(camids=tuple({camid for camid, _ in tracks})))
    found = {(e.camid, e.track) for e in there if e.track is not None and e.path not in own} & tracks
    return tuple(sorted((names.get(camid, str(camid)), track) for camid, track in found))


def _once(samples: Iterable[Sample]) -> list[Sample]:
    """The first sample of each image."""
    found: dict[str, Sample] = {}
    for sample in samples:
        found.setdefault(kept_name(sample.path), sample)
    return list(found.values())


def _differs(given: NewEntry, kept: Entry) -> bool:
    """Whether an image comes with another identity, camera, time or track than the gallery has of it."""
    names = ("camid", "pid", "time", "track")
    return any(getattr(given, name) not in (None, getattr(kept, name)) for name in names)


def _changed_since(path: Path, added: float) -> bool:
    """Whether a file has changed, or another one has taken its place, since it was added."""
    _, content, file = stamp_of(path)
    # On Windows the last is the time when the file was made.
    return (file if os.name == "posix" else content) > added * 1e9


def make_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A small JPEG of an image (H, W, 3), never enlarged; errors as :func:`small_jpeg`."""
    return small_jpeg(pixels, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, JPEG_QUALITY)


def small_jpeg(pixels: NDArray[np.uint8], height: int, width: int, quality: int) -> bytes:
    """A JPEG of an image (H, W, 3) that fits into a size, never enlarged, without anything that its file said.

    Raises:
        ImageError: a size that no image of a person has; to shrink it would take minutes.
    """
    fault = size_fault(pixels.shape[1], pixels.shape[0])
    if fault:
        raise ImageError(f"An image {fault}")
    image = Image.fromarray(pixels)
    image.thumbnail((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class _Image:
    pixels: NDArray[np.uint8]
    thumbnail: bytes | None


def _read(path: Path, thumbnails: bool, extractor: Extractor) -> tuple[_Image | None, str]:
    """An image at the size that the model takes, so that few large ones are in memory; or what is wrong with it."""
    try:
        pixels = decode_image(path)
    except ImageError as error:
        return None, str(error)
    small = make_thumbnail(pixels) if thumbnails else None
    return _Image(extractor.resized(pixels), small), ""


def _entry(sample: Sample, labeled: bool) -> NewEntry:
    pid = sample.pid if labeled else None
    track = None if sample.track is None else printable(sample.track)
    camera = None if sample.camera is None else printable(sample.camera)
    return NewEntry(kept_name(sample.path), sample.camid, pid, sample.time, track, camera)
