"""The literature's protocols of domain generalization: train on several datasets, test on one that none of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from crosscam.data.datasets.readers import join
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.errors import ArgumentError, DataError

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
        raise DataError(f"{dataset.root} has no training images. Leave it out, or give the whole dataset.")
    return replace(dataset, train=tuple(train), query=(), gallery=(), protocol="market1501")
