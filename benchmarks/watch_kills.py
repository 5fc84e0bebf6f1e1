"""Kill `crosscam watch` with SIGKILL at instants spread over its run, run it again, and compare the galleries.

    python benchmarks/watch_kills.py [--kills 20] [--seconds 20] [--json FILE]

A drawn video of 384 x 400 shows people who cross the view in five lanes; a function finds them by their colors. The
video is watched once undisturbed. Then, for each instant, an empty gallery is filled by the same command, which is
killed there; every other trial is killed a second time while it goes on. After the last call each gallery must hold
each track exactly once and equal the undisturbed one: numbers, paths (with boxes, frames and times), cameras, times,
tracks and small images bit for bit, descriptors to 1e-5 (which crops are described together depends on the clock).
About twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from machine import about
from numpy.typing import NDArray

from crosscam.gallery import open_gallery
from crosscam.gallery.entries import Entry

WIDTH, HEIGHT, RATE = 384, 400, 25
LANES, LANE, TALL, WIDE = 5, 80, 72, 32
# Pixels a frame; frames between two people of a lane.
SPEED, APART = 8, 34
BEGAN = "CROSSCAM_KILLS_BEGAN"
SAME_DESCRIPTOR = 1e-5
Pixels = NDArray[np.uint8]


def draw_frames(count: int) -> Iterator[Pixels]:
    """Frames of people on a gray ground."""
    rng = np.random.default_rng(0)
    ground = rng.integers(140, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    people = count // APART + 2
    coats = rng.integers(0, 90, (LANES, people, 2, 3), dtype=np.uint8)
    for number in range(count):
        frame = ground.copy()
        for lane in range(LANES):
            top = LANE * lane + 4
            for person in range(people):
                left = SPEED * (number - APART * person - 7 * lane) - WIDE
                x0, x1 = max(0, left), min(WIDTH, left + WIDE)
                if x1 > x0:
                    frame[top : top + 36, x0:x1] = coats[lane, person, 0]
                    frame[top + 36 : top + TALL, x0:x1] = coats[lane, person, 1]
        yield frame


def draw_video(path: Path, count: int) -> None:
    """Write the frames as a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in draw_frames(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def find_people(pixels: Pixels) -> NDArray[np.float64]:
    """The detector: dark columns of each lane."""
    if os.environ.get(BEGAN):
        Path(os.environ[BEGAN]).touch()
    boxes = []
    for lane in range(LANES):
        top = LANE * lane + 4
        dark = (pixels[top : top + TALL].mean(axis=(0, 2)) < 115).astype(np.int8)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], dark, [0]))))
        boxes += [(x0, top, x1, top + TALL) for x0, x1 in zip(edges[::2], edges[1::2], strict=True) if x1 - x0 > 8]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


@dataclass
class Trial:
    """One gallery that is filled by a command that is killed on the way.

    Attributes:
        killed: seconds after the start of each process.
        stood: what was there after each kill.
        faults: how the gallery differs in the end; empty where it is equal.
    """

    number: int
    killed: list[float] = field(default_factory=list)
    stood: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Bench:
    """The video, the command, and the gallery of the undisturbed run."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.video = folder / "walk.mp4"
        draw_video(self.video, round(seconds * RATE))
        self.empty = folder / "empty.gallery"
        subprocess.run([*COMMAND, "gallery", "create", str(self.empty), "rrid-nano"], check=True, capture_output=True)
        place = self.place("whole")
        self.length = self.finish(place)
        self.whole = content(place)

    def place(self, name: str) -> Path:
        """A gallery of one's own, with a cache folder beside it."""
        place = self.folder / name / "people.gallery"
        shutil.rmtree(place.parent, ignore_errors=True)
        shutil.copytree(self.empty, place)
        return place

    def start(self, place: Path) -> subprocess.Popen[bytes]:
        """The real command."""
        began = place.parent / "began"
        began.unlink(missing_ok=True)
        watch = ["watch", str(self.video), "--camera", "hall", "--start", "2026-11-24 08:30", "--gallery", str(place)]
        watch += ["--detector", f"{Path(__file__).stem}:find_people", "--tracker", "plain", "--crops", "2"]
        env = {**os.environ, "CROSSCAM_CACHE": str(place.parent / "cache"), BEGAN: str(began)}
        with open(place.parent / "log", "ab") as log:
            return subprocess.Popen([*COMMAND, *watch], cwd=Path(__file__).parent, env=env, stdout=log, stderr=log)

    def finish(self, place: Path) -> float:
        """Watch to the end; the seconds that it took.

        Raises:
            SystemExit: the command failed.
        """
        began = time.perf_counter()
        if self.start(place).wait():
            raise SystemExit(f"The command failed:\n{(place.parent / 'log').read_text()}")
        return time.perf_counter() - began

    def kill(self, place: Path, instant: float) -> bool:
        """Watch, and be killed after so many seconds; False if it was done before."""
        process = self.start(place)
        try:
            process.wait(instant)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() < 0


COMMAND = [sys.executable, "-m", "crosscam"]


def stood(place: Path) -> str:
    """What a killed process left."""
    lines = sum(path.read_bytes().count(b"\n") for path in place.parent.glob("cache/**/*.jsonl"))
    with open_gallery(str(place)) as gallery:
        tracks = {entry.track for entry in gallery.entries()}
        watched = gallery.document("watched") or {}
    at = next(iter(watched.values()), {}).get("frame", -1)
    begun = "" if (place.parent / "began").exists() else "before the first frame; "
    return f"{begun}{len(tracks)} tracks, written up to frame {at}, {lines} frames in the journal"


@dataclass(frozen=True)
class Content:
    """All that a gallery holds: entries with their small images, and descriptors."""

    entries: list[tuple[Entry, bytes | None]]
    descriptors: NDArray[np.float32]


def content(place: Path) -> Content:
    """Read a gallery; the times of adding are left out, since they are others each time.

    Raises:
        SystemExit: the gallery is damaged.
    """
    with open_gallery(str(place)) as gallery:
        if not gallery.verify().sound:
            raise SystemExit(f"{place} is damaged.")
        entries = [replace(entry, added=0.0) for entry in gallery.entries()]
        ids = [entry.id for entry in entries]
        images = gallery.thumbnails(ids)
        return Content(list(zip(entries, images, strict=True)), gallery.descriptors(ids))


def differences(whole: Content, found: Content) -> list[str]:
    """How a gallery differs from the undisturbed one, in words."""
    faults = []
    crops = [(entry.track, entry.path) for entry, _ in found.entries]
    if len(set(crops)) < len(crops):
        faults.append(f"{len(crops) - len(set(crops))} crops twice")
    if len(found.entries) != len(whole.entries):
        faults.append(f"{len(found.entries)} entries instead of {len(whole.entries)}")
    elif found.entries != whole.entries:
        faults.append(f"{sum(a != b for a, b in zip(found.entries, whole.entries, strict=True))} entries differ")
    elif (apart := float(np.abs(found.descriptors - whole.descriptors).max(initial=0.0))) > SAME_DESCRIPTOR:
        faults.append(f"descriptors differ by {apart:.1e}")
    return faults


def run_trial(bench: Bench, number: int, share: float, again: float | None) -> Trial:
    """Kill at a share of the undisturbed length, perhaps once more while it goes on; then finish and compare."""
    trial, instant = Trial(number), share * bench.length
    place = bench.place(f"trial{number}")
    while not bench.kill(place, instant):
        place, instant = bench.place(f"trial{number}"), 0.95 * instant  # quicker this time
    trial.killed.append(round(instant, 2))
    trial.stood.append(stood(place))
    if again is not None and bench.kill(place, again * bench.length):
        trial.killed.append(round(again * bench.length, 2))
        trial.stood.append(stood(place))
    bench.finish(place)
    trial.faults = differences(bench.whole, content(place))
    bench.finish(place)
    trial.faults += [f"after one more call: {fault}" for fault in differences(bench.whole, content(place))]
    shutil.rmtree(place.parent)
    return trial


def tell(trial: Trial) -> None:
    """Print a trial."""
    for i, (instant, there) in enumerate(zip(trial.killed, trial.stood, strict=True)):
        last = i == len(trial.killed) - 1
        end = ("; ".join(trial.faults) or "equal") if last else ""
        print(f"{trial.number if not i else '':>5} {instant:>7.2f} s  {there:<84} {end}".rstrip(), flush=True)


def main() -> None:
    """Run all trials and print a table; exit status 1 if a gallery differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trials")
    parser.add_argument("--seconds", type=float, default=20.0, help="of video")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    began, rng = time.perf_counter(), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), given.seconds)
        count = len({entry.track for entry, _ in bench.whole.entries})
        print(f"undisturbed: {bench.length:.1f} s, {count} tracks, {len(bench.whole.entries)} crops", flush=True)
        shares = [(i + 0.5) / given.kills for i in range(given.kills)]
        trials = []
        for i, share in enumerate(shares, 1):
            trials.append(run_trial(bench, i, share, rng.uniform(0.2, 0.9) if i % 2 == 0 else None))
            tell(trials[-1])
    equal, kills = sum(not t.faults for t in trials), sum(len(t.killed) for t in trials)
    seconds = time.perf_counter() - began
    print(f"{equal} of {len(trials)} galleries equal the undisturbed one; {kills} kills; {seconds:.0f} s.")
    if given.json:
        table = {
            "undisturbed_seconds": round(bench.length, 1),
            "tracks": count,
            "crops": len(bench.whole.entries),
            "trials": [asdict(t) for t in trials],
        }
        given.json.write_text(json.dumps(table | {"machine": about("crosscam", "av", "torch")}, indent=1) + "\n")
    sys.exit(equal < len(trials))


if __name__ == "__main__":
    main()
