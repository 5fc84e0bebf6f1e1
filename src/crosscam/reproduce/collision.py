"""The paper's claim, tested on purpose: do the relation module and GCP help more, the more people share a garment?

Drawn people make this a dial: the share of them who wear exactly the same upper or lower garment as others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import pids_of
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.metrics.intervals import Interval, mean_interval, paired_difference
from crosscam.report.curves import Series, line_chart
from crosscam.report.shell import fragment
from crosscam.reproduce.paper_rows import ROWS, Budget
from crosscam.reproduce.study import Study
from crosscam.reproduce.table_files import Table, Value, percent, signed
from crosscam.system.files import folder_in_place, make_folder
from crosscam.system.locks import held
from crosscam.system.text import counted
from crosscam.training.callbacks import Listeners

DIALS = (0.0, 0.25, 0.5, 0.75)
WITHOUT, WITH = "gmp", "rm-gmp"
POOLINGS = {"rm-gap": "GAP", "rm-gmp": "GMP", "rm-gap+gmp": "GAP+GMP", "rrid-s": "GCP"}
ROW_NAMES = (WITHOUT, *POOLINGS)
STRIPES = tuple(f"p6.local{i}" for i in range(1, 7))
LARGEST_GROUP = 8
# Two draws of people share no identity: their pids are kept apart by this.
PID_STEP = 100_000


@dataclass(frozen=True)
class Collision:
    """What is drawn and trained: identities of each dataset, a third for testing; draws at each dial; the budget."""

    ids: int
    draws: int
    budget: Budget


def fill(
    folder: Path, plan: Collision, listen: Callable[[str], Listeners | None] | None = None
) -> dict[float, list[Study]]:
    """Draw, train and score what is missing: for each dial its studies, one a draw."""
    studies: dict[float, list[Study]] = {dial: [] for dial in DIALS}
    for draw in range(plan.draws):
        for dial in DIALS:
            place = folder / f"collide{dial:g}" / f"draw{draw}"
            study = Study(place / "study", read_dataset(_people(place, plan, dial, draw)), plan.budget)
            study.fill([ROWS[name] for name in ROW_NAMES], 1, listen)
            studies[dial].append(study)
    return studies


def _people(place: Path, plan: Collision, dial: float, draw: int) -> Path:
    """The drawn dataset; half a one, left by a kill, is drawn again."""
    data = place / "people"
    make_folder(place)
    # Another process of the same study draws the same people: they are waited for.
    with held(place / "people.lock", wait=True):
        if not data.exists():
            with folder_in_place(data) as part:
                render_dataset(
                    part,
                    ids=plan.ids,
                    cameras=4,
                    images=3,
                    collide=dial,
                    seed=draw,
                    test_share=1 / 3,
                    group=LARGEST_GROUP,
                )
    return data


@dataclass(frozen=True, eq=False)
class _Feature:
    """Average precision of one feature, (1, N) over the queries of all draws, and their identities (N,)."""

    ap: NDArray[np.float64]
    pids: NDArray[np.int64]


def _feature(studies: Sequence[Study], row: str, names: Sequence[str]) -> _Feature:
    """The mean over some features, query by query."""
    ap, pids = [], []
    for draw, study in enumerate(studies):
        result = study.result(row, 0)
        assert result is not None
        ap.append(np.mean([result.average_precision[name] for name in names], axis=0))
        pids.append(pids_of(study.dataset.query) + PID_STEP * draw)
    return _Feature(np.concatenate(ap)[None], np.concatenate(pids))


Lines = dict[str, tuple[Interval, ...]]


def growth(gaps: Sequence[Interval]) -> Interval:
    """Gap at the last dial less that at the first; the two are of different people, so their errors add."""
    first, last = gaps[0], gaps[-1]
    error = 1.96 * math.hypot(*((v.high - v.low) / 3.92 for v in (first, last)))
    value = last.value - first.value
    return Interval(value, value - error, value + error)


def measure(studies: dict[float, list[Study]]) -> tuple[Lines, Lines]:
    """Scores of each feature at each dial, and the paired differences between features."""
    kinds = {"one stripe": STRIPES, "all stripes": ("all-local",)}
    wanted = {
        f"{kind}, {'with' if row == WITH else 'without'} RM": (row, names)
        for kind, names in kinds.items()
        for row in (WITHOUT, WITH)
    }
    wanted |= {pooling: (row, ("p6.global",)) for row, pooling in POOLINGS.items()}
    found = {name: [_feature(studies[dial], row, names) for dial in DIALS] for name, (row, names) in wanted.items()}
    lines = {name: tuple(mean_interval(f.ap, f.pids) for f in features) for name, features in found.items()}
    pairs = {f"relation module, {kind}": (f"{kind}, with RM", f"{kind}, without RM") for kind in kinds}
    pairs |= {f"GCP against {other}": ("GCP", other) for other in ("GAP", "GMP", "GAP+GMP")}
    gaps = {
        name: tuple(paired_difference(a.ap, b.ap, a.pids) for a, b in zip(found[x], found[y], strict=True))
        for name, (x, y) in pairs.items()
    }
    return lines, gaps


def collision_tables(studies: dict[float, list[Study]], plan: Collision) -> list[Table]:
    """The scores at each dial, and the gaps with how they grow."""
    lines, gaps = measure(studies)
    dials = [f"{dial:g}" for dial in DIALS]
    notes = (
        f"mAP in per cent of single features, with 95 % intervals; {counted(plan.draws, 'draw')} of {plan.ids} "
        f"people at each dial, a third of them tested, one training of each row on each; groups of 2 to "
        f"{LARGEST_GROUP} share a garment.",
        f"Budget of every row: {plan.budget}.",
        "One stripe: mean over the six local features, each ranking alone. All stripes: the six side by side. GAP, "
        "GMP, GAP+GMP, GCP: the global feature alone, of rows with relation module.",
        "Intervals: bootstrap over the identities of all draws; differences are paired.",
    )
    scores = Table(
        "collision",
        "Shared garments: single features",
        ("feature", *(f"collide {dial}" for dial in dials)),
        tuple(
            (name, *(f"{percent(v.value)} [{percent(v.low)}, {percent(v.high)}]" for v in values))
            for name, values in lines.items()
        ),
        tuple({"feature": name, **_record(dials, values)} for name, values in lines.items()),
        notes,
    )
    return [_gap_table(gaps, dials), scores]


def _gap_table(gaps: Lines, dials: Sequence[str]) -> Table:
    growths = f"growth from {dials[0]} to {dials[-1]}"
    heads = ("difference of mAP", *(f"collide {dial}" for dial in dials), growths, "verdict")
    cells, records = [], []
    for name, values in gaps.items():
        grown = growth(values)
        said = verdict(grown)
        cells.append((name, *map(signed, values), signed(grown), said))
        ends = {"growth": grown.value, "growth_low": grown.low, "growth_high": grown.high}
        records.append({"difference": name, "verdict": said, **_record(dials, values), **ends})
    title = "Shared garments: what the relation module and GCP bring"
    return Table("collision-gaps", title, heads, tuple(cells), tuple(records))


def verdict(growth: Interval) -> str:
    """Whether a gap grows with the dial, in words."""
    return "grows" if growth.low > 0 else "shrinks" if growth.high < 0 else "no change beyond chance"


def collision_charts(studies: dict[float, list[Study]]) -> Markup:
    """The lines of both arguments with error bars, as HTML."""
    lines = list(measure(studies)[0].items())
    charts, shares = [], [100 * dial for dial in DIALS]
    for title, chosen in (
        ("Local features: without and with the relation module", lines[:4]),
        ("Global features by pooling", lines[4:]),
    ):
        series = [
            Series(name, shares, [100 * v.value for v in values], [(100 * v.low, 100 * v.high) for v in values])
            for name, values in chosen
        ]
        charts.append(line_chart(series, title=title, x_label="people who share a garment, %", y_label="mAP, %"))
    return fragment("report.html", "charts", charts=charts)


def _record(dials: Sequence[str], values: Sequence[Interval]) -> dict[str, Value]:
    record: dict[str, Value] = {}
    for dial, v in zip(dials, values, strict=True):
        record |= {f"collide_{dial}": v.value, f"collide_{dial}_low": v.low, f"collide_{dial}_high": v.high}
    return record
