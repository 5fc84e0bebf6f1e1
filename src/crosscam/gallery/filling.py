"""From picture files to entries: read, describe, make thumbnails, add; which model does it, and whom a number names."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.image_limits import size_fault
from crosscam.data.images import decode_image
from crosscam.data.loading import read_ahead
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.text_files import refuse_names
from crosscam.data.walk import natural_key
from crosscam.errors import CrosscamError, DataError, ImageError, ModelMismatchError
from crosscam.gallery.entries import Entry, ModelIdentity, NewEntry, Where, name_of
from crosscam.gallery.interface import Gallery
from crosscam.inference.extractor import Extractor
from crosscam.recipes.checkpoint import WEIGHTS
from crosscam.shipped import RENAMED, SHIPPED
from crosscam.system.files import stamp_of
from crosscam.system.progress import Progress
from crosscam.system.text import printable

THUMBNAIL_HEIGHT = 160
THUMBNAIL_WIDTH = 160
JPEG_QUALITY = 80
PICTURES_AT_ONCE = 256
# The document that says whether crosscam numbered the identities of a gallery.
NUMBERING = "numbering"
OURS = "crosscam"


@dataclass(frozen=True)
class Filled:
    """What was added from picture files.

    Attributes:
        ids: of the new entries.
        known: pictures that the gallery had already, by their path.
        damaged: pictures that could not be read, and why.
        changed: known pictures whose file has changed since: the gallery has what was there before.
        differing: known pictures that come with another identity, camera, time or track than the gallery has of them.
    """

    ids: tuple[int, ...]
    known: int
    damaged: tuple[tuple[Path, str], ...]
    changed: tuple[Path, ...] = ()
    differing: tuple[Path, ...] = ()


def fill(
    gallery: Gallery,
    extractor: Extractor,
    samples: Sequence[Sample],
    *,
    labeled: bool = True,
    thumbnails: bool = True,
    skip_damaged: bool = False,
    spell_names: bool = False,
    progress: Progress | None = None,
) -> Filled:
    """Add pictures; a second call after an interruption goes on where the first one stopped.

    Args:
        gallery: opened for writing, of the extractor's model; see :func:`matching_extractor`.
        extractor: describes the pictures.
        samples: the pictures; one whose path the gallery knows is left alone, and counted; one that comes twice, as in
            query and gallery, is added once.
        labeled: whether the samples' pid means anything.
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
    once: dict[str, Sample] = {}
    for sample in number_cameras(gallery, samples):
        once.setdefault(kept_name(sample.path), sample)
    samples = list(once.values())
    known = gallery.known_paths({kept_name(s.path) for s in samples})
    there = [(s, known[kept_name(s.path)]) for s in samples if kept_name(s.path) in known]
    changed = [s.path for s, entry in there if _changed_since(s.path, entry.added)]
    differing = [s.path for s, entry in there if _differs(_entry(s, labeled), entry)]
    new = [s for s in samples if kept_name(s.path) not in known]
    ids: list[int] = []
    damaged: list[tuple[Path, str]] = []
    done = 0

    def read(sample: Sample) -> tuple[Sample, _Picture | None, str]:
        return sample, *_read(sample.path, thumbnails, extractor)

    for some in read_ahead(new, read, PICTURES_AT_ONCE):
        faults = [(s.path, fault) for s, picture, fault in some if picture is None]
        good = [(s, picture) for s, picture, _ in some if picture is not None]
        if faults and not skip_damaged:
            raise ImageError(f"{faults[0][1]} {len(ids):,} pictures before it are added; the next try goes on there.")
        damaged += faults
        if good:
            entries = [_entry(s, labeled) for s, _ in good]
            descriptors = extractor([picture.pixels for _, picture in good], names=[s.path for s, _ in good])
            pictures = [picture.thumbnail for _, picture in good]
            ids += gallery.add(descriptors, entries, pictures, model=gallery.model.fingerprint)
        done += len(some)
        if progress:
            progress(done, len(new))
    return Filled(tuple(ids), len(samples) - len(new), tuple(damaged), tuple(changed), tuple(differing))


def _differs(given: NewEntry, kept: Entry) -> bool:
    """Whether a picture comes with another identity, camera, time or track than the gallery has of it."""
    names = ("camid", "pid", "time", "track")
    return any(getattr(given, name) not in (None, getattr(kept, name)) for name in names)


def _changed_since(path: Path, added: float) -> bool:
    """Whether a file has changed, or another one has taken its place, since it was added."""
    _, content, file = stamp_of(path)
    # On Windows the last is the time when the file was made.
    return (file if os.name == "posix" else content) > added * 1e9


def identify_model(source: Path, extractor: Extractor) -> ModelIdentity:
    """The identity of a model's descriptors.

    Args:
        source: the run folder or exported file.
        extractor: opened from it; its fingerprint is that of the weights, the input size, the layout and the mirror
            pass, the same for a run folder, its copies, and its exported files.
    """
    name = extractor.recipe.name
    return ModelIdentity(extractor.fingerprint, printable(name if source.name == name else f"{name} in {source.name}"))


def matching_extractor(gallery: Gallery, folder: Path, device: str = "cpu") -> Extractor:
    """A run folder's model with or without the mirror pass, as the gallery was built.

    Raises:
        ModelMismatchError: it is another model.
        CheckpointError: not a run folder.
    """
    extractor = Extractor.load(folder, device=device)
    # Most galleries are built with the mirror pass, so that a second load is rare. A file's pass is settled.
    if extractor.fingerprint != gallery.model.fingerprint and extractor.flip and not extractor.has_fixed_flip:
        extractor = Extractor.load(folder, flip=False, device=device)
    if extractor.fingerprint != gallery.model.fingerprint and str(folder) in RENAMED:
        # A gallery of a version that called another network so.
        with suppress(ModelMismatchError):
            return matching_extractor(gallery, Path(RENAMED[str(folder)]), device)
    if extractor.fingerprint != gallery.model.fingerprint:
        identity = identify_model(folder, extractor)
        gallery.check_model(f"{identity.fingerprint} ({identity.name})")
    return extractor


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


def _read(path: Path, thumbnails: bool, extractor: Extractor) -> tuple[_Picture | None, str]:
    """A picture at the size that the model takes, so that few large ones are in memory; or what is wrong with it."""
    try:
        pixels = decode_image(path)
    except ImageError as error:
        return None, str(error)
    small = make_thumbnail(pixels) if thumbnails else None
    return _Picture(extractor.resized(pixels), small), ""


def _entry(sample: Sample, labeled: bool) -> NewEntry:
    pid = sample.pid if labeled else None
    track = None if sample.track is None else printable(sample.track)
    camera = None if sample.camera is None else printable(sample.camera)
    return NewEntry(kept_name(sample.path), sample.camid, pid, sample.time, track, camera)


def kept_name(path: Path) -> str:
    """The path of a picture as a gallery keeps it."""
    return printable(name_of(os.path.abspath(path)))


def number_cameras(gallery: Gallery, samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the numbers that their cameras have in a gallery, as far as their cameras have names.

    A name that the gallery does not know gets the next free number; unless pictures of this camera are there already,
    from when the gallery did not keep names: these give the number, and get the name.

    Args:
        gallery: opened for writing.
        samples: their ``camid`` counts where they have no ``camera``.
    """
    names = {printable(s.camera) for s in samples if s.camera is not None}
    numbers = {name: camid for camid, name in gallery.camera_names().items()}
    new = sorted(names - numbers.keys(), key=natural_key)
    if new:
        taken = {camid for camid, _ in gallery.info().cameras}
        unnamed = Where(camids=tuple(taken - set(numbers.values())))
        numbers |= _name_older(gallery, samples, set(new), unnamed) if unnamed.camids else {}
        new = [name for name in new if name not in numbers]
        taken |= set(numbers.values()) | {s.camid for s in samples if s.camera is None}
        numbers |= {name: number for number, name in enumerate(new, max((0, *taken)) + 1)}
    return [s if s.camera is None else replace(s, camid=numbers[printable(s.camera)]) for s in samples]


def _name_older(gallery: Gallery, samples: Sequence[Sample], new: set[str], where: Where) -> dict[str, int]:
    """Name the cameras of pictures that are there already without a name, and give their numbers."""
    unnamed = {e.path: e.camid for e in gallery.entries(where)}
    found: dict[str, set[int]] = {}
    for s in samples:
        path, name = kept_name(s.path), printable(s.camera or "")
        if name in new and path in unnamed:
            found.setdefault(name, set()).add(unnamed[path])
    numbers = {name: min(camids) for name, camids in found.items() if len(camids) == 1}
    several = {camid for camid in numbers.values() if list(numbers.values()).count(camid) > 1}
    numbers = {name: camid for name, camid in numbers.items() if camid not in several}
    if numbers:
        gallery.name_cameras({camid: name for name, camid in numbers.items()})
    return numbers


def keep_cameras_apart(gallery: Gallery, samples: Sequence[Sample]) -> None:
    """Refuse pictures whose cameras have numbers of their own, where the gallery gave such a number to a name.

    Args:
        gallery: where they are to go.
        samples: what is to be added; the numbers are the source's own, and not those that a user gave for this gallery.
    Raises:
        DataError: a number would stand for two cameras; nothing was added.
    """
    names = gallery.camera_names()
    shared = sorted({s.camid for s in samples if s.camera is None and s.camid in names})
    if not shared:
        return
    known = gallery.known_paths({kept_name(s.path) for s in samples if s.camid in shared})
    if all(kept_name(s.path) in known for s in samples if s.camera is None and s.camid in shared):
        return
    raise DataError(
        f"Camera {shared[0]} of these pictures would be {names[shared[0]]!r} of the gallery, where names got numbers. "
        "Nothing was added. Say which camera took them: --camera NAME, a folder for each camera, or names in the table."
    )


def keep_people_apart(gallery: Gallery, dataset: ReidDataset, samples: Sequence[Sample]) -> None:
    """Refuse pictures whose identity has the number of somebody else in the gallery, as far as that can be told.

    Whole numbers of two datasets are taken as they are: they name the same people. Names have no number of their own:
    each dataset numbers them from 1. So where either side's identities were numbered by crosscam, a number may come
    again only for the pictures of this dataset that the gallery has already. The gallery keeps no names for that,
    which ``forget`` would have to find.

    Args:
        gallery: opened for writing.
        dataset: where the pictures are from.
        samples: what is to be added.
    Raises:
        DataError: a number would stand for two people; nothing was added.
    """
    numbered_here = gallery.document(NUMBERING) == OURS
    if not (dataset.renumbered or numbered_here):
        return
    own = {(kept_name(s.path), s.pid) for subset in dataset.subsets.values() for s in subset}
    others = {e.pid for e in gallery.entries() if e.pid is not None and (e.path, e.pid) not in own}
    shared = sorted(pid for pid in others & {s.pid for s in samples} if pid > DISTRACTOR_PID)
    if shared:
        first = ", ".join(map(str, shared[:3])) + (", ..." if len(shared) > 3 else "")
        why = (
            f"the identities of {dataset.name} have no numbers of their own and were numbered by crosscam"
            if dataset.renumbered
            else "the gallery's identities were names that crosscam numbered"
        )
        raise DataError(
            f"{len(shared):,} identities would get numbers of others in the gallery ({first}): {why}. Nothing was "
            "added. Write one table in which every person of both has a whole number of their own, or add the pictures "
            "with --unlabelled."
        )
    if dataset.renumbered and not numbered_here:
        gallery.set_document(NUMBERING, OURS)


SOURCE = "model_source"


def remember_source(gallery: Gallery, source: Path) -> None:
    """Keep with a gallery, opened for writing, where its network is: a shipped network's name, or a place on disk."""
    value = str(source) if str(source) in SHIPPED and not source.is_dir() else printable(os.path.abspath(source))
    if gallery.document(SOURCE) != value:
        gallery.set_document(SOURCE, value)


def recorded_extractor(gallery: Gallery, place: str, device: str = "cpu") -> tuple[Extractor | None, str]:
    """The network that a gallery was built with, where it can be found; another one is never taken.

    Args:
        gallery: opened.
        place: its folder or address.
        device: of torch.
    Returns:
        The network and what to call it; or None, and why there is none, as the end of a sentence.
    """
    candidates = _candidates(gallery, Path(place))
    reasons = []
    for source in candidates:
        if str(source) not in SHIPPED and not source.exists():
            reasons.append(f"{source} is gone")
            continue
        try:
            return matching_extractor(gallery, source, device), str(source)
        except ModelMismatchError:
            reasons.append(f"{source} is another network than the gallery's")
        except CrosscamError as error:
            reasons.append(f"{source} cannot be read ({str(error).rstrip('.')})")
    return None, reasons[0] if reasons else f"the gallery does not say where its network ({gallery.model.name}) is"


def _candidates(gallery: Gallery, place: Path) -> list[Path]:
    """The recorded place; without one, a shipped network of the recorded name, or the run folder around the gallery."""
    recorded = gallery.document(SOURCE)
    if isinstance(recorded, str):
        return [Path(recorded)]
    last = gallery.model.name.rpartition(" in ")[2]
    around = place.absolute().parent
    return [Path(name) for name in SHIPPED if name == last] + [around] * (around / WEIGHTS).is_file()
