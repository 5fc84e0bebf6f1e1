"""The numbers that the paper prints.

Source: Park & Ham, "Relation Network for Person Re-identification", AAAI 2020: Tables 1 to 4, "One-vs.-rest relation".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosscam.data.doctor import OFFICIAL, counted
from crosscam.data.records import ReidDataset


@dataclass(frozen=True)
class Published:
    """One pair of printed scores, in per cent."""

    mAP: float
    rank1: float


# The columns of Tables 1 and 2; the names are those of crosscam's datasets.
MARKET, LABELED, DETECTED, DUKE = "market1501", "cuhk03-labeled", "cuhk03-detected", "dukemtmc-reid"
COLUMNS = (MARKET, LABELED, DETECTED, DUKE)
Scores = Mapping[str, Published]


def _scores(*pairs: tuple[float, float] | None) -> Scores:
    return {name: Published(*pair) for name, pair in zip(COLUMNS, pairs, strict=True) if pair}


TABLE1: dict[str, Scores] = {
    "svdnet": _scores((62.1, 82.3), (37.8, 40.9), (37.3, 41.5), (56.8, 76.7)),
    "trinet": _scores((69.1, 84.9), None, None, None),
    "hacnn": _scores((75.7, 91.2), (41.0, 44.4), (38.6, 41.7), (63.8, 80.5)),
    "deep-person": _scores((79.5, 92.3), None, None, (64.8, 80.9)),
    "aligned-reid": _scores((79.1, 91.8), None, (59.6, 61.5), (69.7, 82.1)),
    "pcb": _scores((77.3, 92.4), None, (54.2, 61.3), (65.3, 81.9)),
    "pcb-rpp": _scores((81.0, 93.1), None, (57.5, 63.7), (68.5, 82.9)),
    "hpm": _scores((82.7, 94.2), None, (57.5, 63.9), (74.3, 86.6)),
    "mgn": _scores((86.9, 95.7), (67.4, 68.0), (66.0, 66.8), (78.4, 88.7)),
    "rrid-s": _scores((88.0, 94.8), (73.5, 76.6), (69.5, 72.5), (77.1, 89.3)),
    "rrid-f": _scores((88.9, 95.2), (75.6, 77.9), (69.6, 74.4), (78.6, 89.7)),
}


def published_column(data: str) -> str:
    """The column of the paper that a dataset's scores stand beside; Market-1501's for data that it does not have."""
    return data if data in COLUMNS else MARKET


def beside(dataset: ReidDataset) -> str | None:
    """One sentence with the published scores on a dataset, if its test split is whole; None otherwise."""
    official = OFFICIAL.get(dataset.name)
    column = {name: scores[dataset.name] for name, scores in TABLE1.items() if dataset.name in scores}
    if official is None or not column:
        return None
    if any(counted(dataset.subsets[subset]) != official[subset] for subset in ("query", "gallery")):
        return None
    rows = ", ".join(f"{name} {p.mAP:.1f} / {p.rank1:.1f}" for name, p in column.items())
    return f"Published on {dataset.name}, mAP / rank-1 of large networks from ImageNet (Park & Ham, Table 1): {rows}."


TABLE2: dict[str, Scores] = {
    "gf-gap": _scores((74.5, 88.2), (57.0, 60.6), (54.3, 58.4), (62.9, 79.6)),
    "lf-gap": _scores((79.0, 92.3), (65.1, 67.9), (62.4, 65.6), (70.0, 84.0)),
    "gap": _scores((82.9, 92.9), (68.1, 71.4), (63.6, 66.2), (73.5, 85.5)),
    "gmp": _scores((83.7, 93.2), (70.7, 73.9), (64.3, 66.8), (74.8, 86.1)),
    "rm-gmp": _scores((86.7, 94.2), (73.3, 75.8), (67.6, 70.2), (76.3, 88.3)),
    "rm-gap": _scores((85.8, 94.1), (72.6, 75.0), (67.6, 69.6), (75.6, 88.2)),
    "rm-gap+gmp": _scores((86.6, 94.3), (72.9, 75.8), (68.1, 70.3), (76.5, 88.4)),
    "rrid-s": TABLE1["rrid-s"],
    "ext-gmp": _scores((86.7, 94.4), (72.8, 74.6), (67.7, 69.1), (76.1, 87.7)),
    "ext-gap": _scores((86.5, 94.2), (72.5, 74.7), (67.3, 69.9), (76.5, 87.3)),
    "ext-gap+gmp": _scores((86.5, 94.1), (72.8, 75.4), (66.5, 69.9), (76.6, 87.8)),
    "ext-gcp": _scores((87.3, 94.5), (73.0, 75.9), (69.0, 71.6), (77.4, 88.3)),
    "rrid-f": TABLE1["rrid-f"],
    # "The mAP/rank-1 for r_i on Market1501 are 84.5/93.4", compared there with 86.7/94.2.
    "rest-gmp": _scores((84.5, 93.4), None, None, None),
}

# Single local features of one stripe each, top to bottom, on Market-1501.
TABLE3_WITHOUT = tuple(
    Published(*p) for p in ((29.6, 49.4), (46.4, 69.2), (55.3, 77.2), (51.8, 72.7), (49.7, 69.2), (35.5, 53.4))
)
TABLE3_WITH = tuple(
    Published(*p) for p in ((58.7, 82.2), (68.5, 87.1), (73.5, 89.1), (71.9, 87.6), (69.7, 85.4), (55.7, 76.9))
)

# Single global features, on Market-1501.
TABLE4: dict[str, Published] = {
    "rm-gap": Published(81.0, 91.3),
    "rm-gmp": Published(81.9, 92.0),
    "rm-gap+gmp": Published(82.5, 92.6),
    "rrid-s": Published(84.6, 93.4),
}
