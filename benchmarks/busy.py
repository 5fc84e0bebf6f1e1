"""The same work on quiet cores and beside two neighbours that want both of them, for each way of waiting.

    python benchmarks/busy.py [--toy] [--rounds 3] [--tests tests/retrieval]

Works: a short training (``crosscam train demo``), an extraction, searches of a gallery, a slice of the tests; each in
processes of its own. Ways: as crosscam sets it (a short spin, then sleep, unless the user says otherwise), as OpenMP
does it by itself (``GOMP_SPINCOUNT`` at its default), sleeping at once, and one thread. The neighbours are two busy
loops. Two ratios count: how much longer crosscam's way takes than OpenMP's on quiet cores (at most 1.1), and how much
longer beside neighbours than on quiet cores (at most 2.5). Needs a machine where nothing else runs. Writes
``benchmarks/results/busy.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import machine

WAYS: dict[str, dict[str, str]] = {
    "crosscam": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "sleeping at once": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SETTING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "KMP_BLOCKTIME")
TARGETS = {"quiet": 1.1, "beside_neighbours": 2.5}
CROSSCAM = [sys.executable, "-m", "crosscam"]

SEARCHES = """
import sys, time
import crosscam, torch
from crosscam.gallery import open_gallery
from crosscam.system.cores import available_cores
import os
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(available_cores())
extractor = crosscam.Extractor.load(sys.argv[1])
from pathlib import Path
images = sorted(Path(sys.argv[3]).glob("*.jpg"))[: int(sys.argv[4])]
with open_gallery(sys.argv[2]) as gallery:
    extractor(images[:1])
    start = time.perf_counter()
    for image in images:
        gallery.search(extractor([image]), 10, model=gallery.model.fingerprint)
    print(time.perf_counter() - start)
"""


def environment(way: str) -> dict[str, str]:
    """What a process of that way sees."""
    return {k: v for k, v in os.environ.items() if k not in SETTING} | WAYS[way]


def run(command: list[str], way: str, place: Path) -> str:
    """Run to the end; its standard output."""
    done = subprocess.run(command, cwd=place, env=environment(way), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that want a whole core each."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def works(place: Path, *, toy: bool, tests: str) -> dict[str, Callable[[str], float]]:
    """Each work as a function of the way, giving seconds."""
    numbers = iter(range(10**6))

    def timed(command: list[str], cwd: Path = place) -> Callable[[str], float]:
        def call(way: str) -> float:
            own = [word.replace("NEW", str(next(numbers))) for word in command]
            return machine.seconds(lambda: run(own, way, cwd))

        return call

    def search(way: str) -> float:
        count = "5" if toy else "60"
        command = [sys.executable, "-c", SEARCHES, "rrid-mini", "gallery", "people/query", count]
        return float(run(command, way, place).split()[-1])

    epochs = ["--set", f"train.epochs={1 if toy else 2}", "--set", "evaluation.every=0"]
    small = ["--set", "data.height=64", "--set", "data.width=32"] if toy else []
    return {
        "train demo": timed([*CROSSCAM, "train", "demo", "--data", "people", "--out", "runNEW", *epochs, *small]),
        "extract": timed([*CROSSCAM, "extract", "rrid-mini", "people", "outNEW.npz", "--engine", "torch"]),
        "searches": search,
        f"pytest {tests}": timed([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests], machine.ROOT),
    }


def main() -> None:
    """Prepare, measure in turns, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--toy", action="store_true", help="a size that shows that the script works, and nothing else")
    parser.add_argument("--tests", default="tests/models/test_rrid.py")
    parser.add_argument("--neighbours", type=int, default=2)
    parser.add_argument("--only", default="", help="works, comma-separated; the file keeps the figures of the others")
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ids = "40" if options.toy else "80"
        run([*CROSSCAM, "data", "render", "people", "--ids", ids, "--cameras", "3", "--images", "3"], "crosscam", place)
        run([*CROSSCAM, "gallery", "create", "gallery", "rrid-mini"], "crosscam", place)
        run([*CROSSCAM, "gallery", "add", "gallery", "rrid-mini", "people"], "crosscam", place)
        print("| work | way | quiet, s | beside neighbours, s | times as long |")
        print("|---|---|---|---|---|")
        for work, call in works(place, toy=options.toy, tests=options.tests).items():
            if options.only and work not in options.only.split(","):
                continue
            call("crosscam")  # what is compiled or cached once
            seconds: dict[str, dict[str, list[float]]] = {way: {"quiet": [], "busy": []} for way in WAYS}
            for _ in range(1 if options.toy else options.rounds):
                for way in WAYS:
                    seconds[way]["quiet"].append(call(way))
                with neighbours(options.neighbours):
                    time.sleep(0.5)
                    for way in WAYS:
                        seconds[way]["busy"].append(call(way))
            found[work] = {way: {k: median(v) for k, v in times.items()} for way, times in seconds.items()}
            for way, times in found[work].items():
                ratio = times["busy"] / times["quiet"]
                print(f"| {work} | {way} | {times['quiet']:.1f} | {times['busy']:.1f} | {ratio:.2f} |", flush=True)
    rows: dict[str, Any] = {
        work: {
            **ways,
            "quiet_ratio": ways["crosscam"]["quiet"] / ways["spinning"]["quiet"],
            "busy_ratio": ways["crosscam"]["busy"] / ways["crosscam"]["quiet"],
        }
        for work, ways in found.items()
    }
    for work, row in rows.items():
        print(f"{work}: quiet {row['quiet_ratio']:.2f} of spinning, beside neighbours {row['busy_ratio']:.2f} of quiet")
    if not options.toy:
        file = machine.RESULTS / "busy.json"
        kept = json.loads(file.read_text())["works"] if options.only and file.exists() else {}
        machine.write("busy", {"works": kept | rows, "targets": TARGETS, "machine": machine.about("torch", "numpy")})


if __name__ == "__main__":
    main()
