"""What the demo does with its trained network: a gallery, a search, an explanation, and two videos linked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crosscam.data.images import decode_image
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.data.synthetic.videos import render_videos
from crosscam.experiments.photographs import gallery_of
from crosscam.explain.pair import explain_pair
from crosscam.gallery.entries import Hit, Where
from crosscam.gallery.filling import fill, make_thumbnail
from crosscam.gallery.journeys import read_journeys
from crosscam.gallery.link_runs import link_gallery
from crosscam.gallery.numbering import kept_name
from crosscam.gallery.questions import typical_pairs
from crosscam.inference.extractor import Extractor
from crosscam.metrics.identity import IdentityScores
from crosscam.report.hits import write_hits
from crosscam.report.pair_page import write_pair_page
from crosscam.system.files import folder_in_place
from crosscam.video.cameras import read_cameras
from crosscam.video.journey_truth import score_journeys
from crosscam.video.live import open_source
from crosscam.video.opening import open_detector
from crosscam.video.watching import watch

GALLERY, HITS, WHY = "gallery", "search.html", "why.html"
VIDEOS, TRACKS = "videos", "videos.gallery"
SHOWN = 12


@dataclass(frozen=True)
class Demonstration:
    """What was done: the gallery, who was searched for, what was found, nearest first, and both pages."""

    gallery: Path
    entries: int
    query: Sample
    hits: tuple[Hit, ...]
    hits_page: Path
    pair_page: Path

    @property
    def num_right(self) -> int:
        """How many of the hits show the one searched for."""
        return sum(hit.entry.pid == self.query.pid for hit in self.hits)


def demonstrate(run: Path, dataset: ReidDataset) -> Demonstration:
    """Fill a gallery in the run folder with the gallery images, search it, and explain the nearest hit.

    The query is the first by name who is not alone. A second call adds nothing, and searches again.
    """
    extractor = Extractor.load(run, engine="torch")
    place = run / GALLERY
    with gallery_of(run, extractor, place) as gallery:
        fill(gallery, extractor, [s for s in dataset.gallery if s.pid != JUNK_PID], spell_names=True)
        others = {(s.pid, s.camid) for s in dataset.gallery if s.pid != DISTRACTOR_PID}
        query = next(s for s in dataset.query if any(p == s.pid and c != s.camid for p, c in others))
        # As in every ranking here: whom the same camera saw is no news.
        hits = gallery.search(
            extractor([query.path]), SHOWN, model=gallery.model.fingerprint, where=Where(not_camids=(query.camid,))
        )[0]
        image = make_thumbnail(decode_image(query.path))
        ids = [hit.entry.id for hit in hits]
        thumbnails = dict(zip(ids, gallery.thumbnails(ids), strict=True))
        subtitle = f"{len(gallery):,} images of drawn people; cameras other than the query's."
        write_hits(run / HITS, [image], hits, thumbnails, gallery.layout, subtitle=subtitle, pid=query.pid)
        entries, typical = len(gallery), typical_pairs(gallery)
    # A gallery spells names that are not UTF-8.
    nearest = next(s.path for s in dataset.gallery if kept_name(s.path) == hits[0].entry.path)
    pair = explain_pair(extractor, query.path, nearest)
    write_pair_page(run / WHY, pair, {"query": query.path.name, "match": nearest.name}, typical)
    return Demonstration(place, entries, query, tuple(hits), run / HITS, run / WHY)


def demonstrate_videos(run: Path) -> IdentityScores:
    """Draw videos of two cameras into the run folder, watch them, link tracks to people, and compare with the truth.

    The drawn boxes stand in for a detector. A second call goes on where one was ended, and scores again. Without PyAV
    the videos are folders of frames.
    """
    videos, place = run / VIDEOS, run / TRACKS
    if not videos.exists():
        with folder_in_place(videos) as part:
            render_videos(part, people=8, cameras=2, seconds=20, rate=5, as_frames=find_spec("av") is None)
    extractor = Extractor.load(run, engine="torch")
    with gallery_of(run, extractor, place) as gallery:
        for camera in read_cameras(videos / "cameras.toml"):
            boxes = open_detector(str(videos / camera.name / "gt" / "gt.txt"))
            source = open_source(camera.source)
            watch(source, boxes, gallery=gallery, extractor=extractor, camera=camera.name, start=camera.start)
        link_gallery(gallery)
        return score_journeys(gallery, read_journeys(gallery), videos)
