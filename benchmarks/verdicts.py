"""How often "likely the same person" is right on the page of ``crosscam demo --photos``.

    python benchmarks/verdicts.py VIPER CUHK01 [--model rrid-mini]

For folders of 60, 200 and all people of VIPeR (one image of each at two cameras; 20, 10 and one random choices) and
for CUHK01 (one and two images at either camera): pairs called likely by the product's rule, how many of them are right,
and the same for what version 0.1 showed, the 48 nearest pairs that its calibration of single distances called the same
person. The threshold of 1.2 was chosen with these tables of the network before the present one in sight. Writes
``benchmarks/results/verdicts.json``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np

import crosscam
from crosscam.calibration.calibration import Calibration
from crosscam.data.records import Sample
from crosscam.experiments.photographs import CALIBRATION, all_pairs, first_of_either
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery
from crosscam.report.pairs import STANDS_OUT, SimilarPair
from crosscam.shipped import run_folder

SHOWN_BEFORE = 48
EVERY = 10**6


def pairs_of(extractor: crosscam.Extractor, rows: Any, samples: Sequence[Sample]) -> list[SimilarPair]:
    """The pairs of these images as the page would show them."""
    identity = ModelIdentity(extractor.fingerprint, "verdicts")
    with (
        tempfile.TemporaryDirectory() as place,
        create_gallery(Path(place) / "g", extractor.layout, identity) as gallery,
    ):
        gallery.add(rows, [NewEntry(str(s.path), s.camid, s.pid) for s in samples], model=identity.fingerprint)
        return first_of_either(all_pairs(gallery), EVERY)


def right(pairs: Sequence[SimilarPair]) -> int:
    """Pairs of one person."""
    return sum(pair.first.pid == pair.second.pid for pair in pairs)


def row(name: str, folders: Sequence[list[SimilarPair]], calibration: Calibration | None) -> dict[str, Any]:
    """Counts over all folders of one kind."""
    likely = [pair for pairs in folders for pair in pairs if pair.stands_out]
    before = []
    for pairs in folders:
        nearest = sorted(pairs, key=lambda pair: pair.distance)[:SHOWN_BEFORE]
        before += [p for p in nearest if calibration is not None and calibration.verdict(p.distance) == "same"]
    found = {
        "folder": name,
        "folders": len(folders),
        "pairs": sum(map(len, folders)),
        "likely": len(likely),
        "likely_right": right(likely),
        "before": len(before),
        "before_right": right(before),
    }
    print(
        f"| {name} | {found['pairs'] / len(folders):.0f} | {len(likely) / len(folders):.1f} | {percent(likely)} | "
        f"{len(before) / len(folders):.1f} | {percent(before)} |",
        flush=True,
    )
    return found


def percent(pairs: Sequence[SimilarPair]) -> str:
    """The share that is right."""
    return f"{100 * right(pairs) / len(pairs):.0f} %" if pairs else "-"


def main() -> None:
    """Describe, pair, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("viper", type=Path)
    parser.add_argument("cuhk01", type=Path)
    parser.add_argument("--model", default="rrid-mini")
    options = parser.parse_args()
    extractor = crosscam.Extractor.load(options.model)
    kept = run_folder(Path(options.model)) / CALIBRATION
    calibration = Calibration.from_json(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    viper = crosscam.read_dataset(options.viper, protocol="all")
    samples = (*viper.query, *viper.gallery)
    rows = extractor([s.path for s in samples])
    people = sorted({s.pid for s in samples})
    print("| folder | pairs | likely | right | before: same | right |")
    print("|---|---|---|---|---|---|")

    def folder(chosen: Sequence[int]) -> list[SimilarPair]:
        among = np.flatnonzero(np.isin([s.pid for s in samples], chosen))
        return pairs_of(extractor, rows[among], [samples[i] for i in among])

    random = np.random.default_rng(1)
    found = []
    for size, times in ((60, 20), (200, 10)):
        folders = [folder(random.permutation(people)[:size].tolist()) for _ in range(times)]
        found.append(row(f"VIPeR, {size} people", folders, calibration))
    found.append(row(f"VIPeR, {len(people)} people", [folder(people)], calibration))
    campus = crosscam.read_dataset(options.cuhk01)
    everyone = [s for part in campus.subsets.values() for s in part]
    every_row = extractor([s.path for s in everyone])
    for images in (1, 2):
        taken = [i for i, s in enumerate(everyone) if (int(s.path.stem[-1]) - 1) % 2 < images]
        pairs = pairs_of(extractor, every_row[taken], [everyone[i] for i in taken])
        found.append(row(f"CUHK01, {images} at either camera", [pairs], calibration))
    machine.write(
        "verdicts",
        {"model": extractor.fingerprint, "stands_out": STANDS_OUT, "rows": found, **machine.about("torch", "openvino")},
    )


if __name__ == "__main__":
    main()
