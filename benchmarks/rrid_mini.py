"""What the networks that come with the package are worth: scores, size, speed.

    python benchmarks/rrid_mini.py data/VIPeR [more datasets] [--again RUN ...] [--peers FOLDER] [--timed FILE ...]
        [--note TEXT]

Every dataset is scored on its query and gallery; VIPeR on all 632 people, camera A against camera B, and once more on
every second of them, the half that no recipe was tuned by. With ``--peers`` the folder of OpenVINO's
person-reidentification-retail networks, each as ``NAME/NAME.xml``, is scored on the same images, and with ``--again``
run folders of the same recipe and other seeds. Without ``--peers`` the rows of these networks stay as an earlier call
measured them, where the images are the same. Intervals are 95 %, by bootstrap over the tested identities. Speed, and
scores by every engine, are of the last dataset's images; int8 is calibrated on those of the one before it. The other
networks of the package are timed beside, and ``--timed`` files with a ``network.json``, by the engine of each. Writes
``benchmarks/results/rrid_mini.json``, or ``--out FILE`` for another ``--model``; each call adds to its ``looks``: how
often an exam was looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.data.datasets.readers import read_dataset, recognize
from crosscam.data.images import decode_image
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import EngineError
from crosscam.experiments.scoring import TestImages, ranking_labels
from crosscam.inference.engines.openvino_engine import openvino_core
from crosscam.inference.extractor import Extractor
from crosscam.metrics.intervals import mean_interval
from crosscam.metrics.ranking import RankingResult, evaluate_descriptors
from crosscam.recipes.checkpoint import WEIGHTS
from crosscam.shipped import run_folder
from crosscam.training.provenance import versions

RESULT = Path(__file__).parent / "results" / "rrid_mini.json"
ENGINES = ("torch", "openvino", "openvino-int8")
SPEED_IMAGES = 128
OURS = ("rrid-mini", "rrid-mini-128", "rrid-mini-fast", "rrid-nano")
PEERS = "person-reidentification"
Row = dict[str, Any]


def read_exams(path: Path) -> list[ReidDataset]:
    """All people of VIPeR, and every second of them; any other dataset as it is."""
    found = recognize(path)
    if not found or found[0] != "viper":
        return [read_dataset(path)]
    everyone = read_dataset(path, protocol="all")
    half = set(sorted({s.pid for s in everyone.query})[1::2])
    query, gallery = (tuple(s for s in samples if s.pid in half) for samples in (everyone.query, everyone.gallery))
    return [everyone, replace(everyone, name="viper-second-half", query=query, gallery=gallery)]


def scores(name: str, dataset: ReidDataset, result: RankingResult) -> Row:
    """Scores with the intervals of the first two."""
    pids = np.array([s.pid for s in dataset.query])
    first = result.first_match
    hit = np.where(first > 0, first == 1, np.nan)
    rank1, mean_ap = mean_interval(hit[None], pids), mean_interval(result.average_precision[None], pids)
    return {
        "model": name,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "queries": len(dataset.query),
        "gallery": len(dataset.gallery),
        "rank1": result.rank1,
        "rank1_interval": [rank1.low, rank1.high],
        "mAP": result.mAP,
        "mAP_interval": [mean_ap.low, mean_ap.high],
        "rank5": result.rank5,
        "rank10": result.rank10,
    }


def own_scores(name: str, extractor: Extractor, again: Sequence[Path], dataset: ReidDataset) -> list[Row]:
    """The network, runs of the same recipe, the smallest network, and raw pixels."""
    found = [(name, described(extractor, dataset))]
    found += [(f"{name}, {run.name}", described(Extractor.load(run, engine="openvino"), dataset)) for run in again]
    found.append((OURS[-1], described(Extractor.load(OURS[-1], engine="openvino"), dataset)))
    rows = [scores(each, dataset, result) for each, result in found]
    pixels = TestImages(dataset, extractor.recipe).score_pixels_together()
    return [*rows, scores("raw pixels", dataset, pixels.result)]


def described(extractor: Extractor, dataset: ReidDataset) -> RankingResult:
    """The ranking of a dataset's query and gallery by one network."""
    query, gallery = (extractor([s.path for s in samples]) for samples in (dataset.query, dataset.gallery))
    return evaluate_descriptors(query, gallery, *ranking_labels(dataset))


def peer_scores(folder: Path, dataset: ReidDataset) -> list[Row]:
    """OpenVINO's networks: 256 x 128, BGR, 0 to 255."""
    rows = []
    for xml in sorted(folder.glob("*/*.xml")):
        network = openvino_core().compile_model(xml, "CPU")

        def describe(samples: Sequence[Sample], network: Any = network) -> NDArray[np.float32]:
            descriptors = [network(to_peer(decode_image(s.path)))[0].reshape(-1) for s in samples]
            found = np.stack(descriptors).astype(np.float32)
            return found / np.linalg.norm(found, axis=1, keepdims=True)

        found = describe(dataset.query), describe(dataset.gallery)
        rows.append(scores(xml.stem, dataset, evaluate_descriptors(*found, *ranking_labels(dataset))))
    return rows


def kept_peers(results: Path, dataset: ReidDataset) -> list[Row]:
    """What an earlier call measured of them on the same images."""
    rows = json.loads(results.read_text())["scores"] if results.is_file() else []
    mark = dataset.fingerprint()
    return [r for r in rows if r["fingerprint"] == mark and r["model"].startswith(PEERS) and "," not in r["model"]]


def to_peer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) RGB -> (1, 3, 256, 128) BGR."""
    from PIL import Image

    resized = np.asarray(Image.fromarray(pixels).resize((128, 256), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32)


def opened(source: Path, images: Sequence[Path]) -> dict[str, Extractor]:
    """The network by every engine that gives what it gives here; int8 takes its ranges from the images."""
    found = {}
    for name in ENGINES:
        extractor = Extractor.load(source, engine=name, int8_images=list(images))
        try:
            extractor(images[:1])
            found[name] = extractor
        except EngineError as error:
            print(f"{name} is left out: {error}")
    return found


def images_per_second(engines: Mapping[str, Extractor], images: Sequence[Path]) -> dict[str, float]:
    """From decoded images to descriptors, as each network makes them; median of three rounds, engines in turn."""
    some = [images[i % len(images)] for i in range(SPEED_IMAGES)]
    pixels = next(iter(engines.values())).decoded(some)
    batches = [pixels[i : i + 32] for i in range(0, len(pixels), 32)]
    times: dict[str, list[float]] = {name: [] for name in engines}
    for extractor in engines.values():
        extractor.pixels(batches[0])
    for _ in range(3):
        for name, extractor in engines.items():
            start = time.perf_counter()
            for batch in batches:
                extractor.pixels(batch)
            times[name].append(len(pixels) / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def scores_by_engine(engines: Mapping[str, Extractor], dataset: ReidDataset) -> dict[str, Row]:
    """What each engine's descriptors score on the same images."""
    found = {}
    for name, extractor in engines.items():
        found[name] = scores(name, dataset, described(extractor, dataset))
    return found


def main() -> None:
    """Score, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--model", type=Path, default=Path("rrid-mini"))
    parser.add_argument("--again", type=Path, nargs="+", default=[])
    parser.add_argument("--timed", type=Path, nargs="+", default=[])
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    extractor = Extractor.load(options.model, engine="openvino")
    name = str(options.model) if str(options.model) in OURS else OURS[0]
    rows: list[Row] = []
    datasets = [dataset for path in options.data for dataset in read_exams(path)]
    for dataset in datasets:
        rows += own_scores(name, extractor, options.again, dataset)
        rows += peer_scores(options.peers, dataset) if options.peers else kept_peers(options.out, dataset)
    images = [s.path for s in datasets[-1].gallery]
    engines = opened(options.model, [s.path for s in datasets[-2 if len(datasets) > 1 else -1].gallery][:128])
    speed = images_per_second(engines, images)
    others = {each: images_per_second(opened(Path(each), images), images) for each in OURS if each != name}
    files = {file.stem: Extractor.load(file, flip=False) for file in options.timed}
    others |= {each: images_per_second({"file": opened_file}, images) for each, opened_file in files.items()}
    by_engine = scores_by_engine(engines, datasets[-1])
    looks = json.loads(options.out.read_text())["looks"] if options.out.is_file() else []
    looks.append({"time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), "model": extractor.fingerprint,
                  "data": [d.name for d in datasets], "note": options.note,
                  "rank1": [row["rank1"] for row in rows if row["model"] == name]})  # fmt: skip
    found = {
        "model": extractor.fingerprint,
        "megabytes": (run_folder(options.model) / WEIGHTS).stat().st_size / 1e6,
        "dim": extractor.dim,
        "parameters": sum(p.numel() for p in extractor.model.parameters()),
        "input": [extractor.recipe.data.height, extractor.recipe.data.width],
        "mirrored": extractor.flip,
        "images_per_second": speed,
        "images_per_second_beside": others,
        "input_beside": {each: [f.recipe.data.height, f.recipe.data.width] for each, f in files.items()},
        "scores_by_engine": by_engine,
        "scores": rows,
        "looks": looks,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        **versions(),
    }
    for row in rows:
        low, high = row["rank1_interval"]
        print(
            f"{row['data']:24} {row['model']:40} rank-1 {100 * row['rank1']:5.1f} [{100 * low:.1f}, {100 * high:.1f}] "
            f"mAP {100 * row['mAP']:5.1f}"
        )
    print(f"{found['megabytes']:.2f} MB, {found['dim']} numbers, {found['parameters']:,} parameters")
    for engine, value in speed.items():
        row = by_engine[engine]
        print(
            f"{engine} {value:.0f} images/s; {row['data']} rank-1 {100 * row['rank1']:.1f} mAP {100 * row['mAP']:.1f}"
        )
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
