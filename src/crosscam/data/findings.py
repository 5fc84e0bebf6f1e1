"""What can be wrong with a dataset: one function for each trouble, with its cure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosscam.data import records
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.system.text import counted

NUM_EXAMPLES = 5
# A few people lie, sit or stretch their arms.
SCENE_SHARE = 0.05
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        code: short name, the same in every version.
        severity: an error spoils training or scores, a warning may, an info is good to know.
        count: how many images, identities or queries it concerns.
        what: one sentence.
        examples: a few of them.
        cure: what to do.
    """

    code: str
    severity: Severity
    count: int
    what: str
    examples: tuple[str, ...]
    cure: str


def _some(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(items)[:NUM_EXAMPLES]


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def empty_subsets(dataset: ReidDataset) -> list[Finding]:
    """Subsets without an image."""
    empty = [name for name, samples in dataset.subsets.items() if not samples]
    if not empty:
        return []
    cures = []
    if "train" in empty:
        cures.append("It can be tested, not trained on.")
    if "query" in empty or "gallery" in empty:
        cures.append("It cannot be tested: unpack the rest, or cut a test out with `crosscam data holdout`.")
    return [Finding("empty_subset", "warning", len(empty), f"Empty: {', '.join(empty)}.", (), " ".join(cures))]


def unreadable(faults: dict[Path, str], root: Path) -> list[Finding]:
    """Images that :func:`crosscam.data.images.decode_image` refused; ``faults`` are its messages."""
    if not faults:
        return []
    examples = _some(fault.replace(str(path), _name(path, root)) for path, fault in faults.items())
    what = f"{counted(len(faults), 'image')} cannot be read."
    return [Finding("unreadable", "error", len(faults), what, examples, "Copy them again, or remove them.")]


def scenes(sizes: Mapping[Path, tuple[int, int]], root: Path) -> list[Finding]:
    """Images wider than high, where there are more than a few: whole scenes, and not crops of one person each.

    Args:
        sizes: height and width of each image, in pixels.
        root: what paths are told from.
    """
    wide = [path for path, (height, width) in sizes.items() if width > height]
    if len(wide) < max(1.0, SCENE_SHARE * len(sizes)):
        return []
    what = f"Wider than high: {len(wide):,} of {counted(len(sizes), 'image')}, which looks like whole scenes."
    cure = "Expected one person each: detect people first and cut them out, see docs/extraction.md."
    return [Finding("scenes", "warning", len(wide), what, _some(_name(path, root) for path in wide), cure)]


# Severity, what it is, and what to do.
_DUPLICATES: dict[str, tuple[Severity, str, str]] = {
    "duplicates_between_ids": (
        "error",
        "under several identities",
        "Decide who it is, and remove the other copies.",
    ),
    "duplicates_between_subsets": (
        "warning",
        "in several subsets",
        "Remove the copies from one of them, or the score flatters.",
    ),
    "duplicates_within_subset": (
        "info",
        "several times in one subset",
        "Remove the copies; they only count double.",
    ),
}


def duplicates(dataset: ReidDataset, digests: dict[Path, bytes]) -> list[Finding]:
    """Groups of images with the same bytes, sorted by the worst that is true of each group.

    A query's tracklet may stand in the gallery too, by its dataset's protocol; its files count once.
    """
    groups: dict[bytes, list[tuple[str, Sample]]] = defaultdict(list)
    asked = {s.path for s in dataset.query}
    for name, samples in dataset.subsets.items():
        for s in samples:
            if s.path in digests and not (dataset.tracklets and name == "gallery" and s.path in asked):
                groups[digests[s.path]].append((name, s))
    by_code: dict[str, list[list[tuple[str, Sample]]]] = defaultdict(list)
    for group in groups.values():
        if len(group) < 2:
            continue
        if len({s.pid for _, s in group}) > 1:
            by_code["duplicates_between_ids"].append(group)
        elif len({name for name, _ in group}) > 1:
            by_code["duplicates_between_subsets"].append(group)
        else:
            by_code["duplicates_within_subset"].append(group)
    findings = []
    for code, (severity, text, cure) in _DUPLICATES.items():
        if by_code[code]:
            examples = _some(
                " = ".join(f"{name}: {_name(s.path, dataset.root)}" for name, s in group[:3]) for group in by_code[code]
            )
            count = len(by_code[code])
            findings.append(
                Finding(code, severity, count, f"{counted(count, 'image stands')} {text} (same bytes).", examples, cure)
            )
    return findings


def cameras(dataset: ReidDataset) -> list[Finding]:
    """Cameras that are unknown, or only one."""
    everything = [s for samples in dataset.subsets.values() for s in samples]
    findings = []
    unknown = [s for s in everything if s.camid < 0]
    if unknown:
        findings.append(
            Finding(
                "unknown_cameras",
                "error",
                len(unknown),
                f"{counted(len(unknown), 'image')} with a negative camera number, which means unknown.",
                _some(_name(s.path, dataset.root) for s in unknown),
                "State their cameras: a camid column in a table, or camids=...",
            )
        )
    if len({s.camid for s in everything}) == 1:
        scored = any(s.pid > DISTRACTOR_PID for s in everything)
        what = "One camera took all images, so no query has a match from another camera."
        cure = "State the cameras if there are several; ranking compares across cameras only."
        if not scored:
            what = "One camera took all images, as far as can be told."
            cure = "If there are several, put the images of each into a folder of its own, or tell them by --camids."
        findings.append(Finding("one_camera", "warning", len(everything), what, (), cure))
    return findings


def shared_ids(dataset: ReidDataset) -> list[Finding]:
    """Identities that are trained on and tested."""
    train = {s.pid for s in dataset.train} - {JUNK_PID, DISTRACTOR_PID}
    shared = sorted(train & {s.pid for s in (*dataset.query, *dataset.gallery)})
    if not shared:
        return []
    what = f"{counted(len(shared), 'identity')} both trained on and tested."
    cure = "Give tested people other numbers if they are others; else keep them out of training."
    return [Finding("shared_ids", "warning", len(shared), what, _some(f"pid {pid}" for pid in shared), cure)]


def single_image_ids(dataset: ReidDataset) -> list[Finding]:
    """Training identities with one image, and training on one identity."""
    images: dict[int, int] = defaultdict(int)
    for s in dataset.train:
        images[s.pid] += 1
    single = sorted(pid for pid, count in images.items() if count == 1)
    findings = []
    if single:
        what = f"{counted(len(single), 'training identity')} with one image only."
        cure = "Their image is repeated in training; add images of them, or remove them."
        examples = _some(f"pid {pid}" for pid in single)
        findings.append(Finding("single_image_ids", "warning", len(single), what, examples, cure))
    if len(images) == 1:
        what = "There is one training identity only."
        cure = "Training compares people: it needs at least two."
        findings.append(Finding("one_identity", "error", 1, what, (), cure))
    return findings


def unmatched_queries(dataset: ReidDataset) -> list[Finding]:
    """Queries that ranking skips: see :func:`crosscam.data.records.unmatched_queries`."""
    unmatched = records.unmatched_queries(dataset) if dataset.gallery else []
    if not unmatched:
        return []
    what = f"{len(unmatched):,} of {counted(len(dataset.query), 'query')} without a match from another camera."
    unnamed = sum(s.pid in (JUNK_PID, DISTRACTOR_PID) for s in unmatched)
    if unnamed:
        what += f" {unnamed:,} of them have pid -1 (junk) or 0 (distractor), which never match."
    cure = "Ranking skips and counts them; add gallery images of them, or remove them from the query."
    examples = _some(_name(s.path, dataset.root) for s in unmatched)
    severity: Severity = "error" if len(unmatched) == len(dataset.query) else "warning"
    return [Finding("unmatched_queries", severity, len(unmatched), what, examples, cure)]
