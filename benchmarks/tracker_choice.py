"""Which tracker `crosscam watch` should take by default: HOTA, IDF1 and switches at several frame rates and crowds.

    crosscam data render drawn-24-11 --video --seed 11 --ids 24 --seconds 15 --rate 20       # and more of them
    python benchmarks/tracker_choice.py track tracks drawn-24-11 ... MOT17-mini/train
    python benchmarks/tracker_choice.py score tracks [--json FILE]

``track`` gives each tracker the same boxes. Of every true box a made-up detector keeps some: the less of a person is
seen, the less sure it is, and the more often it finds nothing; boxes tremble by 4 % of their sides; one in three frames
has a box of nothing ("detector"). "true boxes" are without a mistake, "det.txt" are those of MOT's public detector. Of
``--steps`` 1 2 4 each takes every so many-th frame, so that the rate falls. ``score`` needs ``trackeval`` and not
crosscam.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mot_scores import score_all, sequences_of
from numpy.typing import NDArray

# What the made-up detector does.
TREMBLE, LEAST_SEEN, NOTHING_THERE = 0.04, 0.15, 1 / 3
USUAL_RATE = 25.0
Truth = dict[int, NDArray[np.float64]]


def truth_of(sequence: Path) -> Truth:
    """Rows (id, left, top, right, bottom, visible) of the people who count, by frame from 0."""
    found: dict[int, list[list[float]]] = defaultdict(list)
    for line in (sequence / "gt" / "gt.txt").read_text().splitlines():
        frame, pid, left, top, width, height, counts, kind, visible = map(float, line.split(",")[:9])
        if counts == 1 and kind == 1:
            found[int(frame) - 1].append([pid, left, top, left + width, top + height, visible])
    return {frame: np.array(rows) for frame, rows in found.items()}


def rate_of(sequence: Path) -> float:
    """Frames a second, by MOT's seqinfo.ini or the cameras.toml of drawn videos."""
    info, drawn = sequence / "seqinfo.ini", sequence.parent / "cameras.toml"
    if info.is_file():
        (line,) = (line for line in info.read_text().splitlines() if line.startswith("frameRate"))
        return float(line.partition("=")[2])
    if drawn.is_file():
        return float(tomllib.loads(drawn.read_text(encoding="utf-8"))["camera"][0]["frame_rate"])
    return USUAL_RATE


def made_up(truth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(N, 5) boxes and scores of a detector that errs."""
    visible = truth[:, 5]
    found = rng.random(len(truth)) < np.clip((visible - LEAST_SEEN) / 0.45, 0, 1) * 0.97
    boxes = truth[found, 1:5]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + rng.normal(0, TREMBLE, boxes.shape) * sides
    scores = np.clip(0.25 + 0.65 * visible[found] + rng.normal(0, 0.1, len(boxes)), 0.05, 0.99)
    rows = np.column_stack((boxes, scores))
    if len(truth) and rng.random() < NOTHING_THERE:
        like = truth[rng.integers(len(truth)), 1:5]
        away = np.tile(rng.normal(0, 1, 2) * (like[2:] - like[:2]) * 2, 2)
        rows = np.vstack((rows, [*(like + away), rng.uniform(0.1, 0.6)]))
    return rows


def detectors_of(sequence: Path, truth: Truth, seed: int) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """Names, and boxes by frame."""
    from crosscam.video.detections import NOTHING, as_detections
    from crosscam.video.mot import MotDetections

    rng = np.random.default_rng(seed)
    exact = {frame: as_detections(np.column_stack((rows[:, 1:5], np.ones(len(rows))))) for frame, rows in truth.items()}
    erring = {frame: as_detections(made_up(rows, rng)) for frame, rows in sorted(truth.items())}
    yield "true boxes", lambda frame: exact.get(frame, NOTHING)
    yield "detector", lambda frame: erring.get(frame, NOTHING)
    if (sequence / "det" / "det.txt").is_file():
        yield "det.txt", MotDetections(sequence / "det" / "det.txt").of_frame


def trackers_of(rate: float) -> Iterator[tuple[str, Any]]:
    """Names and trackers that are installed."""
    from crosscam.errors import CrosscamError
    from crosscam.video.tracking import open_tracker

    for name in ("plain", "bytetrack", "ocsort"):
        try:
            yield name, open_tracker(name, rate)
        except CrosscamError:
            continue  # the package trackers is not installed


def track_all(out: Path, roots: list[Path], steps: list[int]) -> None:
    """Write ``out/SET step K/truth`` and ``out/SET step K/tracks/DETECTOR TRACKER/data/SEQUENCE.txt``."""
    from crosscam.video.mot import mot_lines
    from crosscam.video.tracks import OpenTracks, WatchSettings

    for root in roots:
        for seed, sequence in enumerate(sequences_of(root)):
            truth, rate = truth_of(sequence), rate_of(sequence)
            length = max(truth) + 1
            name = f"{root.name} {sequence.name}".replace(" ", "-")
            for detector, boxes_of in detectors_of(sequence, truth, seed):
                for step in steps:
                    if length // step < 4:
                        continue
                    place = out / f"{set_of(root)} step {step}"
                    write_truth(place / "truth" / name, sequence, step)
                    kept = [(k, frame, boxes_of(frame)) for k, frame in enumerate(range(0, length, step))]
                    kept = [(k, frame, found[found.scores >= WatchSettings().min_score]) for k, frame, found in kept]
                    for tracker_name, tracker in trackers_of(rate / step):
                        tracks = OpenTracks(tracker, WatchSettings(tracker=tracker_name))
                        ended = []
                        for k, frame, found in kept:
                            ended += tracks.add(as_frame(k, frame / rate), found)
                        text = "".join(mot_lines(t.number, t.boxes) for t in ended + tracks.end())
                        path = place / "tracks" / f"{detector} {tracker_name}" / "data" / f"{name}.txt"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_text(text)
            print(name, flush=True)


def as_frame(number: int, seconds: float) -> Any:
    """A frame without an image: the trackers look at boxes alone."""
    from crosscam.video.decoding import Frame

    return Frame(number, seconds, np.zeros((2, 2, 3), np.uint8))


def set_of(root: Path) -> str:
    """``drawn-24-11`` is of the set ``drawn-24``; other folders are their own."""
    start, _, seed = root.name.rpartition("-")
    return start if start and seed.isdecimal() else root.name if root.name != "train" else root.parent.name


def write_truth(folder: Path, sequence: Path, step: int) -> None:
    """The truth of every so many-th frame, numbered anew from 1."""
    lines = []
    for line in (sequence / "gt" / "gt.txt").read_text().splitlines():
        frame, _, rest = line.partition(",")
        if (int(float(frame)) - 1) % step == 0:
            lines.append(f"{(int(float(frame)) - 1) // step + 1},{rest}\n")
    (folder / "gt").mkdir(parents=True, exist_ok=True)
    (folder / "gt" / "gt.txt").write_text("".join(lines))


def score_sets(out: Path) -> list[dict[str, Any]]:
    """A row for each set, detector and tracker."""
    rows = []
    for place in sorted(path for path in out.iterdir() if (path / "truth").is_dir()):
        print(place.name)
        rows += [{"frames": place.name, **row} for row in score_all(place / "truth", place / "tracks")]
    return rows


def main() -> None:
    """Track, or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("track", "score"))
    parser.add_argument("tracks", type=Path, help="folder for tracks")
    parser.add_argument("roots", type=Path, nargs="*", help="folders of sequences")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 10])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.what == "track":
        track_all(given.tracks, given.roots, given.steps)
        return
    rows = score_sets(given.tracks)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
