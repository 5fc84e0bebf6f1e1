"""A folder of person pictures that nobody has labelled: examined, described, kept in a gallery, and the most similar
pairs across cameras shown on one page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosscam.data.doctor import Progress, examine_pictures
from crosscam.data.findings import NUM_EXAMPLES, Finding
from crosscam.data.records import Sample
from crosscam.errors import DataError
from crosscam.extraction import Extractor
from crosscam.gallery.filling import fill, identify_model
from crosscam.gallery.interface import Gallery
from crosscam.gallery.places import create_gallery, open_gallery
from crosscam.gallery.records import Entry, Hit, Where
from crosscam.gallery.sources import remember_source
from crosscam.report.pairs import SimilarPair, write_pairs
from crosscam.retrieval.calibration import Calibration
from crosscam.system.names import counted

GALLERY, PAGE = "gallery", "pairs.html"
CALIBRATION = "calibration.json"
SAME_PICTURE = 1e-3
# The nearest images of each that tell whether it stands out, and the images behind the spread of similarities.
NEAREST = 4
SPREAD_IMAGES = 2000


@dataclass(frozen=True)
class Searched:
    """What was done with a folder of pictures.

    Attributes:
        findings: what is wrong with the folder.
        gallery: folder of the gallery.
        entries: in it.
        damaged: pictures that could not be read, with the reason.
        pairs: the most similar pairs, nearest first; those that stand out before the others.
        page: the pairs with their pictures.
        cameras: in the gallery.
    """

    findings: tuple[Finding, ...]
    gallery: Path
    entries: int
    damaged: tuple[tuple[Path, str], ...]
    pairs: tuple[SimilarPair, ...]
    page: Path
    cameras: int = 1


def search_photographs(
    samples: Sequence[Sample],
    source: Path,
    extractor: Extractor,
    out: Path,
    *,
    shown: int = 48,
    calibration: Calibration | None = None,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
    found: Callable[[Searched], None] = lambda _: None,
) -> Searched:
    """Examine pictures, keep them in a gallery and find those that look most alike across cameras.

    A second call goes on with the gallery that is there.

    Args:
        samples: the pictures; only their paths and cameras count.
        source: what the extractor was loaded from.
        extractor: describes them.
        out: folder of the gallery and the page.
        shown: most pairs of either kind on the page.
        calibration: what the distances of this network mean, for a verdict beside each pair.
        notes: sentences for the page.
        progress: called with (done, all) while pictures are described.
        found: called with the result before the page is written, so that it can be shown.
    Raises:
        DataError: fewer than two pictures that can be read.
        CrosscamError: as the gallery raises it.
    """
    findings = examine_pictures(samples)
    place = out / GALLERY
    if not place.exists():
        create_gallery(str(place), extractor.layout, identify_model(source, extractor)).close()
    with open_gallery(str(place), write=True) as gallery:
        remember_source(gallery, source)
        filled = fill(
            gallery, extractor, samples, labelled=False, skip_damaged=True, spell_names=True, progress=progress
        )
        if filled.changed:
            what = f"{len(filled.changed):,} pictures have changed on the disk; the gallery has what they showed."
            cure = "Choose another --out to describe them anew."
            examples = tuple(map(str, filled.changed[:NUM_EXAMPLES]))
            findings = (*findings, Finding("changed", "warning", len(filled.changed), what, examples, cure))
        if len(gallery) < 2:
            first = f" First: {filled.damaged[0][1]}" if filled.damaged else ""
            raise DataError(f"{len(gallery)} of {len(samples)} pictures can be read. Pairs take at least two.{first}")
        pairs = similar_pairs(gallery, shown)
        thumbnails = gallery.thumbnails([entry.id for pair in pairs for entry in (pair.first, pair.second)])
        cameras = len({entry.camid for entry in gallery.entries()})
        subtitle = (
            f"{counted(len(gallery), 'image')}, {counted(cameras, 'camera')}, described by {extractor.recipe.name}."
        )
        searched = Searched(findings, place, len(gallery), filled.damaged, tuple(pairs), out / PAGE, cameras)
        found(searched)
        write_pairs(out / PAGE, pairs, thumbnails, gallery.layout, calibration, subtitle=subtitle, notes=notes)
    return searched


def similar_pairs(gallery: Gallery, most: int) -> list[SimilarPair]:
    """Pairs of images that are each other's nearest at another camera: first those that stand out, nearest first.

    With one camera in the gallery, each other's nearest at all. Pairs of the same image (no distance) are left out.

    Args:
        gallery: of descriptors of length 1.
        most: pairs of either kind.
    """
    entries = gallery.entries()
    by_camera: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_camera[entry.camid].append(entry)
    nearest: dict[int, list[Hit]] = {}
    for camid, some in by_camera.items():
        where = Where(not_camids=(camid,)) if len(by_camera) > 1 else Where()
        rows = gallery.descriptors([entry.id for entry in some])
        found = gallery.search(rows, NEAREST + 1, model=gallery.model.fingerprint, where=where)
        for entry, hits in zip(some, found, strict=True):
            others = [hit for hit in hits if hit.entry.id != entry.id][:NEAREST]
            if others:
                nearest[entry.id] = others
    by_id = {entry.id: entry for entry in entries}
    spread = similarity_spread(gallery, entries)
    pairs = []
    for one, (hit, *_) in nearest.items():
        other = hit.entry.id
        if one < other and nearest[other][0].entry.id == one and hit.distance > SAME_PICTURE:
            ahead = [ahead_of_others([h.distance for h in nearest[k]]) for k in (one, other)]
            margin = (ahead[0] + ahead[1]) / 2 / spread if spread else 0.0
            pairs.append(SimilarPair(by_id[one], hit.entry, hit.distance, np.asarray(hit.contributions), margin))
    pairs.sort(key=lambda pair: (pair.distance, pair.first.id))
    return [p for p in pairs if p.stands_out][:most] + [p for p in pairs if not p.stands_out][:most]


def ahead_of_others(distances: Sequence[float]) -> float:
    """How far the nearest images are ahead of the next, in cosine similarity: the widest of the first three gaps.

    A person may have several images at the other camera, so the nearest alone need not be ahead of the second.

    Args:
        distances: of the nearest images, ascending; ``NEAREST`` of them, or the gap is 0: too few to judge.
    """
    if len(distances) < NEAREST:
        return 0.0
    similarity = 1 - np.square(distances) / 2
    return float((similarity[: NEAREST - 1] - similarity[1:]).max())


def similarity_spread(gallery: Gallery, entries: Sequence[Entry]) -> float:
    """Standard deviation of the cosine similarities of images of different cameras; of all images, with one camera."""
    chosen = np.random.default_rng(0).permutation(len(entries))[:SPREAD_IMAGES]
    some = [entries[i] for i in np.sort(chosen)]
    rows = gallery.descriptors([entry.id for entry in some])
    camids = np.array([entry.camid for entry in some])
    apart = camids[:, None] != camids[None] if len(set(camids.tolist())) > 1 else ~np.eye(len(some), dtype=bool)
    found = (rows @ rows.T)[apart]
    return float(found.std()) if found.size else 0.0
