"""From picture files to entries: read, describe, make thumbnails, add; and the same for queries."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.images import decode_image, resize_image
from crosscam.data.limits import size_fault
from crosscam.data.loading import Progress, read_ahead
from crosscam.data.records import Sample
from crosscam.data.text_files import refuse_names
from crosscam.errors import ImageError
from crosscam.extraction import Extractor
from crosscam.gallery.identity import identify_model
from crosscam.gallery.interface import Gallery
from crosscam.gallery.records import NewEntry, name_of
from crosscam.system.names import printable

THUMBNAIL_HEIGHT = 160
THUMBNAIL_WIDTH = 160
JPEG_QUALITY = 80
PICTURES_AT_ONCE = 256


@dataclass(frozen=True)
class Filled:
    """What was added from picture files.

    Attributes:
        ids: of the new entries.
        known: pictures that the gallery had already, by their path.
        damaged: pictures that could not be read, and why.
    """

    ids: tuple[int, ...]
    known: int
    damaged: tuple[tuple[Path, str], ...]


def fill(
    gallery: Gallery,
    extractor: Extractor,
    samples: Sequence[Sample],
    *,
    labelled: bool = True,
    thumbnails: bool = True,
    skip_damaged: bool = False,
    spell_names: bool = False,
    progress: Progress | None = None,
) -> Filled:
    """Add pictures; a second call after an interruption goes on where the first one stopped.

    Args:
        gallery: opened for writing, of the extractor's model; see :func:`matching_extractor`.
        extractor: describes the pictures.
        samples: the pictures; one whose path the gallery knows is left alone, and counted.
        labelled: whether the samples' pid means anything.
        thumbnails: keep a small copy of each picture.
        skip_damaged: leave pictures that cannot be read out, and tell which, instead of stopping.
        spell_names: keep names that are not UTF-8 as they are shown (``\\xff``), instead of refusing them.
        progress: called with (done, all).
    Raises:
        DataError: names that are not UTF-8, which a gallery's database cannot hold; nothing is added.
        ImageError: a picture that cannot be read; what came before it is in the gallery.
    """
    if not spell_names:
        instead = "Rename the files; nothing was added."
        refuse_names((t for s in samples for t in (os.path.abspath(s.path), s.track or "")), "a gallery", instead)
    known = {entry.path for entry in gallery.entries()}
    new = [s for s in samples if kept_name(s.path) not in known]
    ids: list[int] = []
    damaged: list[tuple[Path, str]] = []
    data, done = extractor.recipe.data, 0

    def read(sample: Sample) -> tuple[Sample, _Picture | None, str]:
        return sample, *_read(sample.path, thumbnails, data.height, data.width)

    for some in read_ahead(new, read, PICTURES_AT_ONCE):
        faults = [(s.path, fault) for s, picture, fault in some if picture is None]
        good = [(s, picture) for s, picture, _ in some if picture is not None]
        if faults and not skip_damaged:
            raise ImageError(f"{faults[0][1]} {len(ids):,} pictures before it are added; the next try goes on there.")
        damaged += faults
        if good:
            entries = [_entry(s, labelled) for s, _ in good]
            descriptors = extractor([picture.pixels for _, picture in good], names=[s.path for s, _ in good])
            pictures = [picture.thumbnail for _, picture in good]
            ids += gallery.add(descriptors, entries, pictures, model=gallery.model.fingerprint)
        done += len(some)
        if progress:
            progress(done, len(new))
    return Filled(tuple(ids), len(samples) - len(new), tuple(damaged))


def matching_extractor(gallery: Gallery, folder: Path, device: str = "cpu") -> Extractor:
    """A run folder's model with or without the mirror pass, as the gallery was built.

    Raises:
        ModelMismatchError: it is another model.
        CheckpointError: not a run folder.
    """
    for flip in (False, True):
        extractor = Extractor.load(folder, flip=flip, device=device)
        identity = identify_model(folder, extractor)
        if identity.fingerprint == gallery.model.fingerprint:
            return extractor
    gallery.check_model(f"{identity.fingerprint} ({identity.name})")
    raise AssertionError("a fingerprint that differs is refused")


def make_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A small JPEG of a picture (H, W, 3), never enlarged; errors as :func:`small_jpeg`."""
    return small_jpeg(pixels, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, JPEG_QUALITY)


def small_jpeg(pixels: NDArray[np.uint8], height: int, width: int, quality: int) -> bytes:
    """A JPEG of a picture (H, W, 3) that fits into a size, never enlarged, without anything that its file said.

    Raises:
        ImageError: a size that no picture of a person has; to shrink it would take minutes.
    """
    fault = size_fault(pixels.shape[1], pixels.shape[0])
    if fault:
        raise ImageError(f"A picture {fault}")
    picture = Image.fromarray(pixels)
    picture.thumbnail((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class _Picture:
    pixels: NDArray[np.uint8]
    thumbnail: bytes | None


def _read(path: Path, thumbnails: bool, height: int, width: int) -> tuple[_Picture | None, str]:
    """A picture at the size that the model takes, so that few large ones are in memory; or what is wrong with it."""
    try:
        pixels = decode_image(path)
    except ImageError as error:
        return None, str(error)
    small = make_thumbnail(pixels) if thumbnails else None
    return _Picture(resize_image(pixels, height, width), small), ""


def _entry(sample: Sample, labelled: bool) -> NewEntry:
    pid = sample.pid if labelled else None
    track = None if sample.track is None else printable(sample.track)
    return NewEntry(kept_name(sample.path), sample.camid, pid, sample.time, track)


def kept_name(path: Path) -> str:
    """The path of a picture as a gallery keeps it."""
    return printable(name_of(os.path.abspath(path)))
