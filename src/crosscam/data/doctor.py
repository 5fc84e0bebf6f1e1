"""Examine a dataset: what it is, how it compares with the published counts, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crosscam.data import findings
from crosscam.data.datasets.unlabeled import UNNAMED
from crosscam.data.findings import Finding
from crosscam.data.images import decode_image
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample, num_tracklets, ranked
from crosscam.errors import ImageError
from crosscam.system.cores import available_cores
from crosscam.system.progress import Progress


@dataclass(frozen=True)
class Counts:
    """Identities without junk and distractors, images without junk, cameras; tracklets without junk, where they are
    ranked. None is not published."""

    ids: int | None
    images: int | None
    cameras: int
    tracklets: int | None = None


OFFICIAL: dict[str, dict[str, Counts]] = {
    "market1501": {"train": Counts(751, 12_936, 6), "query": Counts(750, 3_368, 6), "gallery": Counts(750, 15_913, 6)},
    "dukemtmc-reid": {
        "train": Counts(702, 16_522, 8),
        "query": Counts(702, 2_228, 8),
        "gallery": Counts(1_110, 17_661, 8),
    },
    "cuhk03-labeled": {
        "train": Counts(767, 7_368, 2),
        "query": Counts(700, 1_400, 2),
        "gallery": Counts(700, 5_328, 2),
    },
    "cuhk03-detected": {
        "train": Counts(767, 7_365, 2),
        "query": Counts(700, 1_400, 2),
        "gallery": Counts(700, 5_332, 2),
    },
    "msmt17": {
        "train": Counts(1_041, 32_621, 15),
        "query": Counts(3_060, 11_659, 15),
        "gallery": Counts(3_060, 82_161, 15),
    },
    "viper": {"train": Counts(316, 632, 2), "query": Counts(316, 316, 1), "gallery": Counts(316, 316, 1)},
    "prid2011": {"train": Counts(100, 200, 2), "query": Counts(100, 100, 1), "gallery": Counts(100, 649, 1)},
    "cuhk02": {"train": Counts(1_577, 6_308, 8), "query": Counts(239, 478, 1), "gallery": Counts(239, 478, 1)},
    "occluded-reid": {"query": Counts(200, 1_000, 1), "gallery": Counts(200, 1_000, 1)},
    "partial-reid": {"query": Counts(60, 300, 1), "gallery": Counts(60, 300, 1)},
    "p-dukemtmc-reid": {
        "train": Counts(665, 12_927, 2),
        "query": Counts(634, 2_163, 1),
        "gallery": Counts(634, 9_053, 1),
    },
    "last": {"train": Counts(5_000, 71_248, 1), "query": Counts(None, 10_176, 1), "gallery": Counts(None, 125_353, 1)},
    "celeb-reid": {"train": Counts(632, 20_208, 1), "query": Counts(420, 2_972, 1), "gallery": Counts(420, 11_006, 1)},
    "ilids": {"train": Counts(59, None, 1), "query": Counts(60, 60, 1), "gallery": Counts(60, 60, 1)},
    # As the files of MARS's folder info have them.
    "mars": {
        "train": Counts(625, 509_914, 6, 8_298),
        "query": Counts(626, 114_493, 6, 1_980),
        "gallery": Counts(634, 657_709, 6, 11_310),
    },
    "mars-without-queries": {
        "train": Counts(625, 509_914, 6, 8_298),
        "query": Counts(626, 114_493, 6, 1_980),
        "gallery": Counts(620, 543_216, 6, 9_330),
    },
    "ilids-vid": {
        "train": Counts(150, None, 2, 300),
        "query": Counts(150, None, 1, 150),
        "gallery": Counts(150, None, 1, 150),
    },
    "prid2011-video": {
        "train": Counts(89, None, 2, 178),
        "query": Counts(89, None, 1, 89),
        "gallery": Counts(89, None, 1, 89),
    },
    "cuhk01": {"train": Counts(485, 1_940, 2), "query": Counts(486, 972, 1), "gallery": Counts(486, 972, 1)},
}


@dataclass(frozen=True)
class SubsetCounts:
    """One row of the table: what a subset holds, beside the published counts where there are any."""

    subset: str
    found: Counts
    junk: int
    distractors: int
    official: Counts | None


@dataclass(frozen=True)
class Examination:
    """What :func:`examine_dataset` found; ``kind`` is the dataset's name, ``table`` the file where it is a table."""

    kind: str
    root: Path
    protocol: str
    fingerprint: str
    subsets: tuple[SubsetCounts, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    table: Path | None = None

    @property
    def healthy(self) -> bool:
        """No error was found."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; tracklets are counted where they are ranked."""
        table = None if self.table is None else str(self.table)
        told = {**asdict(self), "root": str(self.root), "table": table, "healthy": self.healthy}
        for counts in (row[which] for row in told["subsets"] for which in ("found", "official")):
            if counts is not None and counts["tracklets"] is None:
                del counts["tracklets"]
        return told


def examine_dataset(dataset: ReidDataset, *, progress: Progress | None = None) -> Examination:
    """Decode every image of a dataset, and report.

    Args:
        dataset: what :func:`crosscam.data.datasets.readers.read_dataset` gave.
        progress: called with the numbers of images done and of all.
    """
    official = OFFICIAL.get(dataset.name, {})
    tracklets = dataset.tracklets
    rows = tuple(_count(name, samples, official.get(name), tracklets) for name, samples in dataset.subsets.items())
    opened = _open_all(dataset, progress)
    found = _of_images(dataset, opened)
    if dataset.name != UNNAMED:
        found = (
            *findings.empty_subsets(dataset),
            *found,
            *findings.shared_ids(dataset),
            *findings.single_image_ids(dataset),
            *findings.unmatched_queries(ranked(dataset)),
            *_other_counts(rows),
        )
    mark = dataset.fingerprint()
    return Examination(
        dataset.name, dataset.root, dataset.protocol, mark, rows, found, dataset.notes, table=dataset.table
    )


def examine_images(samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """What is wrong with images without labels: damaged files, copies, unknown cameras."""
    root = Path(os.path.commonpath([s.path.parent.absolute() for s in samples]))
    dataset = ReidDataset(UNNAMED, root, gallery=tuple(samples))
    return _of_images(dataset, _open_all(dataset))


def _of_images(dataset: ReidDataset, opened: _Opened) -> tuple[Finding, ...]:
    """What can be wrong with images, with or without labels."""
    found = (
        findings.unreadable(opened.faults, dataset.root),
        findings.scenes(opened.sizes, dataset.root),
        findings.duplicates(dataset, opened.digests),
        findings.cameras(dataset),
    )
    return tuple(finding for some in found for finding in some)


def table_rows(examination: Examination) -> list[tuple[str, ...]]:
    """Header and rows of ``subset | # ids | # images | # cameras``, published counts in brackets.

    Datasets of tracklets have a further column with their number.
    """
    tracklets = any(row.found.tracklets is not None for row in examination.subsets)
    header = ("subset", "# ids", "# images", "# cameras", *(("# tracklets",) if tracklets else ()))
    rows: list[tuple[str, ...]] = [header]
    for row in examination.subsets:
        cells = [_cell(*pair) for pair in zip(_numbers(row.found), _numbers(row.official), strict=True)]
        if row.junk:
            cells[1] += f" + {row.junk:,} junk"
        rows.append((row.subset, *cells)[: len(header)])
    return rows


def _numbers(counts: Counts | None) -> tuple[int | None, ...]:
    return (None,) * 4 if counts is None else (counts.ids, counts.images, counts.cameras, counts.tracklets)


def _cell(found: int | None, official: int | None) -> str:
    return f"{found or 0:,}" + ("" if official is None else f" ({official:,})")


def as_text(examination: Examination) -> str:
    """The whole report as plain text, without colors."""
    rows = table_rows(examination)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"{examination.kind} in {examination.table or examination.root}", ""]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any(row.official for row in examination.subsets):
        lines.append("In brackets: the published counts.")
    lines += ["", *map(told, examination.notes)]
    for finding in examination.findings:
        lines.append(f"{finding.severity}: {finding.what}")
        lines += [f"    {example}" for example in finding.examples]
        lines.append(f"    -> {finding.cure}")
    if not examination.findings:
        lines.append("Nothing is wrong with it.")
    return "\n".join(lines)


def told(note: str) -> str:
    """A note as a line; one that begins with "warning: " as it is."""
    return note if note.startswith("warning: ") else f"note: {note}"


def counted(samples: Sequence[Sample], tracklets: bool = False) -> Counts:
    """The counts of a subset, as ``OFFICIAL`` has them."""
    kept = [s for s in samples if s.pid != JUNK_PID]
    people = {s.pid for s in kept} - {DISTRACTOR_PID}
    cameras = len({s.camid for s in samples})
    return Counts(len(people), len(kept), cameras, num_tracklets(kept) if tracklets else None)


def _count(name: str, samples: tuple[Sample, ...], official: Counts | None, tracklets: bool) -> SubsetCounts:
    junk = sum(s.pid == JUNK_PID for s in samples)
    distractors = sum(s.pid == DISTRACTOR_PID for s in samples)
    return SubsetCounts(name, counted(samples, tracklets), junk, distractors, official)


@dataclass(frozen=True)
class _Opened:
    """The files of a dataset by path: digest of their bytes, faults, and height and width in pixels."""

    digests: dict[Path, bytes]
    faults: dict[Path, str]
    sizes: dict[Path, tuple[int, int]]


def _open_all(dataset: ReidDataset, progress: Progress | None = None) -> _Opened:
    paths = list(dict.fromkeys(s.path for samples in dataset.subsets.values() for s in samples))
    opened = _Opened({}, {}, {})
    with ThreadPoolExecutor(min(8, available_cores())) as pool:
        for done, (path, found) in enumerate(zip(paths, pool.map(_open_one, paths), strict=True), start=1):
            if isinstance(found, str):
                opened.faults[path] = found
            else:
                opened.digests[path], opened.sizes[path] = found
            if progress is not None:
                progress(done, len(paths))
    return opened


def _open_one(path: Path) -> tuple[bytes, tuple[int, int]] | str:
    try:
        height, width, _ = decode_image(path).shape
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest(), (height, width)
    except (ImageError, OSError) as error:
        return str(error)


def _other_counts(rows: tuple[SubsetCounts, ...]) -> list[Finding]:
    def differs(row: SubsetCounts) -> bool:
        pairs = zip(_numbers(row.found), _numbers(row.official), strict=True)
        return any(official is not None and official != found for found, official in pairs)

    other = [row.subset for row in rows if row.found.images and differs(row)]
    if not other:
        return []
    what = f"Other counts than published in: {', '.join(other)}."
    cure = "Unpack it again, unless it is a part or another dataset in this layout."
    return [Finding("other_counts", "info", len(other), what, (), cure)]
