"""Writes the tables of docs/performance.md and the two pages of rrid-mini from benchmarks/results/*.json.

    python docs/make_performance.py

A table stands between ``<!-- name -->`` and ``<!-- /name -->``; its function is in TABLES under that name.
tests/test_performance_docs.py fails where the page and the results differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

PAGES = tuple(Path(__file__).with_name(name) for name in ("performance.md", "rrid-mini.md", "rrid-mini-history.md"))
RESULTS = PAGES[0].parents[1] / "benchmarks" / "results"
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
        row = [found["matrix"], f"{found['ms']['median']:.0f}"]
        if "torchreid_ms" in found:
            times = found["torchreid_ms"]["median"] / found["ms"]["median"]
            row += [f"{found['torchreid_ms']['median']:,.0f}", f"{times:.1f}", f"{found['difference_mAP']:.0e}"]
        else:
            row += ["not run", "", ""]
        rows.append(row)
    return table(("distances", "ms", "torchreid, compiled", "times as long", "difference in mAP"), rows)


def descriptors_to_scores() -> str:
    """The whole evaluation beside the bare product."""
    row = read("descriptors_to_scores")
    head = (
        "descriptors to scores, s",
        "`torch.mm` alone, s",
        "ratio",
        "a 1x1 convolution alone, s",
        "ratio",
        "target",
    )
    cells = (f"{row['whole_seconds']:.2f}", f"{row['product_seconds']:.2f}", f"{row['ratio']:.2f}")
    best = (f"{row['convolution_seconds']:.2f}", f"{row['ratio_to_convolution']:.2f}", f"{row['target']}")
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


def growth() -> str:
    """Searches by gallery size, with the formula and what it gives beyond."""
    found = read("growth")
    sizes = sorted({int(s["images"]) for row in found["rows"].values() for s in row["speed"]})
    fit = ("a, ms", "b, ms per million", "largest error of the formula", "10 M images, **extrapolated**")
    rows = []
    for name, row in found["rows"].items():
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
        (row["kept_as"], f"{row['gb']:,.1f}", f"{row['machines']}", f"{row['seconds_per_query']:.2f}")
        for row in found["keeping"]
    ]
    return table(head, rows)


def images_in() -> str:
    """From JPEG files to batches."""
    found = read("input_speed")
    head = (
        "file",
        "usual chain, images/s",
        "crosscam",
        "ratio",
        "least to most",
        "by Pillow alone",
        "ratio",
        "in memory",
    )
    rows = []
    for row in found["rows"]:
        speed, ratio, pillow = row["images_per_second"], row["ratio"], "crosscam_without_simplejpeg"
        times = f"**{ratio['crosscam']:.1f}**", f"{row['ratio_least']:.1f} to {row['ratio_most']:.1f}"
        rest = f"{speed[pillow]:,}", f"{ratio[pillow]:.1f}", f"{speed['crosscam_from_memory']:,}"
        rows.append((row["file_size"], f"{speed['torchvision']:,}", f"{speed['crosscam']:,}", *times, *rest))
    height, width = found["size"]
    note = f"To {height} x {width}, batches of {found['batch']}, aim {found['target']}; usual: {found['usual_chain']}."
    return table(head, rows) + f"\n\n{note} {short_machine(found)}"


def training_step() -> str:
    """A step against the plain eager loop."""
    found = read("training_speed")
    head = ("network", "batch", "plain loop, images/s", "crosscam", "ratio", "least to most", "losses differ by")
    rows = [
        (
            f"{row['name']}, {row['precision']}",
            f"{row['batch']}",
            f"{row['plain_images_per_second']:.1f}",
            f"{row['crosscam_images_per_second']:.1f}",
            f"**{row['ratio']:.2f}**",
            f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f}",
            f"{row['loss_difference']:.0e}",
        )
        for row in found["rows"]
    ]
    return table(head, rows) + f"\n\n{found['device']}, {short_machine(found)}"


def latency() -> str:
    """One frame's boxes."""
    found = read("latency")
    head = ("boxes", "engine", "p50, ms", "p99, ms", "calls", "times as fast", "least cosine")
    parts = []
    for title, rows in found["networks"].items():
        cells = [
            (
                f"{row['boxes']}",
                row["engine"],
                f"{row['p50_ms']:.1f}",
                "" if row["p99_ms"] is None else f"{row['p99_ms']:.1f}",
                f"{row['calls']}",
                f"{row['ratio']:.2f}",
                "" if row["cosine_min"] is None else f"{row['cosine_min']:.4f}",
            )
            for row in rows
        ]
        parts.append(f"{title}:\n\n{table(head, cells)}")
    return "\n\n".join(parts) + f"\n\n{short_machine(found)}"


def several() -> str:
    """Two processes beside one."""
    found = read("distributed")
    steps = len(next(iter(found["losses"]["small"].values())))
    head = ("", "images/s", "ratio", f"losses of {steps} steps differ by, small rates", "the paper's rates")
    rows = [
        (
            row["name"],
            f"{row['images_per_second']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['loss_small']:.1e}",
            f"{row['loss_paper']:.1e}",
        )
        for row in found["rows"]
    ]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return table(head, rows) + f"\n\n{found['processes']} processes, {found['cores']} cores; {versions}"


def short_machine(found: dict[str, Any]) -> str:
    """One line for results that tell their machine in a few words."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    threads = f"{found['threads']} thread" + "s" * (found["threads"] > 1)
    return f"{threads}, {found['machine']}; {versions}; commit {found['commit']}"


def mini_size() -> str:
    """What the shipped networks that stand on OpenVINO's take, timed in one call."""
    found = read("rrid_mini_fast")
    speeds = {"rrid-mini-fast": found["images_per_second"], **found["images_per_second_beside"]}
    rows = []
    for name in ("rrid-mini", "rrid-mini-128", "rrid-mini-fast"):
        result = read(name.replace("-", "_"))
        height, width = result["input"]
        size = f"{result['megabytes']:.2f} MB", f"{result['parameters']:,}", f"{result['dim']}", f"{height} x {width}"
        mirrored = "yes" if result.get("mirrored", True) else "no"
        rows.append((name, *size, mirrored, *(f"{speeds[name][engine]:.0f}" for engine in ("torch", "openvino"))))
    for name, (height, width) in found["input_beside"].items():
        rows.append((name, "", "", "", f"{height} x {width}", "no", "", f"{speeds[name]['file']:.0f}"))
    head = ("network", "weights", "parameters", "descriptor", "input", "mirror pass", "images/s, torch", "OpenVINO")
    note = f"{found['threads']} threads of {found['cores']} cores, {found['machine']}."
    return f"{table(head, rows)}\n\n{note}"


def mini_scores() -> str:
    """Its scores, beside others on the same images."""
    head = ("data", "network", "rank-1, %", "interval", "mAP, %", "interval", "rank-5", "rank-10")
    rows = []
    for row in shipped_scores():
        scores = []
        for name in ("rank1", "mAP"):
            low, high = row[f"{name}_interval"]
            scores += [f"{100 * row[name]:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]"]
        more = f"{100 * row['rank5']:.1f}", f"{100 * row['rank10']:.1f}"
        rows.append((f"{row['data']}, {row['queries']:,} queries", row["model"], *scores, *more))
    return table(head, rows)


def shipped_scores() -> list[dict[str, Any]]:
    """Rows of the shipped networks and of others, each once."""
    rows = [row for name in ("rrid_mini", "rrid_mini_128", "rrid_mini_fast") for row in read(name)["scores"]]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((row["data"], row["model"]), row)
    order = list(dict.fromkeys(row["data"] for row in rows))
    return sorted(found.values(), key=lambda row: order.index(row["data"]))


SHORT_NAMES = {
    "rrid-mini": "rrid-mini",
    "rrid-mini-128": "rrid-mini-128",
    "rrid-mini-fast": "rrid-mini-fast",
    "rrid-nano": "rrid-nano",
    "raw pixels": "raw pixels",
    "person-reidentification-retail-0277": "0277",
}


def mini_short() -> str:
    """What the card shows: rank-1 and mAP of the shipped networks, of raw pixels and of OpenVINO's best one."""
    found = shipped_scores()
    scores = {(row["data"], row["model"]): f"{100 * row['rank1']:.1f} / {100 * row['mAP']:.1f}" for row in found}
    data = [each for each in dict.fromkeys(row["data"] for row in found) if each != "viper-second-half"]
    rows = [(each, *(scores[each, model] for model in SHORT_NAMES)) for each in data]
    return table(("rank-1 / mAP, %", *SHORT_NAMES.values()), rows)


def networks() -> str:
    """Networks of any origin on one test."""
    head = ("test", "network", "mirror pass", "rank-1, %", "interval", "mAP, %", "interval")
    rows = []
    for row in sorted(read("networks"), key=lambda row: (row["data"], -row["mAP"])):
        scores = []
        for name in ("rank1", "mAP"):
            low, high = row[f"{name}_interval"]
            scores += [f"{100 * row[name]:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]"]
        rows.append((row["data"], row["model"], "yes" if row["mirrored"] else "no", *scores))
    return table(head, rows)


def fit_steps() -> str:
    """What each step of the fit brought, on what it left out."""
    found = read("fit_steps")
    rows = [
        (name, f"{row['numbers']:,}", f"{100 * row['rank1']:.1f}", f"{100 * row['mAP']:.1f}")
        for name, row in found["rows"].items()
    ]
    return table((f"{found['exam']}, {found['people']:,} people", "numbers", "rank-1, %", "mAP, %"), rows)


def mini_steps() -> str:
    """What each step of its recipe brought."""
    head = ("training", "settings", "numbers", "mAP / rank-1, %", "blocks whitened", "whitened to at most 512")
    rows = []
    for step, row in read("mini_steps")["rows"].items():
        cells = [f"{100 * row[k]['mAP']:.1f} / {100 * row[k]['rank1']:.1f}" for k in ("plain", "whitened", "short")]
        settings = ", ".join(f"`{s}`" for s in row["settings"])
        rows.append((step, settings, f"{row['plain']['numbers']:,}", *cells))
    return table(head, rows)


TRAININGS = (
    ("rrid_mini_first", "first"),
    ("rrid_mini_strong", "second: wide, strong colours"),
    ("rrid_mini_whitened", "third, blocks whitened"),
    ("rrid_mini_third", "third, rrid-nano in the package"),
    ("rrid_mini_fourth", "fourth: ImageNet and a teacher, ten passes"),
    ("rrid_mini", "a head fitted to 0277, rrid-mini in the package"),
    ("rrid_mini_128_first", "the same at 128 x 64, distilled, 82,240 images"),
    ("rrid_mini_128", "279,616 images, rrid-mini-128 in the package"),
    ("rrid_mini_fast", "the body of 0287 at 256 x 80, distilled, rrid-mini-fast in the package"),
)


def mini_trainings() -> str:
    """Whole trainings for it, seed by seed."""
    data = ("viper-all", "viper-second-half", "market1501", "cuhk01", "cuhk03")
    rows = []
    for name, title in TRAININGS:
        scores = {(row["model"], row["data"]): row for row in read(name)["scores"]}
        others = (each for each in ("rrid-mini-128", "rrid-mini-fast") if name.startswith(each.replace("-", "_")))
        network = next(others, "rrid-mini")
        for seed, model in enumerate((network, f"{network}, seed 1")):
            found = [scores.get((model, each)) for each in data]
            if any(found):
                cells = [f"{100 * row['rank1']:.1f} / {100 * row['mAP']:.1f}" if row else "-" for row in found]
                rows.append((title, str(seed), *cells))
    return table(("training", "seed", *(f"{each}, %" for each in data)), rows)


def mini_looks() -> str:
    """Each time that the exams were scored."""
    looks = {(look["time"], look["model"]): look for name, _ in TRAININGS for look in read(name)["looks"]}
    rows = [
        (
            look["time"],
            look["model"],
            ", ".join(look["data"]),
            ", ".join(f"{100 * r:.1f}" for r in look["rank1"]),
            look["note"],
        )
        for _, look in sorted(looks.items())
    ]
    return table(("when (UTC)", "weights", "data", "rank-1, %", "why"), rows)


def verdicts() -> str:
    """How often "likely the same person" is right."""

    def right(row: dict[str, Any], kind: str) -> str:
        return f"{100 * row[f'{kind}_right'] / row[kind]:.0f} %" if row[kind] else "-"

    head = ("folder", "pairs", "likely", "right", "before: likely", "right")
    rows = []
    for row in read("verdicts")["rows"]:
        counts = [f"{row[kind] / row['folders']:.1f}".removesuffix(".0") for kind in ("pairs", "likely", "before")]
        rows.append((row["folder"], counts[0], counts[1], right(row, "likely"), counts[2], right(row, "before")))
    return table(head, rows)


# The name in the page's comments, the benchmark whose results it needs, and what writes it.
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "ranking": ("evaluation", ranking),
    "descriptors-to-scores": ("descriptors_to_scores", descriptors_to_scores),
    "large-gallery": ("large_gallery", large_gallery),
    "reranking": ("reranking", reranking),
    "input": ("input_speed", images_in),
    "training-step": ("training_speed", training_step),
    "latency": ("latency", latency),
    "several": ("distributed", several),
    "growth": ("growth", growth),
    "city-describing": ("growth", city_describing),
    "city-keeping": ("growth", city_keeping),
    "rrid-mini-size": ("rrid_mini", mini_size),
    "rrid-mini-short": ("rrid_mini", mini_short),
    "rrid-mini-scores": ("rrid_mini", mini_scores),
    "networks": ("networks", networks),
    "fit-steps": ("fit_steps", fit_steps),
    "rrid-mini-steps": ("mini_steps", mini_steps),
    "rrid-mini-trainings": ("rrid_mini", mini_trainings),
    "rrid-mini-looks": ("rrid_mini", mini_looks),
    "verdicts": ("verdicts", verdicts),
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
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
