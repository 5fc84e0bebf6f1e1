"""HOTA, MOTA and IDF1 of the trackers of `crosscam watch`, by TrackEval, on sequences of MOT Challenge's form.

    python benchmarks/mot_scores.py watch MOT17-mini/train tracks --yolox yolox_nano.onnx
    python benchmarks/mot_scores.py score MOT17-mini/train tracks [--json FILE]

``watch`` writes the boxes of all tracks, small people and short tracks as well, by detector and tracker; ``score``
compares them with ``gt/gt.txt`` under the rules of MOT17 (overlap 0.5 for MOTA and IDF1; HOTA is the mean over its
thresholds); it needs ``trackeval`` and not crosscam, so that it can run in an environment of its own. Folders that
``crosscam data render --video`` has drawn are sequences, too. "true boxes" tells what a tracker makes of a detector
without a mistake.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

# The trackers of the package trackers count in frames of a rate; MOT17's sequences have 14 to 30 a second.
RATE = 25.0
SCORES = (
    ("HOTA", "HOTA"),
    ("HOTA", "DetA"),
    ("HOTA", "AssA"),
    ("CLEAR", "MOTA"),
    ("CLEAR", "IDSW"),
    ("Identity", "IDF1"),
)


def sequences_of(root: Path) -> list[Path]:
    """Folders with truth; their frames are in ``img1``, or beside the folder in a video of its name."""
    return sorted(path for path in root.iterdir() if (path / "gt" / "gt.txt").is_file())


def frames_of(sequence: Path) -> Path:
    """The folder or video with the frames."""
    return sequence if (sequence / "img1").is_dir() else sequence.with_suffix(".mp4")


def watch_all(root: Path, out: Path, yolox: Path | None) -> None:
    """Write ``out/DETECTOR TRACKER/data/SEQUENCE.txt``."""
    from crosscam.errors import CrosscamError
    from crosscam.video.detections import as_detections
    from crosscam.video.graphs import GraphDetector
    from crosscam.video.live import open_source
    from crosscam.video.mot import MotDetections, mot_lines
    from crosscam.video.tiles import Tiled
    from crosscam.video.tracking import open_tracker
    from crosscam.video.tracks import OpenTracks, WatchSettings

    graph = None if yolox is None else GraphDetector(yolox)
    names = ["true boxes"] if graph is None else ["true boxes", yolox.stem, f"{yolox.stem} 3x2"]  # type: ignore[union-attr]
    for sequence in sequences_of(root):
        source = open_source(str(frames_of(sequence)))
        truth = MotDetections(true_people(sequence, out))
        for name in names:
            frames: list[Any] = []
            for frame in source.frames():
                if name == "true boxes":
                    found = truth.of_frame(frame.number)
                else:
                    looking: Any = Tiled(graph, 3, 2) if name.endswith("3x2") else graph
                    found = as_detections(looking(frame.pixels))
                frames.append((frame, found[found.scores >= WatchSettings().min_score]))
            for tracker_name in ("plain", "bytetrack", "ocsort"):
                try:
                    tracker = open_tracker(tracker_name, RATE)
                except CrosscamError:
                    continue  # the package trackers is not installed
                tracks = OpenTracks(tracker, WatchSettings(tracker=tracker_name))
                ended = [track for frame, found in frames for track in tracks.add(frame, found)] + tracks.end()
                text = "".join(mot_lines(track.number, track.boxes) for track in ended)
                place = out / f"{name} {tracker_name}" / "data" / f"{sequence.name}.txt"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        print(f"{sequence.name}: {len(frames)} frames", flush=True)


def true_people(sequence: Path, out: Path) -> Path:
    """The boxes that count as a det.txt, hidden people too."""
    lines = []
    for line in (sequence / "gt" / "gt.txt").read_text().splitlines():
        frame, _, left, top, width, height, counts, kind = line.split(",")[:8]
        if int(float(counts)) == 1 and int(kind) == 1:
            lines.append(f"{frame},-1,{left},{top},{width},{height},1\n")
    path = out / "true" / f"{sequence.name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def score_all(root: Path, out: Path) -> list[dict[str, Any]]:
    """A row for each detector and tracker."""
    import trackeval

    sequences = sequences_of(root)
    lengths = {path.name: last_frame(path / "gt" / "gt.txt") for path in sequences}
    with tempfile.TemporaryDirectory() as name:
        truth = Path(name) / "truth"
        for path in sequences:
            (truth / path.name / "gt").mkdir(parents=True)
            shutil.copy(path / "gt" / "gt.txt", truth / path.name / "gt" / "gt.txt")
            write_info(truth / path.name, lengths[path.name])
        trackers = sorted(path.name for path in out.iterdir() if (path / "data").is_dir())
        with contextlib.redirect_stdout(io.StringIO()):
            config = {"PRINT_RESULTS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False, "PLOT_CURVES": False}
            evaluator = trackeval.Evaluator(config | {"OUTPUT_EMPTY_CLASSES": False, "PRINT_CONFIG": False})
            data = trackeval.datasets.MotChallenge2DBox(
                {
                    "GT_FOLDER": str(truth),
                    "TRACKERS_FOLDER": str(out),
                    "TRACKERS_TO_EVAL": trackers,
                    "SEQ_INFO": lengths,
                    "SKIP_SPLIT_FOL": True,
                    "PRINT_CONFIG": False,
                }
            )
            quiet = {"PRINT_CONFIG": False}
            metrics = [getattr(trackeval.metrics, kind)(quiet) for kind in ("HOTA", "CLEAR", "Identity")]
            found, _ = evaluator.evaluate([data], metrics)
    rows = []
    for tracker in trackers:
        all_of = found["MotChallenge2DBox"][tracker]["COMBINED_SEQ"]["pedestrian"]
        values = {score: all_of[kind][score] for kind, score in SCORES}
        shown = {
            score: round(float(value.mean() if hasattr(value, "mean") else value), 3) for score, value in values.items()
        }
        rows.append({"detector and tracker": tracker, **shown})
        print(rows[-1], flush=True)
    return rows


def last_frame(truth: Path) -> int:
    """The highest number of a frame."""
    return max(int(line.partition(",")[0]) for line in truth.read_text().splitlines() if line.strip())


def write_info(folder: Path, length: int) -> None:
    """The seqinfo.ini that TrackEval asks for, with the number of frames that are there."""
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser["Sequence"] = {"name": folder.name, "seqLength": str(length)}
    with open(folder / "seqinfo.ini", "w", encoding="utf-8") as file:
        parser.write(file)


def main() -> None:
    """Write tracks, or score them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("watch", "score"))
    parser.add_argument("root", type=Path, help="folder of sequences, such as MOT17-mini/train")
    parser.add_argument("tracks", type=Path, help="folder for tracks")
    parser.add_argument("--yolox", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.what == "watch":
        watch_all(given.root, given.tracks, given.yolox)
        return
    rows = score_all(given.root, given.tracks)
    if given.json:
        kept = json.loads(given.json.read_text()) if given.json.exists() else {}
        kept[given.root.as_posix()] = rows
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
