"""Detectors on MOT17-mini, and what `crosscam watch` takes: time by stage, and memory over a long video.

    python benchmarks/watch.py detectors MOT17-mini/train --yolox yolox_nano.onnx [--json FILE]
    python benchmarks/watch.py speed --yolox yolox_nano.onnx [--frames 100] [--json FILE]
    python benchmarks/watch.py memory [--minutes 10] [--rate 25] [--network rrid-mini] [--json FILE]

``detectors`` compares boxes with the truth of MOT17 (frames are in github.com/akshaydhame2001/YOLOv8_Tracking_TensorRT,
assets/MOT17-mini). A person counts if it is to be considered and at least a quarter visible; a box that fits a person
who is less visible, a reflection or a person on a vehicle counts neither as right nor as wrong. Boxes match at an
overlap of 0.5, the surest box first. The kept person detector is measured as well, where 'crosscam models get
person-detector' has fetched it.

``speed`` and ``memory`` watch a drawn video of 768 x 432: dark people walk over noise.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from machine import about
from numpy.typing import NDArray

from crosscam.data.images import decode_image
from crosscam.errors import EngineError
from crosscam.gallery.local import create_gallery
from crosscam.gallery.source_network import identify_model
from crosscam.inference.extractor import Extractor
from crosscam.video.detections import Detections, as_detections, overlaps
from crosscam.video.graphs import GraphDetector
from crosscam.video.live import open_source
from crosscam.video.opening import kept_detector
from crosscam.video.tiles import Tiled
from crosscam.video.tracks import WatchSettings
from crosscam.video.watching import Watched, watch

WIDTH, HEIGHT, RATE = 768, 432, 25
VISIBLE, MATCHED = 0.25, 0.5
SCORES = (0.1, 0.3, 0.5)
TILES = (3, 2)


def truth_of(sequence: Path) -> dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Boxes by frame, counted from 1, and which of them count."""
    rows = np.loadtxt(sequence / "gt" / "gt.txt", delimiter=",", ndmin=2)
    boxes = np.column_stack((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]))
    counts = (rows[:, 6] == 1) & (rows[:, 7] == 1) & (rows[:, 8] >= VISIBLE)
    # Of the others, people alone are passed over: standing, sitting, on vehicles, reflected, or hidden.
    person_like = np.isin(rows[:, 7], (1, 2, 7, 8, 12))
    return {
        int(frame): (boxes[here], counts[here])
        for frame in np.unique(rows[:, 0])
        for here in [(rows[:, 0] == frame) & (counts | person_like)]
    }


def matched(found: Detections, boxes: NDArray[np.float64], counts: NDArray[np.bool_]) -> tuple[int, int, int]:
    """People found, people in all, and boxes that fit none."""
    table = overlaps(found.boxes, boxes)
    free, right, wrong = np.ones(len(boxes), bool), 0, 0
    for i in np.argsort(-found.scores, kind="stable"):
        fits = np.where(free & counts, table[i], 0.0)
        if len(fits) and fits.max() >= MATCHED:
            free[int(fits.argmax())] = False
            right += 1
        elif not len(boxes) or table[i][~counts].max(initial=0.0) < MATCHED:
            wrong += 1
    return right, int(counts.sum()), wrong


def measure_detectors(root: Path, yolox: Path | None) -> list[dict[str, Any]]:
    """Recall and precision of each detector, whole and in tiles."""
    detectors: dict[str, Callable[..., Any]] = {} if yolox is None else {yolox.stem: GraphDetector(yolox)}
    try:
        detectors["person-detector (SSDLite)"] = GraphDetector(kept_detector())
    except EngineError as error:
        print(error)
    rows = []
    for name, detector in detectors.items():
        for tiles in (None, TILES):
            looking = detector if tiles is None else Tiled(detector, *tiles)
            counted = {score: np.zeros(3, int) for score in SCORES}
            frames, seconds = 0, 0.0
            for sequence in sorted(p for p in root.iterdir() if (p / "gt").is_dir()):
                truth = truth_of(sequence)
                for path in sorted((sequence / "img1").glob("*.jpg")):
                    pixels = decode_image(path)
                    began = time.perf_counter()
                    found = as_detections(looking(pixels))
                    seconds += time.perf_counter() - began
                    frames += 1
                    for score, total in counted.items():
                        total += matched(found[found.scores >= score], *truth[int(path.stem)])
            for score, (right, people, wrong) in counted.items():
                rows.append(
                    {
                        "detector": name,
                        "tiles": "whole" if tiles is None else f"{tiles[0]}x{tiles[1]} and whole",
                        "score": score,
                        "frames": frames,
                        "people": int(people),
                        "recall": round(right / people, 3),
                        "precision": round(right / max(1, right + wrong), 3),
                        "seconds_a_frame": round(seconds / frames, 3),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def walkers(frames: int, people: int = 4, rate: int = RATE) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Frames and the boxes of the people in them; each walks through the view again and again."""
    rng = np.random.default_rng(0)
    ground = rng.integers(120, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    coats = rng.integers(0, 90, (people, 3), dtype=np.uint8)
    for number in range(frames):
        frame, boxes = ground.copy(), []
        for i in range(people):
            left = (60 * number / rate + i * WIDTH / people) % (WIDTH + 160) - 80
            top = 80 + 60 * i
            box = np.array((left, top, left + 60, top + 150))
            shown = np.clip(box, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(int)
            if shown[2] - shown[0] > 8:
                frame[shown[1] : shown[3], shown[0] : shown[2]] = coats[i]
                frame[shown[1] : shown[1] + 25, shown[0] : shown[2]] = (200, 160, 140)
                boxes.append(shown.astype(float))
        yield frame, np.array(boxes).reshape(-1, 4)


def draw_video(path: Path, frames: int, rate: int = RATE) -> list[NDArray[np.float64]]:
    """Write a video and return the boxes of its frames."""
    boxes = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels, found in walkers(frames, rate=rate):
            boxes.append(found)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return boxes


class Truth:
    """A detector that gives the drawn boxes, frame by frame, and begins again at the end."""

    def __init__(self, boxes: list[NDArray[np.float64]]) -> None:
        self.boxes = boxes

    def __call__(self, _: NDArray[np.uint8]) -> Any:
        raise AssertionError("asked by number")

    def of_frame(self, number: int) -> Detections:
        """The people in a frame."""
        return as_detections(self.boxes[number % len(self.boxes)])


def watched(video: Path, detector: Any, folder: Path, network: str = "rrid-mini", **changes: Any) -> Watched:
    """Watch into a new gallery of a network."""
    extractor = Extractor.load(network)
    model = identify_model(Path(network), extractor)
    with create_gallery(folder / "gallery", extractor.layout, model) as gallery:
        return watch(open_source(str(video)), detector, gallery=gallery, extractor=extractor, camera="a", **changes)


def measure_speed(yolox: Path | None, frames: int) -> list[dict[str, Any]]:
    """Milliseconds a frame by stage."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boxes = draw_video(folder / "walk.mp4", frames)
        detectors: dict[str, Any] = {"boxes given": Truth(boxes)}
        if yolox is not None:
            detectors[yolox.stem] = GraphDetector(yolox)
        try:
            detectors["person-detector (SSDLite)"] = GraphDetector(kept_detector())
        except EngineError as error:
            print(error)
        for number, (title, detector) in enumerate(detectors.items()):
            place = folder / str(number)
            place.mkdir()
            began = time.perf_counter()
            found = watched(folder / "walk.mp4", detector, place, settings=WatchSettings(tracker="plain"))
            total = time.perf_counter() - began
            stages = {stage: round(1000 * s / found.frames, 2) for stage, s in found.stages.items()}
            rows.append({"detector": title, "frames_a_second": round(found.frames / total, 1), "ms_a_frame": stages})
            rows[-1] |= {"tracks": found.tracks, "crops": found.crops}
            print(rows[-1], flush=True)
    return rows


def measure_memory(minutes: float, rate: int, network: str) -> list[dict[str, Any]]:
    """Memory of this process while a folder-sized video is played again and again as one source."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        period = round(13.6 * rate)
        boxes = draw_video(folder / "walk.mp4", period, rate)
        loops = max(2, round(minutes * 60 * rate / period))
        with av.open(str(folder / "walk.mp4")) as one, av.open(str(folder / "long.mp4"), "w") as long:
            packets = [bytes(packet) for packet in one.demux(video=0) if packet.size]
            template = one.streams.video[0]
            stream = long.add_stream_from_template(template)
            for number in range(loops * len(packets)):
                packet = av.Packet(packets[number % len(packets)])
                packet.stream, packet.time_base = stream, template.time_base
                step = round(1 / (rate * template.time_base))
                packet.pts = packet.dts = number * step
                packet.is_keyframe = number % len(packets) == 0
                long.mux(packet)

        def note(found: Watched) -> None:
            if found.frames % max(1, loops * period // 8) == 0:
                rows.append({"minute": round(found.seconds / 60, 1), "resident_mb": resident(), "tracks": found.tracks})
                print(rows[-1], flush=True)

        settings = WatchSettings(tracker="plain")
        found = watched(folder / "long.mp4", Truth(boxes), folder, network, settings=settings, progress=note)
        rows.append({"network": network, "frames": found.frames, "minutes": round(found.seconds / 60, 2), "rate": rate})
    rows.append({"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)})
    return rows


def resident() -> int:
    """Memory of this process that is in use now, in 1e6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("detectors", "speed", "memory"))
    parser.add_argument("mot", type=Path, nargs="?", help="MOT17-mini/train, for detectors")
    parser.add_argument("--yolox", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=RATE, help="frames a second of the long video")
    parser.add_argument("--network", default="rrid-mini", help="that describes the crops of the long video")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.what == "detectors":
        rows = measure_detectors(given.mot, given.yolox)
    elif given.what == "speed":
        rows = measure_speed(given.yolox, given.frames)
    else:
        rows = measure_memory(given.minutes, given.rate, given.network)
    if given.json:
        kept = json.loads(given.json.read_text()) if given.json.exists() else {}
        kept[given.what] = {"rows": rows, "machine": about("crosscam", "openvino", "av", "torch")}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
