"""A small gallery of made-up descriptors, and the slow way to search it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery import ModelIdentity, NewEntry, Where, block_weights
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Block, Layout

MODEL = ModelIdentity("aaaa1111", "small in runs/small")
LAYOUT: Layout = (
    Block("p2.local1", 0, 5, 2, "local", (0.0, 0.5)),
    Block("p2.local2", 5, 9, 2, "local", (0.5, 1.0)),
    Block("p2.global", 9, 16, 2, "global", (0.0, 1.0)),
)
DIM = 16


@dataclass(frozen=True)
class Filled:
    """What was put into a gallery."""

    ids: list[int]
    descriptors: NDArray[np.float32]
    entries: list[NewEntry]
    thumbnails: list[bytes | None]


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows scaled to length 1."""
    result: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return result


def some_descriptors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Descriptors in clusters of about four; every tenth is a copy of the one before."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(1, count // 4), DIM))
    rows = unit(centres[generator.integers(0, len(centres), count)] + 0.3 * generator.standard_normal((count, DIM)))
    rows[10::10] = rows[9 : len(rows) - 1 : 10]
    return rows


def some_entries(count: int, first: int = 0) -> list[NewEntry]:
    """Four cameras, persons of five images, tracks of three; every seventh without pid, time and track."""
    return [
        NewEntry(f"pictures/{i:05d}.jpg", i % 4, None, None, None)
        if i % 7 == 0
        else NewEntry(f"pictures/{i:05d}.jpg", i % 4, i // 5, 10.0 * i, f"track {i // 12}")
        for i in range(first, first + count)
    ]


def some_thumbnails(count: int, seed: int = 0) -> list[bytes | None]:
    """Random bytes of 60 to 90, every fifth missing."""
    generator = np.random.default_rng(seed + 1)
    return [None if i % 5 == 4 else generator.bytes(60 + i % 30) for i in range(count)]


def filled(place: Path, count: int = 120, *, segment_rows: int = 32, at_once: int = 25) -> tuple[LocalGallery, Filled]:
    """A gallery of several segments, open for writing."""
    gallery = LocalGallery.create(place, LAYOUT, MODEL, segment_rows=segment_rows)
    descriptors, entries, thumbnails = some_descriptors(count), some_entries(count), some_thumbnails(count)
    ids = []
    for i in range(0, count, at_once):
        part = slice(i, i + at_once)
        ids += gallery.add(descriptors[part], entries[part], thumbnails[part], model=MODEL.fingerprint)
    return gallery, Filled(ids, descriptors, entries, thumbnails)


def fulfils(entry: NewEntry, id_: int, where: Where) -> bool:
    """The conditions, one by one."""
    pairs = [(id_, "ids"), (entry.pid, "pids"), (entry.camid, "camids"), (entry.track, "tracks")]
    for value, name in pairs:
        only, without = getattr(where, name), getattr(where, f"not_{name}")
        if only is not None and (value is None or value not in only):
            return False
        if without is not None and value in without:
            return False
    if where.time_from is not None and (entry.time is None or entry.time < where.time_from):
        return False
    return where.time_to is None or (entry.time is not None and entry.time <= where.time_to)


def distance(a: NDArray[np.floating], b: NDArray[np.floating], weights: dict[str, float] | None) -> float:
    """Weighted Euclidean distance, number by number."""
    total = 0.0
    for block, weight in zip(LAYOUT, block_weights(weights, LAYOUT), strict=True):
        for i in range(block.start, block.stop):
            total += float(weight) * (float(a[i]) - float(b[i])) ** 2
    return total**0.5


def brute_force(
    query: NDArray[np.float32],
    data: Filled,
    k: int,
    where: Where = Where(),  # noqa: B008
    weights: dict[str, float] | None = None,
) -> list[tuple[int, float]]:
    """(id, distance) of the k nearest, one by one; equal distances by id."""
    found = [
        (distance(query, row, weights), id_)
        for id_, row, entry in zip(data.ids, data.descriptors, data.entries, strict=True)
        if fulfils(entry, id_, where)
    ]
    # Copies have the same distance; a sum in another order may differ in the last digits.
    found.sort(key=lambda pair: (round(pair[0], 9), pair[1]))
    return [(id_, d) for d, id_ in found[:k]]


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, read by another process: SQLite loses its locks if this one closes an open database."""
    done = subprocess.run(["tar", "-cf", "-", "."], cwd=folder, stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {member.name: archive.extractfile(member).read() for member in files}  # type: ignore[union-attr]


def files_with(files: dict[str, bytes], needle: bytes) -> list[str]:
    """Names of the files that hold these bytes."""
    return [name for name, data in files.items() if needle in data]
