"""A folder of person images without labels: examined, described, kept in a gallery, and the most similar
pairs across cameras shown on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosscam.calibration.calibration import Calibration
from crosscam.data.doctor import examine_images
from crosscam.data.findings import NUM_EXAMPLES, Finding
from crosscam.data.images import decode_image
from crosscam.data.records import Sample
from crosscam.errors import DataError, ImageError
from crosscam.gallery.calibrated import keep_from_elsewhere
from crosscam.gallery.entries import Entry, Hit
from crosscam.gallery.filling import fill, small_jpeg
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import create_gallery, open_gallery
from crosscam.gallery.numbering import kept_name
from crosscam.gallery.questions import SAME_IMAGE, nearest_images
from crosscam.gallery.source_network import identify_model, remember_source
from crosscam.inference.extractor import Extractor
from crosscam.report.pairs import SimilarPair, write_pairs
from crosscam.system.progress import Progress
from crosscam.system.text import counted

GALLERY, PAGE = "gallery", "pairs.html"
CALIBRATION = "calibration.json"
# Most pairs of either kind on the page.
SHOWN = 48
# Of an image on the page, in pixels; small ones are not enlarged.
PAGE_HEIGHT, PAGE_WIDTH, PAGE_QUALITY = 640, 480, 85
# The nearest images of each that tell whether it stands out, and the images behind the spread of similarities.
NEAREST = 4
SPREAD_IMAGES = 2000


@dataclass(frozen=True)
class Searched:
    """What was done with a folder of images.

    Attributes:
        findings: what is wrong with the folder.
        gallery, entries, cameras: folder of the gallery, and how many are in it.
        damaged: images that could not be read, with the reason.
        pairs: the most similar pairs, nearest first; those that stand out before the others.
        page: the pairs with their images.
        left_out: pairs that stand out, and others, that are not shown.
    """

    findings: tuple[Finding, ...]
    gallery: Path
    entries: int
    damaged: tuple[tuple[Path, str], ...]
    pairs: tuple[SimilarPair, ...]
    page: Path
    left_out: tuple[int, int] = (0, 0)
    cameras: int = 1

    @property
    def most_of_a_kind(self) -> int:
        """Pairs of the more frequent kind, shown or not."""
        likely = sum(pair.stands_out for pair in self.pairs)
        return max(likely + self.left_out[0], len(self.pairs) - likely + self.left_out[1])


def search_photographs(
    samples: Sequence[Sample],
    source: Path,
    extractor: Extractor,
    out: Path,
    *,
    shown: int = SHOWN,
    calibration: Calibration | None = None,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
    found: Callable[[Searched], None] = lambda _: None,
) -> Searched:
    """Examine images, keep them in a gallery and find those that look most alike across cameras.

    A second call goes on with the gallery that is there.

    Args:
        samples: the images; only their paths and cameras count.
        source: what the extractor was loaded from.
        out: folder of the gallery and the page.
        shown: most pairs of either kind on the page.
        calibration: what the distances of this network mean, for a verdict beside each pair.
        notes: sentences for the page.
        progress: called with (done, all) while images are described.
        found: called with the result before the page is written, so that it can be shown.
    Raises:
        DataError: fewer than two images that can be read.
        CrosscamError: as the gallery raises it.
    """
    findings = examine_images(samples)
    place = out / GALLERY
    with gallery_of(source, extractor, place) as gallery:
        if calibration is not None:
            keep_from_elsewhere(gallery, calibration)
        filled = fill(
            gallery, extractor, samples, labeled=False, skip_damaged=True, spell_names=True, progress=progress
        )
        entries = gallery.entries()
        gone = {entry.path for entry in entries} - {kept_name(s.path) for s in samples}
        findings = (*findings, *_of_older(filled.changed, filled.differing, sorted(gone)))
        if len(gallery) < 2:
            first = f" First: {filled.damaged[0][1]}" if filled.damaged else ""
            raise DataError(f"{len(gallery)} of {len(samples)} images can be read. Pairs take at least two.{first}")
        pairs, left_out = _most_similar(gallery, shown)
        thumbnails = _page_images(gallery, [entry for pair in pairs for entry in (pair.first, pair.second)])
        cameras = len({entry.camid for entry in entries})
        images = f"{counted(len(gallery), 'image')}, {counted(cameras, 'camera')}"
        searched = Searched(findings, place, len(gallery), filled.damaged, tuple(pairs), out / PAGE, left_out, cameras)
        found(searched)
        write_pairs(
            out / PAGE,
            pairs,
            thumbnails,
            gallery.layout,
            calibration,
            subtitle=f"{images}, described by {extractor.recipe.name}.",
            notes=notes,
            left_out=left_out,
            across=cameras > 1,
        )
    return searched


def _of_older(changed: Sequence[Path], differing: Sequence[Path], gone: Sequence[str]) -> tuple[Finding, ...]:
    """What is told of images that are no longer what they were when they were described."""
    told = (
        ("changed", changed, "image has", "changed on the disk; the gallery has what they showed"),
        (
            "differing",
            differing,
            "image has",
            "another camera, time or track now; the gallery has what was said before",
        ),
        ("gone", gone, "image is", "gone from the source since; the gallery still has them"),
    )
    cure = "Choose another --out to describe them anew."
    return tuple(
        Finding(
            code,
            "warning",
            len(paths),
            f"{counted(len(paths), subject)} {what}.",
            tuple(map(str, paths[:NUM_EXAMPLES])),
            cure,
        )
        for code, paths, subject, what in told
        if paths
    )


def _most_similar(gallery: Gallery, most: int) -> tuple[list[SimilarPair], tuple[int, int]]:
    """The pairs that are shown, and how many that stand out, and others, are not."""
    every = all_pairs(gallery)
    pairs = first_of_either(every, most)
    likely = [sum(pair.stands_out for pair in some) for some in (every, pairs)]
    return pairs, (likely[0] - likely[1], len(every) - likely[0] - len(pairs) + likely[1])


def _page_images(gallery: Gallery, entries: Sequence[Entry]) -> list[bytes | None]:
    """JPEG images for the page, from the files where they can still be read, else the gallery's small ones."""
    found: list[bytes | None] = []
    for entry, small in zip(entries, gallery.thumbnails([entry.id for entry in entries]), strict=True):
        try:
            found.append(small_jpeg(decode_image(Path(entry.path)), PAGE_HEIGHT, PAGE_WIDTH, PAGE_QUALITY))
        except ImageError:
            found.append(small)
    return found


def all_pairs(gallery: Gallery) -> list[SimilarPair]:
    """Pairs of images that are each other's nearest at another camera: first those that stand out, nearest first.

    With one camera in the gallery, each other's nearest at all. Pairs of the same image (no distance) are left out.
    Descriptors have length 1.
    """
    entries = gallery.entries()
    across = len({entry.camid for entry in entries}) > 1
    nearest = nearest_images(gallery, entries, NEAREST, across=across)
    spread = similarity_spread(gallery, [entry.id for entry in entries])
    found = (_mutual(entry, nearest, spread) for entry in entries)
    pairs = [pair for entry, pair in zip(entries, found, strict=True) if pair and pair.first.id == entry.id]
    pairs.sort(key=lambda pair: (not pair.stands_out, pair.distance, pair.first.id))
    return pairs


def first_of_either(pairs: Sequence[SimilarPair], most: int) -> list[SimilarPair]:
    """At most so many of either kind."""
    return [p for p in pairs if p.stands_out][:most] + [p for p in pairs if not p.stands_out][:most]


def pair_of(gallery: Gallery, entry: Entry, across: bool, spread: float) -> SimilarPair | None:
    """The pair that an entry is in by :func:`all_pairs`, or None; ``spread`` is of :func:`similarity_spread`."""
    nearest = nearest_images(gallery, [entry], NEAREST, across=across)
    if entry.id in nearest:
        nearest |= nearest_images(gallery, [nearest[entry.id][0].entry], NEAREST, across=across)
    return _mutual(entry, nearest, spread)


def _mutual(entry: Entry, nearest: Mapping[int, list[Hit]], spread: float) -> SimilarPair | None:
    """An entry and its nearest image, where each is the other's nearest."""
    hit = nearest[entry.id][0] if entry.id in nearest else None
    back = nearest.get(hit.entry.id) if hit else None
    if hit is None or back is None or hit.distance <= SAME_IMAGE or back[0].entry.id != entry.id:
        return None
    ahead = [ahead_of_others([h.distance for h in nearest[k]]) for k in sorted((entry.id, hit.entry.id))]
    margin = (ahead[0] + ahead[1]) / 2 / spread if spread else 0.0
    first, second = sorted((entry, hit.entry), key=lambda one: one.id)
    return SimilarPair(first, second, hit.distance, np.asarray(hit.contributions), margin)


def ahead_of_others(distances: Sequence[float]) -> float:
    """How far the nearest images are ahead of the next, in cosine similarity: the widest of the first three gaps.

    A person may have several images at the other camera, so the nearest alone need not be ahead of the second.
    ``distances`` ascend; with fewer than ``NEAREST`` the gap is 0: too few to judge.
    """
    if len(distances) < NEAREST:
        return 0.0
    similarity = 1 - np.square(distances) / 2
    return float((similarity[: NEAREST - 1] - similarity[1:]).max())


def similarity_spread(gallery: Gallery, ids: Sequence[int]) -> float:
    """Standard deviation of cosine similarities of (some) images of different cameras; of all, with one camera."""
    chosen = np.random.default_rng(0).permutation(len(ids))[:SPREAD_IMAGES]
    some = gallery.get([ids[i] for i in np.sort(chosen)])
    rows = gallery.descriptors([entry.id for entry in some])
    camids = np.array([entry.camid for entry in some])
    apart = camids[:, None] != camids[None] if len(set(camids.tolist())) > 1 else ~np.eye(len(some), dtype=bool)
    found = (rows @ rows.T)[apart]
    return float(found.std()) if found.size else 0.0


def gallery_of(source: Path, extractor: Extractor, place: Path) -> Gallery:
    """A gallery of a network, made where it is not there, and opened for writing."""
    if not place.exists():
        create_gallery(str(place), extractor.layout, identify_model(source, extractor)).close()
    gallery = open_gallery(str(place), write=True)
    remember_source(gallery, source)
    return gallery
