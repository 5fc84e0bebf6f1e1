"""Time a gallery: adding, disk, memory, exact search, with filters and weights, beside faiss.

    python benchmarks/gallery.py fill search faiss forget clean --entries 1000000 --dim 512
    python benchmarks/gallery.py fill search faiss forget clean --entries 200000 --dim 1792
    python benchmarks/gallery.py engines --entries 100000 --dim 512
    python benchmarks/gallery.py tables              # what is in docs/gallery.md, from the results

Steps may be called one at a time; the gallery lies in --place between them (2.2 GB for the first line). Figures go into
benchmarks/results/gallery.json under ENTRIESxDIM. Descriptors are made up, in clusters: groups of like clothes, persons
within groups, twenty images a person; queries are new images of persons who are there. The faiss steps need
faiss (pip install faiss-cpu); the step "engines" compares what could have been the store, as far as it is installed
(pip install lancedb pymilvus milvus-lite).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery import ModelIdentity, NewEntry, Where
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Block

RESULTS = Path(__file__).with_name("results") / "gallery.json"
MODEL = ModelIdentity("bench", "made up")
CHUNK, IMAGES_EACH, GROUPS, CAMERAS = 10_000, 20, 400, 16
HOURS = 24
FILTERS = {
    "all entries": (Where(), None),
    "2 of 16 cameras": (Where(camids=(3, 7)), None),
    "1 hour of 24": (Where(time_from=36_000.0, time_to=39_600.0), None),
    "1 camera, 1 hour": (Where(camids=(3,), time_from=36_000.0, time_to=39_600.0), None),
    "torso=2,feet=0": (Where(), {"torso": 2.0, "feet": 0.0}),
}


def layout(dim: int) -> tuple[Block, ...]:
    """Six stripes and a global block."""
    width = dim // 7
    stripes = [
        Block(f"p6.local{i + 1}", i * width, (i + 1) * width, 6, "local", (i / 6, (i + 1) / 6)) for i in range(6)
    ]
    return (*stripes, Block("p6.global", 6 * width, dim, 6, "global", (0.0, 1.0)))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    result: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def images(chunk: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """The descriptors of a chunk; another seed gives other images of the same persons.

    Persons differ in 64 directions and images of one person (turned, lit, hidden) in 24, so that neighbours of other
    persons mix with the person's own: noise in all directions would be the same for everybody, and easy.
    """
    fixed = np.random.default_rng(7)
    groups = fixed.standard_normal((GROUPS, dim), np.float32)
    looks, turns = (fixed.standard_normal((n, dim), np.float32) for n in (64, 24))
    generator = np.random.default_rng(1000 + chunk)
    count = CHUNK // IMAGES_EACH
    persons = groups[generator.integers(0, GROUPS, count)]
    persons = persons + 0.8 / 8 * generator.standard_normal((count, 64), np.float32) @ looks
    noise = np.random.default_rng((seed, chunk))
    rows = np.repeat(persons, IMAGES_EACH, axis=0)
    rows += 0.8 / 24**0.5 * noise.standard_normal((CHUNK, 24), np.float32) @ turns
    rows += 0.3 * noise.standard_normal((CHUNK, dim), np.float32)
    return unit(rows)


def queries(entries: int, dim: int, count: int) -> NDArray[np.float32]:
    """New images of persons of the gallery."""
    generator = np.random.default_rng(3)
    chunks = generator.permutation(entries // CHUNK)[: max(1, count // 20)]
    found = np.concatenate([images(int(chunk), dim, seed=99)[:: CHUNK // 20] for chunk in chunks])
    return found[generator.permutation(len(found))[:count]]


def entries_of(chunk: int) -> Iterator[list[NewEntry]]:
    """The entries of a chunk, a thousand at a time: cameras by chance, times over a day."""
    generator = np.random.default_rng(5000 + chunk)
    camids, times = generator.integers(0, CAMERAS, CHUNK), generator.random(CHUNK) * HOURS * 3600
    for first in range(0, CHUNK, 1000):
        yield [
            NewEntry(f"day/{chunk:04d}/{i:05d}.jpg", int(camids[i]), chunk * 500 + i // IMAGES_EACH, float(times[i]))
            for i in range(first, first + 1000)
        ]


def latencies(
    search: Callable[[NDArray[np.float32]], Any],
    asked: NDArray[np.float32],
    other: Callable[[NDArray[np.float32]], Any] | None = None,
) -> dict[str, Any]:
    """Milliseconds of single queries, after two that warm up.

    With ``other``, the same queries by it in turn with the first, so that both meet the same neighbours on the machine;
    its figures stand under "other".
    """
    searches = [search] if other is None else [search, other]
    taken: list[list[float]] = [[] for _ in searches]
    for n, query in enumerate([*asked[:2], *asked]):
        for one, times in zip(searches, taken, strict=True):
            began = time.perf_counter()
            one(query[None])
            if n >= 2:
                times.append(1000 * (time.perf_counter() - began))
    told = [
        {
            "p50_ms": round(float(np.percentile(times, 50)), 2),
            "p99_ms": round(float(np.percentile(times, 99)), 2),
            "least_ms": round(min(times), 2),
        }
        for times in taken
    ]
    return told[0] | ({} if other is None else {"other": told[1]})


def memory() -> dict[str, float]:
    """Megabytes: of this process's own, and of mapped files that the system may drop."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (round(int(lines[name].split()[0]) / 1000, 1) for name in ("RssAnon", "RssFile"))
    return {"own_mb": own, "mapped_mb": mapped}


def fill(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Add everything, a thousand at a time, each acknowledged."""
    shutil.rmtree(place, ignore_errors=True)
    adding = 0.0
    with LocalGallery.create(place, layout(options.dim), MODEL) as gallery:
        for chunk in range(options.entries // CHUNK):
            rows = images(chunk, options.dim)
            for i, some in enumerate(entries_of(chunk)):
                began = time.perf_counter()
                gallery.add(rows[1000 * i : 1000 * i + 1000], some, model=MODEL.fingerprint)
                adding += time.perf_counter() - began
        size = gallery.info().bytes or 0
    return {
        "entries_per_second": round(options.entries / adding),
        "disk_mb": round(size / 1e6, 1),
        "disk_bytes_per_entry_beside_descriptor": round(size / options.entries - 4 * options.dim, 1),
        "memory": memory(),
    }


def search(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Exact search, alone, with filters, with weights, and all queries at once."""
    asked = queries(options.entries, options.dim, options.queries)
    told: dict[str, Any] = {}
    with LocalGallery.open(place) as gallery:
        began = time.perf_counter()
        len(gallery)
        told["open_s"] = round(time.perf_counter() - began, 2)
        for name, (where, weights) in FILTERS.items():
            told[name] = latencies(
                lambda q, where=where, weights=weights: gallery.search(  # type: ignore[misc]
                    q, 10, model=MODEL.fingerprint, where=where, weights=weights
                ),
                asked,
            )
        began = time.perf_counter()
        gallery.search(asked, 10, model=MODEL.fingerprint)
        told["batch_ms_per_query"] = round(1000 * (time.perf_counter() - began) / len(asked), 2)
        told["memory"] = memory()
    return told


def faiss(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """faiss's exact index over the same rows in turn with the gallery, and whether it finds the same ten.

    faiss answers single queries in one thread: its threads share out queries, and with two of them it is slower here.
    """
    import faiss

    asked = queries(options.entries, options.dim, options.queries)
    with LocalGallery.open(place) as gallery:
        ids = np.array(gallery.ids())
        flat = faiss.IndexFlatL2(gallery.dim)
        began = time.perf_counter()
        for first in range(0, len(ids), CHUNK):
            flat.add(gallery.descriptors(ids[first : first + CHUNK].tolist()))
        told: dict[str, Any] = {"load_s": round(time.perf_counter() - began, 1)}
        faiss.omp_set_num_threads(1)
        for name, (where, weights) in FILTERS.items():
            if weights is None:
                parameters = None if where.everything else selected(faiss, ids, np.array(gallery.ids(where)))
                told[name] = latencies(
                    lambda q, p=parameters: flat.search(q, 10, params=p),  # type: ignore[misc]
                    asked,
                    lambda q, where=where: run(gallery, q, where, None),  # type: ignore[misc]
                )
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        began = time.perf_counter()
        found = ids[flat.search(asked, 10)[1]]
        between = time.perf_counter()
        expected = [ids_of(hits) for hits in run(gallery, asked, Where(), None)]
        told["batch_ms_per_query"] = round(1000 * (between - began) / len(asked), 2)
        told["other_batch_ms_per_query"] = round(1000 * (time.perf_counter() - between) / len(asked), 2)
        told["same_ten"] = sum(set(a) == set(b) for a, b in zip(found.tolist(), expected, strict=True)) / len(asked)
        return told | {"memory": memory()}


def selected(faiss: Any, ids: NDArray[np.int64], chosen: NDArray[np.int64]) -> Any:
    """faiss's filter for the chosen ids; the bits must outlive it, so they stay with it."""
    bits = np.zeros((len(ids) + 7) // 8 * 8, bool)
    bits[np.searchsorted(ids, chosen)] = True
    packed = np.packbits(bits, bitorder="little")
    parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(len(packed), faiss.swig_ptr(packed)))
    parameters.bits = packed
    return parameters


def run(
    gallery: LocalGallery,
    asked: NDArray[np.float32],
    where: Where,
    weights: dict[str, float] | None,
) -> Any:
    """One search of ten hits."""
    return gallery.search(asked, 10, model=MODEL.fingerprint, where=where, weights=weights)


def ids_of(hits: Any) -> list[int]:
    """Ids of hits."""
    return [hit.entry.id for hit in hits]


def forget(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Forget a person of twenty images, give the places back, read everything once."""
    told: dict[str, Any] = {}
    with LocalGallery.open(place, write=True) as gallery:
        pid = gallery.entries(start=options.entries // 2, limit=1)[0].pid or 0
        for name, act in {
            "forget_person_s": lambda: gallery.forget(Where(pids=(pid,))),
            "next_search_s": lambda: run(gallery, queries(options.entries, options.dim, 1), Where(), None),
            "compact_s": gallery.compact,
            "verify_s": gallery.verify,
        }.items():
            began = time.perf_counter()
            done = act()
            told[name] = round(time.perf_counter() - began, 2)
            if name == "forget_person_s":
                told["forgotten"] = done
        if not done.sound:
            raise SystemExit(f"The gallery is not sound: {done.problems}")
    return told


def engines(_: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every store that is installed, each in a process of its own."""
    told = {}
    for name, module in {"crosscam": "crosscam", "lancedb": "lancedb", "milvus-lite": "milvus_lite"}.items():
        if importlib.util.find_spec(module):
            command = [sys.executable, __file__, "engine", "--engine", name]
            command += ["--entries", str(options.entries), "--dim", str(options.dim), "--json", os.devnull]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            told[name] = json.loads(done.stdout.splitlines()[-1])
    return told


def one_engine(options: argparse.Namespace) -> dict[str, Any]:
    """What the choice of a store rests on, for one of them."""
    from gallery_engines import ENGINES

    rows = np.concatenate([images(chunk, options.dim) for chunk in range(options.entries // CHUNK)])
    asked = queries(options.entries, options.dim, 20)
    camids = np.concatenate([[e.camid for e in some] for c in range(len(rows) // CHUNK) for some in entries_of(c)])
    exact = asked.astype(np.float64) @ rows.T.astype(np.float64)
    truth = np.argsort(-exact, axis=1)[:, :10]
    exact[:, camids != 3] = -9
    truth_filtered = np.argsort(-exact, axis=1)[:, :10]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        engine = ENGINES[options.engine](place, options.dim)
        began = time.perf_counter()
        for first in range(0, len(rows), 1000):
            engine.add(first, rows[first : first + 1000], camids[first : first + 1000])
        told: dict[str, Any] = {"entries_per_second": round(len(rows) / (time.perf_counter() - began))}
        engine.settle()
        told["disk_mb"] = round(sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) / 1e6, 1)
        told["all entries"] = latencies(lambda q: engine.search(q[0], None), asked)
        told["1 of 16 cameras"] = latencies(lambda q: engine.search(q[0], 3), asked)
        told["same_ten"] = float(
            np.mean([set(engine.search(q, None)) == set(t) for q, t in zip(asked, truth, strict=True)])
        )
        told["same_ten_filtered"] = float(
            np.mean([set(engine.search(q, 3)) == set(t) for q, t in zip(asked, truth_filtered, strict=True)])
        )
        needle = rows[5, :8].tobytes()
        told["files_with_descriptor"] = files_with(place, needle)
        engine.forget(5)
        told["files_with_forgotten_descriptor"] = files_with(place, needle)
        told["second_writer"] = engine.second_writer()
    return told


def files_with(place: Path, needle: bytes) -> int:
    """Files that hold these bytes; read by another process, since SQLite's locks end where a file is closed."""
    code = "import pathlib, sys; n = bytes.fromhex(sys.argv[2]); print(sum(n in f.read_bytes() for f in "
    code += "pathlib.Path(sys.argv[1]).rglob('*') if f.is_file()))"
    done = subprocess.run([sys.executable, "-c", code, place, needle.hex()], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def tables(file: Path) -> str:
    """The figures of docs/gallery.md as Markdown."""
    kept = json.loads(file.read_text(encoding="utf-8"))
    sizes = [size for size, steps in kept.items() if "search" in steps]
    rows = [("", *(size.replace("x", " x ") for size in sizes))]

    def row(title: str, tell: Callable[[dict[str, Any]], str], needed: str) -> None:
        rows.append((title, *(tell(kept[size]) if needed in kept[size] else "" for size in sizes)))

    row("added, a thousand a call, each acknowledged", lambda f: f"{f['fill']['entries_per_second']:,}/s", "fill")
    row("disk", lambda f: f"{f['fill']['disk_mb']:,.0f} MB", "fill")
    row("opened", lambda f: f"{f['search']['open_s']} s", "search")
    row("memory of its own, mapped files", lambda f: _memory(f["search"]), "search")
    for name, (_, weights) in FILTERS.items():
        if weights:
            row(f"exact, {name}", lambda f, name=name: _times(f["search"][name]), "search")  # type: ignore[misc]
            continue
        row(f"exact, {name}", lambda f, name=name: _times(f["faiss"][name]["other"]), "faiss")  # type: ignore[misc]
        row("- faiss flat in turn with it", lambda f, name=name: _times(f["faiss"][name]), "faiss")  # type: ignore[misc]
    row("exact, thirty queries at once, each", lambda f: f"{f['faiss']['other_batch_ms_per_query']} ms", "faiss")
    row("- faiss flat, after it", lambda f: f"{f['faiss']['batch_ms_per_query']} ms", "faiss")
    row("faiss flat: memory of its own", lambda f: f"{f['faiss']['memory']['own_mb']:,.0f} MB", "faiss")
    row("faiss flat: same ten as here", lambda f: f"{100 * f['faiss']['same_ten']:.0f} % of queries", "faiss")
    row("a person of twenty images forgotten", lambda f: f"{f['forget']['forget_person_s']} s", "forget")
    row(
        "compacted; everything read and compared",
        lambda f: "{compact_s} s; {verify_s} s".format(**f["forget"]),
        "forget",
    )
    lines = _markdown(rows)
    for size, steps in kept.items():
        if "engines" in steps:
            lines += ["", f"{size.replace('x', ' x ')}:", "", *_markdown(_engine_rows(steps["engines"]))]
    return "\n".join(lines)


def _engine_rows(told: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", *told)]
    for title, tell in {
        "added": lambda f: f"{f['entries_per_second']:,}/s",
        "disk": lambda f: f"{f['disk_mb']:,.0f} MB",
        "exact, all entries": lambda f: _times(f["all entries"]),
        "exact, 1 of 16 cameras": lambda f: _times(f["1 of 16 cameras"]),
        "same ten as brute force, filtered": lambda f: f"{f['same_ten']:.2f}, {f['same_ten_filtered']:.2f}",
        "files with a forgotten descriptor, compacted": lambda f: str(f["files_with_forgotten_descriptor"]),
        "second writer": lambda f: f["second_writer"],
    }.items():
        rows.append((title, *(str(tell(figures)) for figures in told.values())))
    return rows


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def _times(figures: dict[str, float]) -> str:
    least = f", least {figures['least_ms']:.3g}" if "least_ms" in figures else ""
    return f"{figures['p50_ms']:.3g} ms, p99 {figures['p99_ms']:.3g}{least}"


def _memory(figures: dict[str, Any]) -> str:
    return f"{figures['memory']['own_mb']:,.0f} MB, {figures['memory']['mapped_mb']:,.0f} MB"


STEPS = {
    "fill": fill,
    "search": search,
    "faiss": faiss,
    "forget": forget,
    "engines": engines,
}


def main() -> None:
    """Run the steps, print and keep their figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("steps", nargs="+", choices=[*STEPS, "clean", "engine", "tables"])
    parser.add_argument("--entries", type=int, default=100_000, help="a multiple of 10,000")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "crosscam-gallery-benchmark")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.steps == ["engine"]:
        print(json.dumps(one_engine(options)))
        return
    if options.steps == ["tables"]:
        print(tables(options.json))
        return
    place = options.place / f"{options.entries}x{options.dim}"
    place.parent.mkdir(parents=True, exist_ok=True)
    for step in options.steps:
        if step == "clean":
            shutil.rmtree(place, ignore_errors=True)
            continue
        began = time.perf_counter()
        told = STEPS[step](place, options)
        print(step, json.dumps(told, indent=2), f"{time.perf_counter() - began:.0f} s")
        kept = json.loads(options.json.read_text()) if options.json.exists() else {}
        kept.setdefault(f"{options.entries}x{options.dim}", {})[step] = told
        options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
