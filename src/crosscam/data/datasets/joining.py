"""Several datasets as one, and the protocols of domain generalization: train on several, test on another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosscam.data.records import DISTRACTOR_PID, RANKED_BY_TRACKLETS, ReidDataset, Sample
from crosscam.data.walk import copies_between, file_key
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted


def join(datasets: Sequence[ReidDataset], name: str = "joined") -> ReidDataset:
    """Put datasets side by side for one training.

    Identities and cameras are numbered anew, dataset after dataset, in the order of their old numbers; junk,
    distractors and unknown cameras (negative ones) keep theirs. A track's name gets the dataset's place in front.

    Args:
        datasets: two or more.
        name: of the result.
    Raises:
        DataError: fewer than two datasets, an image that is in two of them, or two ranking protocols.
    """
    if len(datasets) < 2:
        raise DataError(f"Joining takes at least two datasets, found {len(datasets)}.")
    protocols = sorted({d.protocol for d in datasets})
    if len(protocols) > 1:
        raise DataError(f"The datasets are ranked by different protocols ({', '.join(protocols)}). Join alike ones.")
    tracklets = {d.tracklets for d in datasets if d.query or d.gallery} == {True}
    subsets: dict[str, list[Sample]] = {"train": [], "query": [], "gallery": []}
    notes: list[str] = []
    first_pid, first_camid, owners = 1, 1, dict[object, int]()
    for number, dataset in enumerate(datasets, 1):
        pids, camids = _numbers(dataset, first_pid, first_camid)
        for subset, samples in dataset.subsets.items():
            for s in samples:
                owner = owners.setdefault(file_key(s.path), number)
                if owner != number:
                    raise DataError(f"{s.path} is in datasets {owner} and {number}. Join distinct ones.")
                track = None if s.track is None else f"{number}.{s.track}"
                pid, camid = pids.get(s.pid, s.pid), camids.get(s.camid, s.camid)
                subsets[subset].append(replace(s, pid=pid, camid=camid, track=track))
        untrue = () if tracklets else RANKED_BY_TRACKLETS
        notes += [f"{dataset.name}: {note}" for note in dataset.notes if not note.startswith(untrue)]
        notes.append(
            f"{dataset.name}: identities {first_pid} to {first_pid + len(pids) - 1}, "
            f"cameras {first_camid} to {first_camid + len(camids) - 1}."
        )
        first_pid, first_camid = first_pid + len(pids), first_camid + len(camids)
    notes += _copies(datasets)
    root = Path(os.path.commonpath([d.root.absolute() for d in datasets]))
    train, query, gallery = (tuple(subset) for subset in subsets.values())
    return ReidDataset(name, root, train, query, gallery, protocols[0], tuple(notes), True, tracklets)


def _numbers(dataset: ReidDataset, first_pid: int, first_camid: int) -> tuple[dict[int, int], dict[int, int]]:
    """New numbers of a dataset's identities and cameras, from the given ones on."""
    samples = [s for subset in dataset.subsets.values() for s in subset]
    pids = sorted({s.pid for s in samples if s.pid > DISTRACTOR_PID})
    camids = sorted({s.camid for s in samples if s.camid >= 0})
    return {p: new for new, p in enumerate(pids, first_pid)}, {c: new for new, c in enumerate(camids, first_camid)}


SMALL = ("viper", "prid2011", "grid", "ilids")


@dataclass(frozen=True)
class Generalization:
    """One protocol.

    Attributes:
        paper: who published it.
        kinds: datasets that train, as the readers name them; without the tested one, where it is among them.
        tested: datasets of which one is tested; several in turn.
        whole: whether query and gallery of the sources train too.
    """

    paper: str
    kinds: tuple[str, ...]
    tested: tuple[str, ...]
    whole: bool = False


_FOUR = ("market1501", "dukemtmc-reid", "cuhk03", "msmt17")
_THREE = ("market1501", "cuhk03", "msmt17")
_SMALL_SOURCES = ("market1501", "cuhk02", "cuhk03", "cuhk-sysu")
PROTOCOLS: dict[str, Generalization] = {
    "dimn": Generalization("Song et al., CVPR 2019", ("dukemtmc-reid", *_SMALL_SOURCES), SMALL, whole=True),
    "m3l": Generalization("Zhao et al., CVPR 2021", _FOUR, _FOUR),
    "protocol-1": Generalization("Xu et al., ECCV 2022", _SMALL_SOURCES, SMALL, whole=True),
    "protocol-2": Generalization("Xu et al., ECCV 2022", (*_THREE, "cuhk-sysu"), _THREE),
    "protocol-3": Generalization("Xu et al., ECCV 2022", (*_THREE, "cuhk-sysu"), _THREE, whole=True),
}


def generalize(name: str, test: str, datasets: Mapping[str, ReidDataset]) -> ReidDataset:
    """The training and the test of a protocol as one dataset; its identities and cameras are numbered anew.

    Args:
        name: of the protocol.
        test: kind of the tested dataset.
        datasets: by their kinds; all that the protocol names, the tested one among them.
    Raises:
        ArgumentError: no such protocol, or one that does not test this dataset.
        DataError: datasets that are missing, or that the protocol does not name.
    """
    protocol = _protocol(name, test)
    sources = [kind for kind in protocol.kinds if kind != test]
    missing = [kind for kind in (*sources, test) if kind not in datasets]
    others = [kind for kind in datasets if kind not in (*sources, test)]
    if missing or others:
        what = f"{', '.join(missing)} is missing" if missing else f"{', '.join(others)} takes no part in it"
        raise DataError(f"{name} with test {test} joins {', '.join(sources)} and {test}: {what}. Give these folders.")
    parts = [_source(datasets[kind], protocol.whole) for kind in sources]
    joined = join([*parts, replace(datasets[test], train=())], f"{name}-{test}")
    how = "all their images" if protocol.whole else "their training images"
    note = f"{name} ({protocol.paper}): {how} of {', '.join(sources)} train, {test} is tested."
    return replace(joined, notes=(*joined.notes, note))


def _protocol(name: str, test: str) -> Generalization:
    if name not in PROTOCOLS:
        raise ArgumentError(f"Unknown protocol of generalization {name!r}. Expected one of {', '.join(PROTOCOLS)}.")
    if test not in PROTOCOLS[name].tested:
        raise ArgumentError(f"{name} tests {', '.join(PROTOCOLS[name].tested)}, not {test!r}.")
    return PROTOCOLS[name]


def _source(dataset: ReidDataset, whole: bool) -> ReidDataset:
    """What trains of a dataset, in the ranking protocol that all have; single-shot tests do not matter here."""
    tested: Sequence[Sample] = (*dataset.query, *dataset.gallery) if whole else ()
    train = dict.fromkeys((*dataset.train, *(s for s in tested if s.pid > DISTRACTOR_PID)))
    if not train:
        raise DataError(f"{dataset.place} has no training images. Leave it out, or give the whole dataset.")
    return replace(dataset, train=tuple(train), query=(), gallery=(), protocol="market1501")


def _copies(datasets: Sequence[ReidDataset]) -> list[str]:
    """A note where datasets have images with the same bytes."""
    copies = copies_between([[s.path for some in d.subsets.values() for s in some] for d in datasets])
    if not copies:
        return []
    return [
        f"warning: {counted(len(copies), 'image')} with the same bytes as images of another dataset, such as "
        f"{copies[0][1]} and {copies[0][0]}. They stay, as images of two people; leave one of the datasets out."
    ]
