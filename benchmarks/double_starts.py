"""Every command that writes for longer than a moment, started twice on one place: never a wrong row, never two writers.

    python benchmarks/double_starts.py [--starts 20] [--only extract,train]

The second start comes between 0 and the whole length of the first one later, in even steps. Each pair must end in one
of two ways: one is refused, with status 2 and one line that says that the place is being written (or already holds a
result); or both end with 0 and what stands there is whole. Whatever happened, the result is compared with what was made
alone: descriptors with the images under whose paths they stand, weights with the recipe beside them, galleries by
their own check and entry by entry, exports with the network. Any other end is a failure. Writes
``benchmarks/results/double_starts.json``; ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np

from crosscam import Extractor
from crosscam.gallery import open_gallery
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.checkpoint import load_recipe, load_weights_into

CROSSCAM = [sys.executable, "-m", "crosscam"]
TINY = [
    "model.backbone=basic:stem=4,planes=4.4.4.4,out=4.4.4.4,depths=1.1.1.1",
    "model.scales=2",
    "data.height=64",
    "data.width=32",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.precision=fp32",
    "evaluation.every=0",
]
REFUSED = ("is being written by", "already holds a training", "holds a training of recipe")


@dataclass(frozen=True)
class Start:
    """How one of two processes ended."""

    status: int
    last: str

    @property
    def refused(self) -> bool:
        """With status 2 and one line of ours."""
        return self.status == 2 and self.last.startswith("crosscam: ") and any(text in self.last for text in REFUSED)


def settings(*more: str) -> list[str]:
    """As options."""
    return [word for text in (*TINY, *more) for word in ("--set", text)]


def begin(command: list[str], place: Path) -> subprocess.Popen[str]:
    """Start it; what it says comes at the end."""
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> Start:
    """Wait for it."""
    said, _ = process.communicate()
    if "Traceback" in said:
        raise SystemExit(f"A traceback:\n{said[-3000:]}")
    lines = [line for line in said.strip().splitlines() if line.startswith("crosscam: ")]
    return Start(process.returncode, lines[-1] if lines else "")


class Case:
    """One command.

    Attributes:
        name: of the command.
        commands: of the two starts, given a number for a fresh place.
        check: what is wrong with what stands there, in a line; empty if nothing.
    """

    def __init__(
        self, name: str, commands: Callable[[str], tuple[list[str], list[str]]], check: Callable[[Path], str]
    ) -> None:
        self.name, self.commands, self.check = name, commands, check

    def length(self, place: Path) -> float:
        """Seconds of one start alone."""
        first, _ = self.commands("alone")
        began = time.perf_counter()
        alone = ended(begin(first, place))
        if alone.status:
            raise SystemExit(f"{self.name} alone ended with {alone.status}: {alone.last}")
        return time.perf_counter() - began

    def twice(self, place: Path, number: int, later: float) -> tuple[str, str]:
        """Both starts: what happened, and what is wrong."""
        commands = self.commands(str(number))
        first = begin(commands[0], place)
        time.sleep(later)
        second = begin(commands[1], place)
        starts = ended(first), ended(second)
        bad = [f"status {s.status}: {s.last}" for s in starts if s.status and not s.refused]
        if all(s.status for s in starts):
            bad.append("neither of the two did its work")
        fault = self.check(place / f"{self.name.split()[-1]}{number}")
        happened = "refused" if any(s.refused for s in starts) else "both whole"
        return happened, "; ".join([*bad, *([fault] if fault else [])])


def cases(place: Path) -> list[Case]:
    """All of them, and what a result is compared with."""
    images = sorted((place / "people" / "bounding_box_train").glob("*.jpg"))
    extractor = Extractor.load("rrid-mini", engine="torch")
    right = {path.name: row for path, row in zip(images, extractor(images), strict=True)}

    def extract(number: str) -> tuple[list[str], list[str]]:
        command = [*CROSSCAM, "extract", "rrid-mini", "people/bounding_box_train", f"extract{number}.npz"]
        command += ["--part-size", "16", "--engine", "torch"]
        return command, command

    def rows(path: Path) -> str:
        with np.load(path.with_suffix(".npz")) as found:
            names = [Path(p).name for p in found["paths"]]
            wrong = sum(float(right[n] @ row) < 0.9999 for n, row in zip(names, found["descriptors"], strict=True))
        left = list(place.glob(f"{path.name}.npz.*"))
        if names != [p.name for p in images] or wrong or left:
            return f"{len(names)} of {len(images)} rows, {wrong} under another image's path, left over: {left}"
        return ""

    def train(number: str) -> tuple[list[str], list[str]]:
        begun = [*CROSSCAM, "train", "demo", "--data", "people", "--out", f"train{number}"]
        return [*begun, *settings("train.epochs=2", "model.dim=8")], [
            *begun,
            *settings("train.epochs=1", "model.dim=4"),
        ]

    def run_folder(path: Path) -> str:
        recipe = load_recipe(path)
        load_weights_into(build_model(recipe, 0, pretrained=False), path, recipe, leave_out="_classifiers.")
        lines = (path / "metrics.jsonl").read_text().splitlines()
        epochs = [json.loads(line)["epoch"] for line in lines]
        if epochs != list(range(1, recipe.train.epochs + 1)):
            return f"{path.name} of {recipe.train.epochs} epochs has {epochs}"
        left = [p.name for p in path.iterdir() if p.name.endswith((".tmp", ".lock"))]
        return f"left over: {left}" if left else ""

    def reproduce(number: str) -> tuple[list[str], list[str]]:
        command = [
            *CROSSCAM,
            "reproduce",
            "table3",
            "--data",
            "people",
            "--out",
            f"reproduce{number}",
            "--scale",
            "small",
        ]
        command += ["--epochs", "1"]
        for text in ("data.height=96", "data.width=32", "data.batch_ids=4", "data.batch_images=2"):
            command += ["--recipe-override", text]
        return command, command

    def study(path: Path) -> str:
        faults = [run_folder(path / row / "seed0") for row in ("gmp", "rm-gmp")]
        table = (path / "tables" / "table3.md").is_file()
        return "; ".join(f for f in faults if f and "lock" not in f) or ("" if table else "no table")

    def add(number: str) -> tuple[list[str], list[str]]:
        done = ended(begin([*CROSSCAM, "gallery", "create", f"add{number}", "rrid-mini"], place))
        if done.status:
            raise SystemExit(done.last)
        command = [*CROSSCAM, "gallery", "add", f"add{number}", "rrid-mini", "people", "--subset", "train"]
        return command, command

    def gallery(path: Path) -> str:
        with open_gallery(str(path)) as found:
            problems, entries = found.verify().problems, found.entries()
            names = sorted(Path(e.path).name for e in entries)
            rows = found.descriptors([e.id for e in entries])
        wrong = sum(float(right[Path(e.path).name] @ row) < 0.9999 for e, row in zip(entries, rows, strict=True))
        if problems or names != sorted(right) or wrong:
            return f"{len(names)} of {len(right)} entries, {wrong} wrong, {problems}"
        return ""

    def export(number: str) -> tuple[list[str], list[str]]:
        command = [*CROSSCAM, "export", "rrid-mini", "--out", f"export{number}.onnx"]
        return command, command

    def exported(path: Path) -> str:
        file = Extractor.load(path.with_suffix(".onnx"))
        apart = float(np.abs(file(images[:8]) - np.stack([right[p.name] for p in images[:8]])).max())
        left = [p.name for p in place.iterdir() if p.name.startswith(path.name) and p.suffix != ".onnx"]
        return f"{apart:.1e} from the network, left over: {left}" if apart > 1e-3 or left else ""

    return [
        Case("extract", extract, rows),
        Case("train", train, run_folder),
        Case("reproduce", reproduce, study),
        Case("gallery add", add, gallery),
        Case("export", export, exported),
    ]


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--only", default="", help="commands, by commas")
    parser.add_argument("--ids", default="12")
    options = parser.parse_args()
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    found, wrong = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        drawn = [*CROSSCAM, "data", "render", "people", "--ids", options.ids, "--cameras", "3", "--images", "3"]
        ended(begin(drawn, place))
        print("| command | double starts | second refused | both whole | wrong |")
        print("|---|---|---|---|---|")
        for case in cases(place):
            if chosen and case.name not in chosen:
                continue
            length = case.length(place)
            counts = {"refused": 0, "both whole": 0}
            faults = []
            for number in range(options.starts):
                happened, fault = case.twice(place, number, length * number / options.starts)
                counts[happened] += 1
                if fault:
                    faults.append(f"start {number}: {fault}")
                    print(f"{case.name}: {faults[-1]}", file=sys.stderr)
            wrong += len(faults)
            found[case.name] = {"starts": options.starts, **counts, "wrong": faults, "seconds_alone": length}
            row = (case.name, options.starts, counts["refused"], counts["both whole"], len(faults))
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    if not chosen:
        machine.write("double_starts", {"commands": found, "machine": machine.about("torch", "filelock")})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
