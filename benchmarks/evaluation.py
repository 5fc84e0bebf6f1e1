"""How long scoring a Market-1501-sized ranking takes, beside torchreid's compiled evaluation on the same matrix.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --labels market1501_test_labels.npz --torchreid ../deep-person-reid

Prints a table and writes benchmarks/results/evaluation.json. ``--torchreid`` is a clone of KaiyangZhou/deep-person-reid
(a bare one will do); its ``rank_cy.pyx`` is compiled with Cython in build/torchreid, in an environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import math
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crosscam.metrics.ranking import evaluate_descriptors, evaluate_ranking
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.reranking import rerank

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "torchreid"
RESULT = ROOT / "benchmarks" / "results" / "evaluation.json"
PYX = "torchreid/metrics/rank_cylib/rank_cy.pyx"

Labels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def market_sized_labels() -> Labels:
    """Made-up pids and camids with the counts of Market-1501's test set: junk, distractors and 750 identities."""
    rng = np.random.default_rng(0)
    identities = np.concatenate([np.arange(1, 751), rng.integers(1, 751, 13_115 - 750)])
    gallery_pids = np.sort(np.concatenate([np.full(3_819, -1), np.zeros(2_798, dtype=int), identities]))
    query_pids = np.sort(np.concatenate([np.arange(1, 751), rng.integers(1, 751, 3_368 - 750)]))
    return query_pids, gallery_pids, rng.integers(1, 7, 3_368), rng.integers(1, 7, 19_732)


def read_labels(path: Path | None) -> Labels:
    if path is None:
        return market_sized_labels()
    with np.load(path, allow_pickle=False) as arrays:
        keys = ("query_pid", "gallery_pid", "query_camid", "gallery_camid")
        query_pids, gallery_pids, query_camids, gallery_camids = (arrays[key].astype(np.int64) for key in keys)
    return query_pids, gallery_pids, query_camids, gallery_camids


def clustered_descriptors(labels: Labels, size: int = 64, noise: float = 1.25) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors that cluster by identity about as well as those of a trained network."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(max(labels[0].max(), labels[1].max()) + 1, size))

    def draw(pids: np.ndarray) -> np.ndarray:
        centre = np.where((pids > 0)[:, None], centres[np.maximum(pids, 0)], rng.normal(size=(len(pids), size)))
        x = centre + noise * rng.normal(size=(len(pids), size))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    return draw(labels[0]), draw(labels[1])


def trained_noise(size: int) -> float:
    """Noise with which such descriptors rank about as well, whatever their length."""
    # A person's cosine, 1 / (1 + noise^2), then stands 3.4 deviations of a stranger's, 1 / sqrt(size), from zero.
    return math.sqrt(max(0.1, math.sqrt(size) / 3.4 - 1))


def milliseconds(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Of the clock, and of the processor: the latter counts all threads and leaves out what else the machine does."""
    times, processor = [], []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        call()
        times.append(1e3 * (time.perf_counter() - start))
        processor.append(1e3 * (time.process_time() - start_processor))
    return {
        "median": statistics.median(times),
        "least": min(times),
        "most": max(times),
        "processor": statistics.median(processor),
        "runs": repeats,
    }


def torchreid_evaluation(source: Path) -> Callable[..., Any]:
    """Compile torchreid's ``evaluate_cy`` out of a clone, or reuse what was compiled, and load it."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    library = BUILD / f"rank_cy{suffix}"
    if not library.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        checked_out = source / PYX
        if checked_out.exists():
            text = checked_out.read_bytes()
        else:
            show = subprocess.run(["git", "-C", str(source), "show", f"HEAD:{PYX}"], capture_output=True)
            if show.returncode:
                sys.exit(f"No {PYX} in {source}. Expected a clone of github.com/KaiyangZhou/deep-person-reid.")
            text = show.stdout
        (BUILD / "rank_cy.pyx").write_bytes(text)
        (BUILD / "setup.py").write_text(
            "import numpy\nfrom setuptools import Extension, setup\nfrom Cython.Build import cythonize\n"
            "setup(name='rank_cy', ext_modules=cythonize(\n"
            "    [Extension('rank_cy', ['rank_cy.pyx'], include_dirs=[numpy.get_include()])], language_level=3))\n"
        )
        venv.create(BUILD / "env", with_pip=True)
        python = str(BUILD / "env" / "bin" / "python")
        packages = ["cython", "setuptools", f"numpy=={np.__version__}"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        build = [python, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(build, cwd=BUILD, check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("rank_cy", library)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{library.name} in build/torchreid cannot be loaded; delete the folder and run again.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate_cy


def measure_matrix(
    name: str, distances: np.ndarray, labels: Labels, options: argparse.Namespace, torchreid: Callable[..., Any] | None
) -> dict[str, Any]:
    """Time both on one matrix. torchreid has no junk, so for the comparison junk counts as distractors in both."""
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    repeats = options.repeats
    no_junk = (query_pids, np.maximum(gallery_pids, 0), query_camids, gallery_camids)
    evaluate_ranking(distances, *labels)  # touches the matrix
    found: dict[str, Any] = {"matrix": name, "ms": milliseconds(lambda: evaluate_ranking(distances, *labels), repeats)}
    result = evaluate_ranking(distances, *labels)
    found["mAP"], found["rank1"] = result.mAP, result.rank1
    if torchreid is not None:
        same = evaluate_ranking(distances, *no_junk)
        cmc, mean_ap = torchreid(distances, *no_junk, 50)
        found["torchreid_ms"] = milliseconds(lambda: torchreid(distances, *no_junk, 50), 3)
        found["torchreid_mAP"], found["torchreid_rank1"] = float(mean_ap), float(cmc[0])
        found["difference_mAP"] = abs(same.mAP - float(mean_ap))
        found["difference_cmc"] = float(np.abs(same.cmc - cmc).max())
    return found


def show(found: dict[str, Any]) -> None:
    def line(what: str, ms: dict[str, float], note: str = "") -> None:
        print(
            f"  {what:34} {ms['median']:10.1f} {ms['least']:10.1f} {ms['most']:10.1f} {ms['processor']:10.1f}   {note}"
        )

    print(f"\n{found['matrix']}: mAP {100 * found['mAP']:.2f} %, rank-1 {100 * found['rank1']:.2f} %")
    print(f"  {'milliseconds':34} {'median':>10} {'least':>10} {'most':>10} {'processor':>10}")
    line("crosscam", found["ms"])
    if "torchreid_ms" in found:
        faster = found["torchreid_ms"]["median"] / found["ms"]["median"]
        line("torchreid, compiled", found["torchreid_ms"], f"{faster:.0f} times as long")
        print(f"  largest difference: mAP {found['difference_mAP']:.1e}, CMC {found['difference_cmc']:.1e}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, printed on the way."""
    labels = read_labels(options.labels)
    shape = (len(labels[0]), len(labels[1]))
    torchreid = torchreid_evaluation(options.torchreid) if options.torchreid else None
    query, gallery = clustered_descriptors(labels)
    report: dict[str, Any] = {
        "queries": shape[0],
        "gallery": shape[1],
        "labels": options.labels.name if options.labels else "made up",
        "threads": options.threads,
        "processor": processor_name(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "matrices": [],
    }
    print(f"{shape[0]:,} x {shape[1]:,} distances, {options.threads} threads, labels: {report['labels']}")
    torch.set_num_threads(options.threads)
    for name in ("random", "clustered"):
        rng = np.random.default_rng(2)
        distances = rng.random(shape, dtype=np.float32) if name == "random" else pairwise_distances(query, gallery)
        found = measure_matrix(name, distances, labels, options, torchreid)
        report["matrices"].append(found)
        show(found)
    report["from_descriptors_ms"] = milliseconds(lambda: evaluate_descriptors(query, gallery, *labels), 3)
    print(f"\nfrom descriptors ({query.shape[1]} numbers), in blocks: {report['from_descriptors_ms']['median']:.0f} ms")
    if options.rerank:
        start = time.perf_counter()
        distances = rerank(query, gallery)
        report["rerank_s"] = time.perf_counter() - start
        report["rerank_mAP"] = evaluate_ranking(distances, *labels).mAP
        print(f"re-ranking: {report['rerank_s']:.1f} s, mAP {100 * report['rerank_mAP']:.2f} %")
    return report


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labels", type=Path, help="npz with query_pid, query_camid, gallery_pid, gallery_camid")
    parser.add_argument("--torchreid", type=Path, help="a clone of KaiyangZhou/deep-person-reid")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rerank", action="store_true", help="time re-ranking too (half a minute)")
    report = measure(parser.parse_args())
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
