"""Several data sets as one, with their identities and cameras kept apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.errors import DataError


def join(datasets: Sequence[ReidDataset], name: str = "joined") -> ReidDataset:
    """Put data sets side by side for one training.

    Identities and cameras are numbered anew, data set after data set, in the order of their old numbers; junk,
    distractors and unknown cameras (negative ones) keep theirs. A track's name gets the data set's place in front.

    Args:
        datasets: two or more.
        name: of the result.
    Raises:
        DataError: fewer than two data sets, an image that is in two of them, or two ranking protocols.
    """
    if len(datasets) < 2:
        raise DataError(f"Joining takes at least two data sets, found {len(datasets)}.")
    protocols = sorted({d.protocol for d in datasets})
    if len(protocols) > 1:
        raise DataError(f"The data sets are ranked by different protocols ({', '.join(protocols)}). Join alike ones.")
    subsets: dict[str, list[Sample]] = {"train": [], "query": [], "gallery": []}
    notes: list[str] = []
    first_pid, first_camid, owners = 1, 1, dict[Path, int]()
    for number, dataset in enumerate(datasets, 1):
        pids, camids = _numbers(dataset, first_pid, first_camid)
        for subset, samples in dataset.subsets.items():
            for s in samples:
                if owners.setdefault(s.path, number) != number:
                    raise DataError(f"{s.path} is in data sets {owners[s.path]} and {number}. Join distinct ones.")
                track = None if s.track is None else f"{number}.{s.track}"
                pid, camid = pids.get(s.pid, s.pid), camids.get(s.camid, s.camid)
                subsets[subset].append(replace(s, pid=pid, camid=camid, track=track))
        notes += [f"{dataset.name}: {note}" for note in dataset.notes]
        notes.append(
            f"{dataset.name}: identities {first_pid} to {first_pid + len(pids) - 1}, "
            f"cameras {first_camid} to {first_camid + len(camids) - 1}."
        )
        first_pid, first_camid = first_pid + len(pids), first_camid + len(camids)
    root = Path(os.path.commonpath([d.root.absolute() for d in datasets]))
    train, query, gallery = (tuple(subset) for subset in subsets.values())
    return ReidDataset(name, root, train, query, gallery, datasets[0].protocol, tuple(notes), renumbered=True)


def _numbers(dataset: ReidDataset, first_pid: int, first_camid: int) -> tuple[dict[int, int], dict[int, int]]:
    """New numbers of a data set's identities and cameras, from the given ones on."""
    samples = [s for subset in dataset.subsets.values() for s in subset]
    pids = sorted({s.pid for s in samples if s.pid > DISTRACTOR_PID})
    camids = sorted({s.camid for s in samples if s.camid >= 0})
    return (
        {pid: new for new, pid in enumerate(pids, first_pid)},
        {camid: new for new, camid in enumerate(camids, first_camid)},
    )
