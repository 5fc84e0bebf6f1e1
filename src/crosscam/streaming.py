"""Descriptors of any number of pictures: part by part onto the disk, so that memory is bounded.

Parts stand in ``OUT.parts`` until all are there, and are then joined into OUT. Each part is written beside its place
and moved into it, so that a kill loses at most the parts in work. The same call goes on where an earlier one stopped,
if pictures and model are the same.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.data.images import decode_image, resize_image
from crosscam.data.loading import Progress
from crosscam.data.records import ReidDataset
from crosscam.data.spreadsheets import harmless
from crosscam.descriptor_files import Entry, write_joined
from crosscam.errors import DataError, ImageError
from crosscam.extraction import Extractor
from crosscam.system.files import write_atomically, write_text
from crosscam.training.distributed import World

PART_SIZE = 4096
JOB = "job.json"


@dataclass(frozen=True, eq=False)
class Part:
    """What came of one part's pictures.

    Attributes:
        kept: (n,) places of the pictures that were described, within the part.
        descriptors: (n, D) float32.
        failures: place and reason of each picture that could not be read.
    """

    kept: NDArray[np.int64]
    descriptors: NDArray[np.float32]
    failures: tuple[tuple[int, str], ...] = ()


Job = tuple[int, list[Path]]
RunJobs = Callable[[Iterable[Job]], Iterator[tuple[int, Part]]]


@dataclass(frozen=True)
class Summary:
    """What a whole extraction gave.

    Attributes:
        described: pictures in the result.
        resumed: how many of them an earlier call had described.
        failures: path and reason of each picture that could not be read.
        failures_file: a table of them beside the result; None without failures.
    """

    described: int
    resumed: int
    failures: tuple[tuple[Path, str], ...]
    failures_file: Path | None


def entries_of(dataset: ReidDataset) -> list[Entry]:
    """All images of a data set: training, query, gallery."""
    return [Entry(s.path, s.pid, s.camid, s.time, s.track) for samples in dataset.subsets.values() for s in samples]


def entries_of_list(file: Path) -> list[Entry]:
    """The pictures that a text file names, one in a line, counted from the file's folder; empty lines do not count.

    Raises:
        DataError: it cannot be read, or names none.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    entries = [Entry(file.parent / line.strip()) for line in lines if line.strip()]
    if not entries:
        raise DataError(f"{file} names no pictures. Expected one path in each line.")
    return entries


def describe_part(extractor: Extractor, paths: Sequence[Path], expected: int = 0) -> Part:
    """Describe some files; the next batch is decoded while the engine works on this one.

    Args:
        extractor: what describes.
        paths: the files.
        expected: pictures of the whole extraction; many are worth choosing an engine for.
    """
    height, width = extractor.recipe.data.height, extractor.recipe.data.width
    size = extractor.batch_size

    def read(path: Path) -> NDArray[np.uint8] | str:
        try:
            return resize_image(decode_image(path), height, width)
        except ImageError as error:
            return str(error)

    rows = [np.empty((0, extractor.dim), np.float32)]
    kept: list[int] = []
    failures: list[tuple[int, str]] = []
    with ThreadPoolExecutor() as pool:
        starts = range(0, len(paths), size)
        coming = [pool.submit(read, path) for path in paths[:size]]
        for start in starts:
            answers = [future.result() for future in coming]
            coming = [pool.submit(read, path) for path in paths[start + size : start + 2 * size]]
            good = [(start + i, a) for i, a in enumerate(answers) if not isinstance(a, str)]
            failures += [(start + i, a) for i, a in enumerate(answers) if isinstance(a, str)]
            kept += [i for i, _ in good]
            if good:
                rows.append(extractor.pixels(np.stack([a for _, a in good]), expected))
    return Part(np.array(kept, np.int64), np.concatenate(rows), tuple(failures))


def run_here(extractor: Extractor, expected: int) -> RunJobs:
    """Describe parts in this process, one after the other."""

    def run(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for number, paths in jobs:
            yield number, describe_part(extractor, paths, expected)

    return run


def describe_stream(
    entries: Sequence[Entry],
    out: Path,
    *,
    fingerprint: str,
    run: RunJobs,
    part_size: int = PART_SIZE,
    progress: Progress | None = None,
    world: World | None = None,
) -> Summary:
    """Describe pictures part by part, and join the parts into one result.

    Args:
        entries: the pictures with what is known of them.
        out: .npz, .parquet, or a new folder for a Parquet data set of one file for each part.
        fingerprint: of the model; it is saved with the descriptors.
        run: describes parts, in any order: here (:func:`run_here`) or on other machines.
        part_size: pictures of a part; a kill loses at most the parts in work.
        progress: called with (done, all).
        world: processes that share the parts, and see the same disk; all of them must call. The first one joins the
            parts, the others are done before.
    Raises:
        DataError: OUT.parts holds an extraction of something else, or OUT cannot be written as what it is called.
        StorageError: the disk is full; the same call goes on from there.
    """
    world = world or World(0, 1, torch.device("cpu"))
    folder = out.with_name(f"{out.name}.parts")
    _open_job(folder, entries, fingerprint, part_size, world)
    numbers = range(-(-len(entries) // part_size))
    missing = [n for n in numbers if not _part_file(folder, n).is_file()]
    # Everybody has looked before anybody writes.
    world.barrier()
    sizes = {n: min(part_size, len(entries) - n * part_size) for n in numbers}
    done = len(entries) - sum(sizes[n] for n in missing)
    resumed = done
    mine = missing[world.rank :: world.size]
    jobs = ((n, [e.path for e in entries[n * part_size : (n + 1) * part_size]]) for n in mine)
    for number, part in run(jobs):
        _save_part(_part_file(folder, number), part)
        # Nobody is ahead by more than a part, so nobody's patience ends.
        world.barrier()
        at = missing.index(number) - world.rank
        done += sum(sizes[n] for n in missing[at : at + world.size])
        if progress:
            progress(done, len(entries))
    if len(mine) * world.size < len(missing):
        # Others have a part more.
        world.barrier()
    parts = _Parts(entries, folder, part_size)
    failures = tuple(parts.failures())
    failures_file = _failures_file(out) if failures else None
    world.barrier()
    if world.rank == 0:
        write_joined(out, parts, fingerprint)
        _write_failures(_failures_file(out), failures)
        shutil.rmtree(folder)
    return Summary(len(entries) - len(failures), resumed, failures, failures_file)


def _open_job(folder: Path, entries: Sequence[Entry], fingerprint: str, part_size: int, world: World) -> None:
    """Begin the folder of parts, or check that it is of the same extraction; the first process does so first."""
    if world.rank:
        world.barrier()
    _begin_or_check(folder, entries, fingerprint, part_size)
    if world.rank == 0:
        world.barrier()


def _begin_or_check(folder: Path, entries: Sequence[Entry], fingerprint: str, part_size: int) -> None:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    job = {"fingerprint": fingerprint, "entries": digest.hexdigest(), "part_size": part_size}
    try:
        found = json.loads((folder / JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_atomically(folder / JOB, lambda path: write_text(path, json.dumps(job)))
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / JOB} cannot be read ({error}). Remove {folder}, or choose another name.") from error
    if found != job:
        changed = [name for name in job if found.get(name) != job[name]]
        raise DataError(
            f"{folder} holds an unfinished extraction that differs in {', '.join(changed)}. "
            "Remove that folder to start again, or choose another name for the result."
        )


def _part_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _save_part(path: Path, part: Part) -> None:
    places, reasons = zip(*part.failures, strict=True) if part.failures else ((), ())

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(
                file,
                kept=part.kept,
                descriptors=part.descriptors,
                failed=np.array(places, np.int64),
                reasons=np.array(reasons, np.str_),
            )

    write_atomically(path, write)


class _Parts:
    """The parts on disk, read one at a time."""

    def __init__(self, entries: Sequence[Entry], folder: Path, part_size: int) -> None:
        self.all_entries, self.part_size = entries, part_size
        self.files = sorted(folder.glob("*.npz"))

    def _read(self, number: int, name: str) -> NDArray[np.generic]:
        with np.load(self.files[number]) as part:
            found: NDArray[np.generic] = part[name]
        return found

    def entries(self) -> Iterator[list[Entry]]:
        """The described pictures of each part."""
        for number in range(len(self.files)):
            first = number * self.part_size
            yield [self.all_entries[first + int(i)] for i in self._read(number, "kept")]

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """(n, D) descriptors of each part."""
        for number in range(len(self.files)):
            yield self._read(number, "descriptors").astype(np.float32)

    def failures(self) -> Iterator[tuple[Path, str]]:
        """Path and reason of each picture that could not be read."""
        for number in range(len(self.files)):
            first = number * self.part_size
            pairs = zip(self._read(number, "failed"), self._read(number, "reasons"), strict=True)
            yield from ((self.all_entries[first + int(i)].path, str(reason)) for i, reason in pairs)


def _failures_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.failures.csv")


def _write_failures(path: Path, failures: Sequence[tuple[Path, str]]) -> None:
    if not failures:
        # One of an earlier call would tell of pictures that have been mended since.
        with suppress(FileNotFoundError):
            path.unlink()
        return

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "reason"))
            writer.writerows((harmless(str(picture)), harmless(reason)) for picture, reason in failures)

    write_atomically(path, write)
