"""Multi-camera IDF1 of drawn videos: true boxes are described, put into a gallery, and linked to people.

    python benchmarks/journeys.py
    python benchmarks/journeys.py --model runs/drawn --people 30 --cameras 4 --seconds 60
    python benchmarks/journeys.py --model rrid-nano --people 20 --cameras 3 --seconds 40 --seeds 21 22 --each-way

No detector and no tracker take part: each passage of a person through a camera's view is one track, so that the figures
are those of the descriptors and of ``crosscam link`` alone. ``--each-way`` learns how long a way takes from those alone
who went in its direction, as versions before 0.3 did.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.synthetic.film import TrueBox
from crosscam.data.synthetic.videos import render_videos
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery, linking
from crosscam.gallery.filling import make_thumbnail
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import read_journeys
from crosscam.gallery.judging import LinkOptions, learn_transits
from crosscam.gallery.link_runs import link_gallery
from crosscam.inference.extractor import Extractor
from crosscam.metrics.identity import IdentityScores, identity_scores

CROPS = 5
LEAST_VISIBLE = 0.7
Pixels = NDArray[np.uint8]


def true_tracks(folder: Path, camera: str) -> dict[int, list[TrueBox]]:
    """The true boxes of each person at a camera, by frame."""
    found: dict[int, list[TrueBox]] = defaultdict(list)
    for line in (folder / camera / "gt" / "gt.txt").read_text(encoding="utf-8").splitlines():
        *numbers, visible = line.split(",")
        frame, pid, left, top, width, height, _, _ = map(int, numbers)
        found[pid].append(TrueBox(frame, pid, left, top, width, height, float(visible)))
    return dict(found)


def chosen(boxes: Sequence[TrueBox]) -> list[TrueBox]:
    """A few boxes of a track, spread over it, of those that show most of the person."""
    clear = [box for box in boxes if box.visible >= LEAST_VISIBLE] or list(boxes)
    places = np.unique(np.linspace(0, len(clear) - 1, CROPS).round().astype(int))
    return [clear[place] for place in places]


def crop(folder: Path, camera: str, box: TrueBox) -> Pixels:
    """A box cut out of its frame."""
    frame = np.asarray(Image.open(folder / camera / "img1" / f"{box.frame:06d}.jpg"))
    left, top = max(0, box.left), max(0, box.top)
    return np.ascontiguousarray(frame[top : box.top + box.height, left : box.left + box.width])


def fill_from_truth(gallery: Gallery, extractor: Extractor, folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Add the true tracks of drawn videos; gives person and boxes of each track, by camera and track name."""
    truth: dict[tuple[str, str], tuple[int, int]] = {}
    cameras = tomllib.loads((folder / "cameras.toml").read_text(encoding="utf-8"))["camera"]
    for camid, camera in enumerate(cameras, 1):
        name, rate = camera["name"], float(camera["frame_rate"])
        start = datetime.fromisoformat(camera["start"].replace("Z", "+00:00")).timestamp()
        for number, (pid, boxes) in enumerate(
            sorted(true_tracks(folder, name).items(), key=lambda t: t[1][0].frame), 1
        ):
            track = f"{number:04d}"
            some = chosen(boxes)
            crops = [crop(folder, name, box) for box in some]
            entries = [
                NewEntry(f"{name}/{box.frame:06d}", camid, None, start + (box.frame - 1) / rate, track, name)
                for box in some
            ]
            thumbnails = [make_thumbnail(pixels) for pixels in crops]
            gallery.add(extractor(crops), entries, thumbnails, model=gallery.model.fingerprint)
            truth[name, track] = pid, len(boxes)
    return truth


def score(gallery: Gallery, truth: dict[tuple[str, str], tuple[int, int]]) -> IdentityScores:
    """Linked people against the truth, weighted by boxes."""
    rows = [(truth[t.camera, t.track or ""], p.number) for p in read_journeys(gallery).people for t in p.tracks]
    return identity_scores([pid for (pid, _), _ in rows], [n for _, n in rows], [boxes for (_, boxes), _ in rows])


def measure(
    extractor: Extractor, seed: int, people: int, cameras: int, seconds: float, collide: float
) -> dict[str, object]:
    """Draw, describe, link and score one set of videos."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "videos"
        render_videos(
            folder, people=people, cameras=cameras, seconds=seconds, rate=5, collide=collide, seed=seed, as_frames=True
        )
        model = ModelIdentity(extractor.fingerprint, "benchmark")
        with create_gallery(Path(place) / "g", extractor.layout, model) as gallery:
            truth = fill_from_truth(gallery, extractor, folder)
            started = time.perf_counter()
            run = link_gallery(gallery, LinkOptions())
            taken = time.perf_counter() - started
            found = read_journeys(gallery)
            scores = score(gallery, truth)
        return {
            "seed": seed,
            "tracks": len(truth),
            "seconds": round(taken, 3),
            "ways": len(run.transits),
            "proposals": len(found.proposals),
            **{name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(scores).items()},
        }


def main() -> None:
    """Measure several seeds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rrid-mini", help="a run folder or a network of the package")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--collide", type=float, default=0.0)
    parser.add_argument("--each-way", action="store_true")
    given = parser.parse_args()
    if given.each_way:
        linking.learn_transits = partial(learn_transits, both=False)  # type: ignore[attr-defined]
    extractor = Extractor.load(Path(given.model))
    rows = []
    for seed in given.seeds:
        rows.append(measure(extractor, seed, given.people, given.cameras, given.seconds, given.collide))
        print(json.dumps(rows[-1]), flush=True)
    mean = statistics.mean(float(str(row["idf1"])) for row in rows)
    print(f"multi-camera IDF1 {mean:.3f}, {given.people} people, {given.cameras} cameras, {given.model}")


if __name__ == "__main__":
    main()
