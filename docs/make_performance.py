"""Writes the tables of docs/performance.md from benchmarks/results/*.json: ``python docs/make_performance.py``.

A table stands between ``<!-- name -->`` and ``<!-- /name -->``; its function is in TABLES under that name.
tests/test_performance_docs.py fails where the page and the results differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("performance.md")
RESULTS = PAGE.parents[1] / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def read(name: str) -> Any:
    """What benchmarks/NAME.py wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def measured_on(machine: dict[str, Any], threads: int) -> str:
    """One line under a table."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{threads} threads of {machine['cores']} cores, {machine['processor']}; {versions}; commit {machine['commit']}"
    )


def ranking() -> str:
    """Distances to scores, beside torchreid."""
    rows = []
    for found in read("evaluation")["matrices"]:
        row = [found["matrix"], f"{found['ms']['median']:.0f}", f"{found['ms_one_thread']['median']:.0f}"]
        row.append(f"{found['ms_numpy']['median']:.0f}")
        if "torchreid_ms" in found:
            times = found["torchreid_ms"]["median"] / found["ms_junk_as_distractors"]["median"]
            row += [f"{found['torchreid_ms']['median']:,.0f}", f"{times:.0f}", f"{found['difference_mAP']:.0e}"]
        else:
            row += ["not run", "", ""]
        rows.append(row)
    head = (
        "distances",
        "ms",
        "one thread",
        "without numba",
        "torchreid, compiled",
        "times as long",
        "difference in mAP",
    )
    return table(head, rows)


def descriptors_to_scores() -> str:
    """The whole evaluation beside the bare product."""
    row = read("descriptors_to_scores")
    head = (
        "descriptors to scores, s",
        "`torch.mm` alone, s",
        "ratio",
        "the faster product alone, s",
        "ratio",
        "target",
    )
    cells = (f"{row['whole_seconds']:.2f}", f"{row['product_seconds']:.2f}", f"{row['ratio']:.2f}")
    best = (f"{row['best_product_seconds']:.2f}", f"{row['ratio_to_best']:.2f}", f"{row['target']}")
    text = table(head, [(*cells, *best)])
    if "largest_difference_to_whole_matrix" in row:
        apart = row["largest_difference_to_whole_matrix"]
        text += (
            f"\n\nLargest difference of a query's average precision to that of the whole distance matrix: {apart:.0e}."
        )
        text += f" {measured_on(row['machine'], row['threads'])}."
    return text


def large_gallery() -> str:
    """Seconds and memory with 500,000 distractors."""
    found = read("large_gallery")
    names = {"mapped": "float32, memory-mapped file", "half": "float16 in memory"}
    head = ("queries x gallery", "numbers", "descriptors", "peak memory, GB", "target", "seconds")
    rows = [
        (
            f"{row['queries']:,} x {row['gallery']:,}",
            f"{row['dim']:,}",
            f"{names[row['kind']]}, {row['descriptors_gb']} GB",
            f"{row['peak_gb']:.2f}",
            f"{found['target_gb']:.0f}",
            f"{row['seconds']:.1f}",
        )
        for row in found["rows"]
    ]
    return table(head, rows) + "\n\n" + measured_on(found["machine"], found["threads"])


def reranking() -> str:
    """k-reciprocal re-ranking beside dense implementations."""
    names = {"crosscam": "crosscam", "dense": "dense, as commonly written", "torchreid": "torchreid's own code"}
    head = ("queries x gallery", "", "seconds", "times", "processor, s", "times", "peak, GB", "times", "difference")
    rows, notes = [], []
    for found in read("reranking")["rows"]:
        for which, name in names.items():
            if which not in found:
                continue
            told = found[which]
            keys = ("times_as_long", "times_the_processor", "times_the_memory")
            more = [f"{told[key]:.1f}" if key in told else "" for key in keys]
            difference = ""
            if "difference" in told:
                far = told["pairs_farther_than_1e-5"]
                difference = f"{told['difference']:.0e}" + (f" ({far} pairs above 1e-5)" if far else "")
            size = f"{found['queries']:,} x {found['gallery']:,}"
            took, busy, peak = (
                f"{told[k]:.{d}f}" for k, d in (("seconds", 1), ("processor_seconds", 1), ("peak_gb", 2))
            )
            rows.append((size, name, took, more[0], busy, more[1], peak, more[2], difference))
        notes.append(f"{found['queries']:,} x {found['gallery']:,}: {measured_on(found['machine'], found['threads'])}.")
    return table(head, rows) + "\n\n" + "\n".join(notes)


def compression() -> str:
    """What each codec keeps of the scores."""
    found = read("growth")
    head = (
        "kept as",
        "bytes an image",
        "mAP, %",
        "rank-1, %",
        "same nearest",
        "same ten",
        "same ten of 100 ranked again",
    )
    rows = [
        (
            name,
            f"{row['bytes_each']:,}",
            f"{100 * row['mAP']:.1f}",
            f"{100 * row['rank1']:.1f}",
            f"{row['recall_at_1']:.3f}",
            f"{row['recall_at_10']:.3f}",
            f"{row['recall_at_10_of_100_ranked_again']:.3f}",
        )
        for name, row in found["codecs"].items()
    ]
    about = (
        f"Descriptors: {found['descriptors']}, {found['dim']:,} numbers; fitted on {found['fitted_on']:,} training "
        f"images, scored with {found['test_queries']:,} queries in {found['test_gallery']:,} images of other people."
    )
    return table(head, rows) + "\n\n" + about


def growth() -> str:
    """Searches by gallery size, with the formula and what it gives beyond."""
    found = read("growth")
    sizes = sorted({int(s["images"]) for row in found["codecs"].values() for s in row["speed"]})
    fit = ("a, ms", "b, ms per million", "largest error of the formula", "10 M images, **extrapolated**")
    rows = []
    for name, row in found["codecs"].items():
        times = {int(s["images"]): s["seconds_per_query"] for s in row["speed"]}
        ran = [f"{1 / times[size]:,.0f}" if size in times else "" for size in sizes]
        f = row["fit"]
        formula = (f"{1e3 * f['a']:.2f}", f"{1e9 * f['b']:.1f}", f"{100 * f['largest_relative_error']:.0f} %")
        rows.append((name, *ran, *formula, f"{1 / f['extrapolated_10M']:.2f}"))
    head = ("queries a second", *(f"{size:,}" for size in sizes), *fit)
    return table(head, rows) + "\n\n" + measured_on(found["machine"], found["threads"])


def city_describing() -> str:
    """Hours of describing a day's crops."""
    found = read("growth")["city"]
    head = ("network", "engine", "images a second, measured", "machine-hours", "machines for one day")
    rows = [
        (
            row["network"].replace(", random weights", ""),
            row["engine"],
            f"{row['images_per_second']:.0f}",
            f"{row['machine_hours']:,.0f}",
            f"{row['machines_for_a_day']:,}",
        )
        for row in found["describing"]
    ]
    return table(head, rows)


def city_keeping() -> str:
    """Bytes and machines for a day's crops."""
    found = read("growth")["city"]
    head = ("kept as", "GB", f"machines of {found['machine_gb']} GB", "seconds a query, **extrapolated**")
    rows = [
        (row["codec"], f"{row['gb']:,.1f}", f"{row['machines']}", f"{row['seconds_per_query']:.2f}")
        for row in found["keeping"]
    ]
    return table(head, rows)


# The name in the page's comments, the benchmark whose results it needs, and what writes it.
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "ranking": ("evaluation", ranking),
    "descriptors-to-scores": ("descriptors_to_scores", descriptors_to_scores),
    "large-gallery": ("large_gallery", large_gallery),
    "reranking": ("reranking", reranking),
    "compression": ("growth", compression),
    "growth": ("growth", growth),
    "city-describing": ("growth", city_describing),
    "city-keeping": ("growth", city_keeping),
}


def filled(text: str) -> str:
    """The page with every table as the results of today give it."""

    def fill(block: re.Match[str]) -> str:
        needs, write = TABLES[block[2]]
        exists = (RESULTS / f"{needs}.json").exists()
        body = write() if exists else f"Not measured yet; run `python benchmarks/{needs}.py`."
        return f"{block[1]}\n{body}\n\n{block[3]}"

    return BLOCK.sub(fill, text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
