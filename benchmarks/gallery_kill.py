"""Kill a gallery's writer with SIGKILL, a reader beside it, and look at what is left.

    python benchmarks/gallery_kill.py [--kills 50] [--orphans 6] [--seed 0] [--json FILE]

For each verb a writer works without a pause; it tells what it begins and what was acknowledged. The instants are
spread over the whole work, one in each fiftieth of it. Some more trials leave an **orphaned commit**: the writer is
killed between the flush of a commit to SQLite's log and the note of it in the log's shared index, so that whoever
shares the index does not see the commit, and whoever builds it anew does.

After each kill the next writer opens the gallery while the reader is still there, and every entry and every file is
read; then the reader is killed, too, or closes in the ordinary way, and everything is read once more: nothing
acknowledged may be lost, nothing forgotten may come back or leave a byte in any file of the folder (descriptors,
thumbnails, paths, tracks, feedback), what was begun must have happened wholly or not at all, and the second look must
find what the first one found. About ten minutes on two cores.
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
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery import ModelIdentity, NewEntry, Where
from crosscam.gallery.database import Database
from crosscam.gallery.database_file import DATABASE
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Block

LAYOUT = tuple(Block(f"p4.local{i + 1}", 16 * i, 16 * i + 16, 4, "local", (i / 4, i / 4 + 0.25)) for i in range(4))
MODEL = ModelIdentity("0123456789abcdef", "none")
DIM, ENTRIES, BATCH, STEPS, SEGMENT_ROWS = 64, 800, 40, 14, 128
VERBS = ("add", "forget", "expire", "compact", "update", "feedback")
ADDING, REMOVING = ("add",), ("forget", "expire", "compact")
MARK = re.compile(rb"<thumbnail ([0-9]{6})>|<path ([0-9]{6})>|<track ([0-9]{6})>")


@cache
def descriptor(i: int) -> NDArray[np.float32]:
    """The descriptor of an entry by its number; the same in every process."""
    row = np.random.default_rng(1000 + i).standard_normal(DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


def descriptors(numbers: list[int]) -> NDArray[np.float32]:
    """(n, DIM)."""
    return np.array([descriptor(i) for i in numbers], np.float32).reshape(-1, DIM)


def thumbnail(i: int) -> bytes:
    """Bytes that are found again wherever they are left."""
    return b"<thumbnail %06d>" % i * (5 + i % 7)


def put(gallery: LocalGallery, first: int, last: int) -> None:
    """Add the entries with the numbers ``first`` to ``last - 1``; the id is the number plus one."""
    numbers = list(range(first, last))
    entries = [NewEntry(f"<path {i:06d}>", i % 5, 1 + i // 4, float(i), f"<track {i // 8 * 8:06d}>") for i in numbers]
    gallery.add(descriptors(numbers), entries, [thumbnail(i) for i in numbers], model=MODEL.fingerprint)


def judged(ids: range) -> list[dict[str, object]]:
    """Feedback that names entries."""
    return [{"query": f"e{i}", "entry": i + 1, "same": True, "who": "a", "when": "b"} for i in ids]


def work(verb: str, gallery: LocalGallery, tell: Callable[[str], None]) -> None:
    """What the writer does until it is killed; ``tell`` says what begins and what is done."""
    for step in range(STEPS):
        low, high = step * BATCH, (step + 1) * BATCH
        tell(f"begin {low} {high}")
        if verb == "add":
            put(gallery, ENTRIES + low, ENTRIES + high)
        elif verb == "expire":
            gallery.expire("1s", by="time", now=high + 1.0)
        elif verb == "update":
            gallery.update(range(low + 1, high + 1), camid=9)
        elif verb == "feedback":
            gallery.set_document("feedback", judged(range(1, high)))
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
        instant: seconds after it began; None for an orphaned commit.
        commits: which commit of the writer is orphaned.
        closes: whether the reader closes in the ordinary way, instead of being killed.
        during: what was under way.
        acknowledged: operations that were done before.
        faults: what is wrong with what it left.
    """

    verb: str
    instant: float | None = None
    commits: int = 0
    closes: bool = False
    during: str = "between two"
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def orphan_commit(folder: Path, number: int) -> None:
    """End this process in its so-manieth commit, with the commit in the log and not in the log's index.

    The index is a file that all connections have mapped. What it said before the commit is put back after it, as if the
    writer had not come to write it.
    """
    handle = -1
    execute = Database.transaction
    count = 0

    class Orphaning:
        """A transaction that ends the process."""

        def __init__(self, database: Database) -> None:
            self._inner = execute(database)

        def __enter__(self) -> object:
            nonlocal handle, count
            if handle < 0:  # never closed: that would give SQLite's own locks on the file up
                handle = os.open(folder / f"{DATABASE}-shm", os.O_RDWR)
            count += 1
            found = self._inner.__enter__()
            self._before = os.pread(handle, 1 << 20, 0)
            return found

        def __exit__(self, *error: object) -> bool | None:
            done = self._inner.__exit__(*error)  # type: ignore[arg-type]
            if count == number:
                os.pwrite(handle, self._before, 0)
                os.kill(os.getpid(), signal.SIGKILL)
            return done

    Database.transaction = lambda self: Orphaning(self)  # type: ignore[assignment, method-assign]


def read(folder: Path) -> tuple[int, int]:
    """A reader that searches again and again until its pipe is closed, and then closes; its process and the pipe."""
    ends, end = os.pipe()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.set_blocking(ends, False)
        gallery = LocalGallery.open(folder)
        query = descriptors([0])
        while True:
            with suppress(Exception):
                gallery.search(query, 3, model=MODEL.fingerprint)
            os.write(tell, b"x")
            with suppress(BlockingIOError):
                if not os.read(ends, 1):
                    break
            time.sleep(0.01)
        gallery.close()
        os._exit(0)
    os.close(ends)
    os.close(tell)
    os.read(ready, 1)
    os.set_inheritable(ready, False)
    _OPEN_PIPES[child] = ready
    return child, end


_OPEN_PIPES: dict[int, int] = {}


def end(reader: tuple[int, int], *, closes: bool) -> None:
    """End a reader."""
    process, pipe = reader
    if not closes:
        os.kill(process, signal.SIGKILL)
    os.close(pipe)
    os.close(_OPEN_PIPES.pop(process)) if not closes else None
    os.waitpid(process, 0)
    if closes:
        os.close(_OPEN_PIPES.pop(process))


def run(trial: Trial, folder: Path) -> tuple[list[str], float]:
    """Work in a child process, killed as the trial says; what it told, and how long it worked."""
    log = folder.with_suffix(".log")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    child = os.fork()
    if child == 0:
        try:
            if trial.commits:
                orphan_commit(folder, trial.commits)
            gallery = LocalGallery.open(folder, write=True)
            os.write(handle, b"open\n")
            work(trial.verb, gallery, lambda text: os.write(handle, f"{text}\n".encode()) and None)
        finally:
            os._exit(0)
    while not log.stat().st_size and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    began = time.perf_counter()
    if trial.instant is not None:
        time.sleep(trial.instant)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(handle)
    return log.read_text().splitlines(), time.perf_counter() - began


def examine(trial: Trial, folder: Path, told: list[str]) -> set[int]:
    """Open what was left, and compare it with what was told; the entries that are there."""
    steps = [line.split() for line in told[1:]]
    done = [tuple(map(int, s[1:])) for s in steps if s[0] == "done" and s[1] != "compact"]
    trial.acknowledged = sum(s[0] == "done" for s in steps)
    begun = None
    if steps and steps[-1][0] == "begin":
        trial.during = "compact" if steps[-1][1] == "compact" else {"compact": "forget"}.get(trial.verb, trial.verb)
        begun = None if steps[-1][1] == "compact" else (int(steps[-1][1]), int(steps[-1][2]))
    states = [outcome(trial.verb, done)] + ([outcome(trial.verb, [*done, begun])] if begun else [])
    with LocalGallery.open(folder, write=True) as gallery:
        entries = gallery.entries()
        found = {e.id - 1 for e in entries}
        moved = {e.id - 1 for e in entries if e.camid == 9}
        said = len(gallery.document("feedback") or ()) if trial.verb == "feedback" else 0
        if (found, moved, said) not in states:
            lost, back = sorted(states[0][0] - found)[:5], sorted(found - states[0][0])[:5]
            trial.faults.append(f"not what was acknowledged, nor with what was begun: lost {lost}, there {back}")
        trial.faults += gallery.verify().problems
        compare(trial, gallery, sorted(found), moved)
        named = {n for j in gallery.document("feedback") or () for n in (j["entry"], int(j["query"][1:]))}
        if named - {i + 1 for i in found}:
            trial.faults.append("feedback names entries that are gone")
    traces(trial, folder, found)
    return found


def outcome(verb: str, done: list[tuple[int, ...]]) -> tuple[set[int], set[int], int]:
    """Entries, entries at another camera, and answers kept as feedback, after some steps."""
    touched = {i for low, high in done for i in range(low, high)}
    found = set(range(ENTRIES))
    if verb in ADDING:
        found |= {ENTRIES + i for i in touched}
    if verb in REMOVING:
        found -= touched
    said = (len(touched) - 1 if touched else ENTRIES - 2) if verb == "feedback" else 0
    return found, touched if verb == "update" else set(), said


def compare(trial: Trial, gallery: LocalGallery, found: list[int], moved: set[int]) -> None:
    """Every entry with what was added."""
    ids = [i + 1 for i in found]
    if not np.array_equal(gallery.descriptors(ids), descriptors(found)):
        trial.faults.append("descriptors differ")
    if gallery.thumbnails(ids) != [thumbnail(i) for i in found]:
        trial.faults.append("thumbnails differ")
    expected = [(f"<path {i:06d}>", 9 if i in moved else i % 5, float(i), f"<track {i // 8 * 8:06d}>") for i in found]
    if [(e.path, e.camid, e.time, e.track) for e in gallery.get(ids)] != expected:
        trial.faults.append("paths, cameras, times or tracks differ")


def traces(trial: Trial, folder: Path, found: set[int]) -> None:
    """Bytes of entries that are not in the gallery, in any file, at any place: pairs of numbers, images, names."""
    gone = sorted(set(range(ENTRIES + STEPS * BATCH)) - found)
    tracks = {i // 8 * 8 for i in gone} - {i // 8 * 8 for i in found}
    pairs = np.sort(descriptors(gone).view(np.uint64).ravel())
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        data = file.read_bytes()
        marks = {m.group() for m in MARK.finditer(data) if names_gone(m, set(gone), tracks)}
        left = 0
        for shift in range(8 if len(gone) else 0):
            whole = (len(data) - shift) // 8 * 8
            numbers = np.frombuffer(data[shift : shift + whole], np.uint64)
            places = np.minimum(np.searchsorted(pairs, numbers), len(pairs) - 1)
            left += int((pairs[places] == numbers).sum())
        if marks or left:
            trial.faults.append(f"{file.name} holds {sorted(marks)[:3]} and {left} numbers of entries that are gone")


def names_gone(mark: re.Match[bytes], gone: set[int], tracks: set[int]) -> bool:
    """Whether a text in a file is of an entry or a track that is gone."""
    image, path, track = mark.groups()
    return int(track) in tracks if track else int(image or path) in gone


def attempt(trial: Trial, new: Path, place: Path) -> None:
    """A copy of the gallery, a reader, a killed writer, and two looks at what is left."""
    shutil.copytree(new, place)
    reader = read(place)
    told, _ = run(trial, place)
    # Another process looks: SQLite shares what it knows of a file within one, and the next writer is never this one.
    first = looked(trial, place, told)
    end(reader, closes=trial.closes)
    if not trial.faults:
        second = looked(trial, place, told)
        if second != first:
            trial.faults.append(f"entries came or went with the reader: {sorted(first ^ second)[:5]}")
    shutil.rmtree(place)


def looked(trial: Trial, place: Path, told: list[str]) -> set[int]:
    """:func:`examine` in a process of its own."""
    out, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = sorted(examine(trial, place, told))
        except Exception as error:
            trial.faults.append(f"{type(error).__name__}: {error}")
            found = []
        with os.fdopen(answer, "w") as file:
            json.dump([found, trial.during, trial.acknowledged, trial.faults], file)
        os._exit(0)
    os.close(answer)
    with os.fdopen(out) as file:
        found, trial.during, trial.acknowledged, trial.faults = json.load(file)
    os.waitpid(child, 0)
    return set(found)


def main() -> None:
    """All trials, a table, and a file of results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="for each verb")
    parser.add_argument("--orphans", type=int, default=6, help="orphaned commits for each verb, from the first on")
    parser.add_argument("--verbs", nargs="+", default=VERBS, choices=VERBS)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    began, rng, results = time.perf_counter(), random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with LocalGallery.create(place / "new", LAYOUT, MODEL, segment_rows=SEGMENT_ROWS) as gallery:
            for first in range(0, ENTRIES, 100):
                put(gallery, first, first + 100)
            gallery.set_document("feedback", judged(range(1, ENTRIES - 1)))
        for verb in options.verbs:
            lengths = []
            for _ in range(2 if options.kills else 0):
                shutil.copytree(place / "new", place / "whole")
                lengths.append(run(Trial(verb), place / "whole")[1])
                shutil.rmtree(place / "whole")
            trials = [
                Trial(verb, (i + rng.random()) / options.kills * min(lengths), closes=i % 2 == 1)
                for i in range(options.kills)
            ]
            trials += [Trial(verb, commits=1 + i, closes=i % 2 == 1) for i in range(options.orphans)]
            for trial in trials:
                attempt(trial, place / "new", place / "trial")
            results += trials
    show(results, time.perf_counter() - began, options.json)


def show(results: list[Trial], seconds: float, file: Path | None) -> None:
    """Print, write, and end with 1 if anything is wrong."""
    rows = []
    for verb in dict.fromkeys(t.verb for t in results):
        mine = [t for t in results if t.verb == verb]
        kills = [t for t in mine if not t.commits]
        during = {d: sum(t.during == d for t in kills) for d in sorted({t.during for t in kills})}
        rows.append(
            {
                "verb": verb,
                "kills": len(kills),
                "orphaned commits": len(mine) - len(kills),
                "under_way": during,
                "acknowledged": sum(t.acknowledged for t in mine),
                "faulty": sum(bool(t.faults) for t in mine),
            }
        )
        under_way = ", ".join(f"{count} in {name}" for name, count in during.items())
        print(f"{verb:<8} {len(kills):>3} kills ({under_way}), {len(mine) - len(kills)} orphaned commits", end="; ")
        print(f"{rows[-1]['acknowledged']:>4} acknowledged before; {rows[-1]['faulty']} faulty")
    for trial in results:
        for fault in trial.faults:
            when = f"commit {trial.commits}" if trial.commits else f"{trial.instant:.3f} s"
            print(f"  {trial.verb} at {when}, in {trial.during}: {fault}")
    print(f"{seconds:.0f} s")
    if file:
        file.write_text(json.dumps({"verbs": rows, "seconds": round(seconds)}, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(t.faults for t in results))


if __name__ == "__main__":
    main()
