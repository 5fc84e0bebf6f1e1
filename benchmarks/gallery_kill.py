"""Kill a gallery's writer with SIGKILL at random instants of add, forget, expire and compact, and look at what is left.

    python benchmarks/gallery_kill.py [--kills 50] [--seed 0] [--json FILE]

For each verb a writer works without a pause; it tells what it begins and what was acknowledged. The instants are
spread over the whole work, one in each fiftieth of it. After each kill the gallery is opened for writing, as the next
writer would, and every entry and every file is read: nothing acknowledged may be lost, nothing forgotten may come back
or leave a byte, and what was begun must have happened wholly or not at all. About eight minutes on two cores.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery import ModelIdentity, NewEntry, Where
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Block

LAYOUT = tuple(Block(f"p4.local{i + 1}", 16 * i, 16 * i + 16, 4, "local", (i / 4, i / 4 + 0.25)) for i in range(4))
MODEL = ModelIdentity("0123456789abcdef", "none")
DIM, ENTRIES, BATCH, SEGMENT_ROWS = 64, 800, 40, 128
VERBS = ("add", "forget", "expire", "compact")
MARK = re.compile(rb"<thumbnail ([0-9]{6})>")


def descriptors(first: int, last: int) -> NDArray[np.float32]:
    """The descriptors of entries by their number; the same in every process."""
    rows = [np.random.default_rng(1000 + i).standard_normal(DIM) for i in range(first, last)]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, DIM)


def put(gallery: LocalGallery, first: int, last: int) -> None:
    """Add the entries with the numbers ``first`` to ``last - 1``; the id is the number plus one."""
    entries = [NewEntry(f"{i}.jpg", i % 5, 1 + i // 4, float(i), f"t{i // 8}") for i in range(first, last)]
    thumbnails = [b"<thumbnail %06d>" % i * (5 + i % 7) for i in range(first, last)]
    gallery.add(descriptors(first, last), entries, thumbnails, model=MODEL.fingerprint)


def work(verb: str, gallery: LocalGallery, tell: Callable[[str], None]) -> None:
    """What the writer does until it is killed; ``tell`` says what begins and what is done."""
    for step in range(14):
        low, high = step * BATCH, (step + 1) * BATCH
        tell(f"begin {low} {high}")
        if verb == "add":
            put(gallery, ENTRIES + low, ENTRIES + high)
        elif verb == "expire":
            gallery.expire("1s", by="time", now=high + 1.0)
        else:
            gallery.forget(Where(ids=tuple(range(low + 1, high + 1))))
        tell(f"done {low} {high}")
        if verb == "compact":
            tell("begin compact")
            gallery.compact()
            tell("done compact")


@dataclass
class Trial:
    """One killed writer.

    Attributes:
        verb: what it did.
        instant: seconds after it began.
        during: what was under way.
        acknowledged: operations that were done before.
        faults: what is wrong with what it left.
    """

    verb: str
    instant: float
    during: str = "between two"
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def run(verb: str, folder: Path, instant: float | None) -> tuple[list[str], float]:
    """Work in a child process, killed at the instant; what it told, and how long it worked."""
    log = folder.with_suffix(".log")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    child = os.fork()
    if child == 0:
        gallery = LocalGallery.open(folder, write=True)
        os.write(handle, b"open\n")
        work(verb, gallery, lambda text: os.write(handle, f"{text}\n".encode()) and None)
        os._exit(0)
    while not log.stat().st_size and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    began = time.perf_counter()
    if instant is not None:
        time.sleep(instant)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(handle)
    return log.read_text().splitlines(), time.perf_counter() - began


def examine(trial: Trial, folder: Path, told: list[str]) -> None:
    """Open what was left, and compare it with what was told."""
    steps = [line.split() for line in told[1:]]
    done = [tuple(map(int, s[1:])) for s in steps if s[0] == "done" and s[1] != "compact"]
    trial.acknowledged = sum(s[0] == "done" for s in steps)
    open_step = None
    if steps and steps[-1][0] == "begin":
        trial.during = "compact" if steps[-1][1] == "compact" else {"compact": "forget"}.get(trial.verb, trial.verb)
        open_step = None if steps[-1][1] == "compact" else (int(steps[-1][1]), int(steps[-1][2]))
    with LocalGallery.open(folder, write=True) as gallery:
        expected = set(range(ENTRIES))
        for low, high in done:
            expected = (
                expected | set(range(ENTRIES + low, ENTRIES + high))
                if trial.verb == "add"
                else (expected - set(range(low, high)))
            )
        found = {id_ - 1 for id_ in gallery.ids()}
        if open_step:
            low, high = open_step
            shift = ENTRIES if trial.verb == "add" else 0
            touched = set(range(low + shift, high + shift))
            other = expected | touched if trial.verb == "add" else expected - touched
            if found not in (expected, other):
                trial.faults.append(f"{trial.verb} happened in part: {len(found ^ expected)} entries differ")
        elif found != expected:
            trial.faults.append(f"lost {sorted(expected - found)[:5]}, came back {sorted(found - expected)[:5]}")
        report = gallery.verify()
        trial.faults += report.problems
        compare(trial, gallery, sorted(found))
    traces(trial, folder, found)


def compare(trial: Trial, gallery: LocalGallery, found: list[int]) -> None:
    """Every entry with what was added."""
    ids = [i + 1 for i in found]
    rows = np.concatenate([np.empty((0, DIM), np.float32), *(descriptors(i, i + 1) for i in found)])
    if not np.array_equal(gallery.descriptors(ids), rows):
        trial.faults.append("descriptors differ")
    if gallery.thumbnails(ids) != [b"<thumbnail %06d>" % i * (5 + i % 7) for i in found]:
        trial.faults.append("thumbnails differ")
    if [(e.path, e.camid, e.time) for e in gallery.get(ids)] != [(f"{i}.jpg", i % 5, float(i)) for i in found]:
        trial.faults.append("paths, cameras or times differ")


def traces(trial: Trial, folder: Path, found: set[int]) -> None:
    """Bytes of entries that are not in the gallery, in any file, at any place: pairs of numbers, and thumbnails."""
    gone = sorted(set(range(ENTRIES + 14 * BATCH)) - found)
    pairs = np.concatenate([descriptors(i, i + 1).view(np.uint64).ravel() for i in gone]) if gone else np.empty(0)
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        data = file.read_bytes()
        marks = {int(m) for m in MARK.findall(data)} & set(gone)
        left = 0
        for shift in range(8):
            whole = (len(data) - shift) // 8 * 8
            left += int(np.isin(np.frombuffer(data[shift : shift + whole], np.uint64), pairs).sum())
        if marks or left:
            trial.faults.append(
                f"{file.name} holds {len(marks)} thumbnails and {left} numbers of entries that are gone"
            )


def main() -> None:
    """All trials, a table, and a file of results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="for each verb")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    began, rng, results = time.perf_counter(), random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with LocalGallery.create(place / "new", LAYOUT, MODEL, segment_rows=SEGMENT_ROWS) as gallery:
            for first in range(0, ENTRIES, 100):
                put(gallery, first, first + 100)
        for verb in VERBS:
            lengths = []
            for _ in range(2):
                shutil.copytree(place / "new", place / "whole")
                lengths.append(run(verb, place / "whole", None)[1])
                shutil.rmtree(place / "whole")
            for i in range(options.kills):
                trial = Trial(verb, (i + rng.random()) / options.kills * min(lengths))
                shutil.copytree(place / "new", place / "trial")
                told, _ = run(verb, place / "trial", trial.instant)
                examine(trial, place / "trial", told)
                shutil.rmtree(place / "trial")
                results.append(trial)
    show(results, time.perf_counter() - began, options.json)


def show(results: list[Trial], seconds: float, file: Path | None) -> None:
    """Print, write, and end with 1 if anything is wrong."""
    rows = []
    for verb in VERBS:
        mine = [t for t in results if t.verb == verb]
        during = {d: sum(t.during == d for t in mine) for d in sorted({t.during for t in mine})}
        rows.append(
            {
                "verb": verb,
                "kills": len(mine),
                "under_way": during,
                "acknowledged": sum(t.acknowledged for t in mine),
                "faulty": sum(bool(t.faults) for t in mine),
            }
        )
        under_way = ", ".join(f"{count} in {name}" for name, count in during.items())
        print(
            f"{verb:<8} {len(mine):>3} kills ({under_way}); {rows[-1]['acknowledged']:>4} acknowledged before", end="; "
        )
        print(f"{rows[-1]['faulty']} faulty")
    for trial in results:
        for fault in trial.faults:
            print(f"  {trial.verb} at {trial.instant:.3f} s, in {trial.during}: {fault}")
    print(f"{seconds:.0f} s")
    if file:
        file.write_text(json.dumps({"verbs": rows, "seconds": round(seconds)}, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(t.faults for t in results))


if __name__ == "__main__":
    main()
