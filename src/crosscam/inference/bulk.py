"""Descriptors of any number of images: part by part onto the disk, so that memory is bounded.

Parts stand in ``OUT.parts`` until all are there, and are then joined into OUT. Each part is written beside its place
and moved into it, so that a kill loses at most the parts in work. The same call goes on where an earlier one stopped,
if images and model are the same. A lock keeps others out; a part that is broken, or one of whose images has
changed since, is described again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crosscam.data.datasets.unlabeled import UNNAMED
from crosscam.data.images import decode_image
from crosscam.data.loading import read_ahead
from crosscam.data.records import ReidDataset
from crosscam.data.text_files import harmless, path_in, read_lines
from crosscam.errors import DataError, ImageError
from crosscam.inference.descriptor_files import NEXT_STEP, Entry, Part, PartsOnDisk, as_array, write_joined
from crosscam.inference.extractor import Extractor
from crosscam.system.distributed import ALONE, World
from crosscam.system.files import Stamp, stamp_of, write_atomically
from crosscam.system.progress import Progress
from crosscam.system.text import parse_json

PART_SIZE = 4096
JOB = "job.json"
# Times that parts are described which turn out broken, or whose images change while they are described.
ROUNDS = 3


Job = tuple[int, list[Path]]
RunJobs = Callable[[Iterable[Job]], Iterator[tuple[int, Part]]]


@dataclass(frozen=True)
class Summary:
    """What a whole extraction gave.

    Attributes:
        described: images in the result.
        resumed: how many of them an earlier call had described.
        failures: path and reason of each image that could not be read.
        failures_file: a table of them beside the result; None without failures.
    """

    described: int
    resumed: int
    failures: tuple[tuple[Path, str], ...]
    failures_file: Path | None


def entries_of(dataset: ReidDataset) -> list[Entry]:
    """All images of a dataset: training, query, gallery."""
    return [
        Entry(s.path, None if dataset.name == UNNAMED else s.pid, s.camid, s.time, s.track, s.camera)
        for samples in dataset.subsets.values()
        for s in samples
    ]


def entries_of_list(file: Path) -> list[Entry]:
    """The images that a text file names, one in a line, counted from the file's folder; empty lines do not count.

    Raises:
        DataError: it cannot be read, or names none.
    """
    entries = [Entry(path_in(file.parent, line)) for _, line in read_lines(file)]
    if not entries:
        raise DataError(f"{file} names no images. Expected one path in each line.")
    return entries


def describe_part(extractor: Extractor, paths: Sequence[Path], expected: int = 0) -> Part:
    """Describe some files; the next batch is decoded while the engine works on this one.

    Args:
        extractor: what describes.
        paths: the files.
        expected: images of the whole extraction; many are worth choosing an engine for.
    Raises:
        DataError: a descriptor is not finite or has length 0.
    """
    kept: list[int] = []
    names: list[Path] = []
    failures: list[tuple[int, str]] = []
    stamps: list[Stamp] = []

    def read(path: Path) -> tuple[Stamp, NDArray[np.uint8] | str]:
        stamp = stamp_of(path)
        try:
            return stamp, extractor.resized(decode_image(path))
        except ImageError as error:
            return stamp, str(error)

    def good() -> Iterator[NDArray[np.uint8]]:
        """The batches without the files that cannot be read, which are written down."""
        for batch in read_ahead(paths, read, extractor.batch_size):
            images = []
            for stamp, answer in batch:
                if isinstance(answer, str):
                    failures.append((len(stamps), answer))
                else:
                    images.append(answer)
                    kept.append(len(stamps))
                    names.append(paths[len(stamps)])
                stamps.append(stamp)
            if images:
                yield np.stack(images)

    rows = extractor.embed(good(), names, expected)
    return Part(np.array(kept, np.int64), rows, tuple(failures), as_array(stamps))


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
    engine: str = "",
    progress: Progress | None = None,
    world: World | None = None,
) -> Summary:
    """Describe images part by part, and join the parts into one result.

    Args:
        entries: the images with what is known of them.
        out: .npz, .parquet, or a new folder for a Parquet dataset of one file for each part.
        fingerprint: of the model; it is saved with the descriptors.
        run: describes parts, in any order: here (:func:`run_here`) or on other machines (``ray_cluster.py``).
        part_size: images of a part; a kill loses at most the parts in work.
        engine: what describes, as it was asked for: an extraction does not go on by another one.
        progress: called with (done, all).
        world: processes that share the parts, and see the same disk; all of them must call. The first one joins the
            parts, the others are done before.
    Raises:
        BusyError: another process writes OUT.
        DataError: OUT.parts holds an extraction of something else, OUT cannot be written as what it is called, or a
            descriptor is not finite or has length 0.
        StorageError: the disk is full; the same call goes on from there.
    """
    world = world or ALONE
    with world.only_writer(out):
        parts = PartsOnDisk(entries, out.with_name(f"{out.name}.parts"), part_size)
        job = {"fingerprint": fingerprint, "entries": _digest(entries), "part_size": part_size, "engine": engine}
        _open_job(parts.folder, job, world)
        missing = _missing(parts, world)
        resumed = len(entries) - sum(len(parts.images(n)) for n in missing)
        for _ in range(ROUNDS):
            _describe_missing(parts, missing, run, world, progress)
            # A part that was spoiled on the way, or whose images changed meanwhile, is made again.
            missing = _missing(parts, world)
            if not missing:
                break
        else:
            raise DataError(
                f"Part {missing[0]} of {out} is not whole after {ROUNDS} tries: its images change, or the disk "
                f"spoils what is written. First image: {parts.images(missing[0])[0].path}."
            )
        failures = tuple(parts.failures())
        failures_file = _failures_file(out) if failures else None
        world.barrier()
        if world.rank == 0:
            write_joined(out, parts, fingerprint)
            _write_failures(_failures_file(out), failures)
            shutil.rmtree(parts.folder)
    return Summary(len(entries) - len(failures), resumed, failures, failures_file)


def _missing(parts: PartsOnDisk, world: World) -> list[int]:
    """Parts that have to be described, as the first process finds them."""
    world.barrier()
    found = torch.zeros(len(parts.numbers), dtype=torch.uint8)
    if world.rank == 0:
        found = torch.tensor([not parts.is_good(n) for n in parts.numbers], dtype=torch.uint8)
    found = found.to(world.device)
    world.take_from_first([found])
    return [int(n) for n in found.nonzero()[:, 0]]


def _describe_missing(
    parts: PartsOnDisk, missing: Sequence[int], run: RunJobs, world: World, progress: Progress | None
) -> None:
    """Describe some parts, a share in each process."""
    done = total = len(parts.all_entries)
    done -= sum(len(parts.images(n)) for n in missing)
    mine = missing[world.rank :: world.size]
    for number, part in run((n, [e.path for e in parts.images(n)]) for n in mine):
        parts.save(number, part)
        # No process is ahead by more than a part, so none runs into the time limit.
        world.barrier()
        at = missing.index(number) - world.rank
        done += sum(len(parts.images(n)) for n in missing[at : at + world.size])
        if progress:
            progress(done, total)
    if len(mine) * world.size < len(missing):
        # Others have a part more.
        world.barrier()


def _open_job(folder: Path, job: Mapping[str, object], world: World) -> None:
    """Begin the folder of parts, or check that it is of the same extraction; the first process does so first."""
    if world.rank:
        world.barrier()
    _begin_or_check(folder, job)
    if world.rank == 0:
        world.barrier()


def _digest(entries: Sequence[Entry]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry!r}{entry.camera or ''}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _begin_or_check(folder: Path, job: Mapping[str, object]) -> None:
    try:
        found = parse_json((folder / JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        # Parts without a job are of unknown origin; anything else is not ours to remove.
        foreign = [p.name for p in folder.glob("*") if not p.name.endswith((".npz", ".tmp"))]
        if foreign:
            raise DataError(
                f"{folder} is where the parts would go, and holds something else ({foreign[0]}). Move it, or choose "
                "another name for the result."
            ) from None
        shutil.rmtree(folder, ignore_errors=True)
        write_atomically(folder / JOB, json.dumps(job), next_step=NEXT_STEP)
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / JOB} cannot be read ({error}). Remove {folder}, or choose another name.") from error
    changed = [name for name in job if not isinstance(found, dict) or found.get(name) != job[name]]
    if changed:
        raise DataError(
            f"{folder} holds an unfinished extraction that differs in {', '.join(changed)}. "
            "Remove that folder to start again, or choose another name for the result."
        )


def _failures_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.failures.csv")


def _write_failures(path: Path, failures: Sequence[tuple[Path, str]]) -> None:
    if not failures:
        # One of an earlier call would tell of images that have been mended since.
        with suppress(FileNotFoundError):
            path.unlink()
        return

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "reason"))
            writer.writerows((harmless(str(image)), harmless(reason)) for image, reason in failures)

    write_atomically(path, write)
