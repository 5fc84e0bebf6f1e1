"""The paper's tables with its numbers beside ours, from a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import pids_of, ranked
from crosscam.metrics.intervals import Interval, mean_interval, paired_difference
from crosscam.recipes.choices import RRIDLoss
from crosscam.reproduce import published
from crosscam.reproduce.paper_rows import CLAIMS, TABLE1, TABLE2, Row, skipped_overrides
from crosscam.reproduce.published import Published, published_column
from crosscam.reproduce.study import WHOLE, RowResult, Study
from crosscam.reproduce.table_files import Table, Value, percent, signed, spread


def notes_of(study: Study, rows: Sequence[Row]) -> tuple[str, ...]:
    """Data, budget, protocol, how each row was trained, and what is missing."""
    dataset, column = study.dataset, published_column(study.dataset.name)
    protocol = next((r.values for row in rows for r in study.results(row.name)), None)
    notes = [
        f"Data: {dataset.name}, fingerprint {dataset.fingerprint()}; "
        f"{len(dataset.train):,} training images of {len({s.pid for s in dataset.train}):,} identities.",
        f"Budget of every row: {study.budget}.",
        "Ours: mean over the seeds ± their standard deviation (one seed has none). Brackets are 95 % intervals: "
        "bootstrap over the tested identities and the seeds, paired with the row compared. With few seeds they "
        "understate how much trainings differ.",
    ]
    if protocol:
        notes.append(
            f"{protocol['num_queries']:,} queries counted, {protocol['num_skipped']:,} without a match skipped; "
            f"{protocol['protocol']} protocol, {protocol['ap']}-wise AP, mirror images "
            f"{'included' if protocol['flip'] else 'left out'}, no re-ranking."
        )
    if column != dataset.name:
        notes.append("Published numbers are Market-1501's: other data, ImageNet weights and ResNet-50.")
    notes += _trainings(study, rows)
    notes += _lambdas(rows)
    # Of rows that were trained: another one's system need not take these overrides at all.
    skipped = {row.name: skipped_overrides(row, study.budget) for row in rows if study.results(row.name)}
    if any(skipped.values()):
        stated = "; ".join(f"{name} without {', '.join(found)}" for name, found in skipped.items() if found)
        notes.append(f"Overrides that a row's system does not have were left out: {stated}.")
    missing = [row.name for row in rows if not study.results(row.name)]
    if missing:
        notes.append(f"Not trained yet: {', '.join(missing)}.")
    return tuple(notes)


def _trainings(study: Study, rows: Sequence[Row]) -> list[str]:
    """Backbone, first weights, input and steps of each row, those that are alike together; and what collapsed."""
    alike: dict[str, list[str]] = {}
    collapsed = []
    for row in rows:
        for result in study.results(row.name):
            names = alike.setdefault(str(result.trained), [])
            if row.name not in names:
                names.append(row.name)
            if result.trained.collapsed:
                collapsed.append(f"{row.name} (seed {result.seed})")
    notes = [f"Trained: {how}: {', '.join(names)}." for how, names in alike.items()]
    if collapsed:
        notes.append(
            "Collapsed, the triplet loss within a tenth of what it is where all images are alike: "
            f"{', '.join(collapsed)}. No claim rests on these."
        )
    return notes


def _lambdas(rows: Sequence[Row]) -> list[str]:
    """How the classification is weighed, where rows of Table 2 differ in it."""
    weights = {
        row.name: row.recipe.loss.cross_entropy_weight for row in TABLE2 if isinstance(row.recipe.loss, RRIDLoss)
    }
    shown = {row.name: f"{weights[row.name]:g}" for row in rows if row.name in weights}
    if len(set(shown.values())) < 2:
        return []
    stated = ", ".join(f"{name} {weight}" for name, weight in shown.items())
    return [
        "Cross-entropy weighs the same for each feature of the descriptor in every row of Table 2, whatever its "
        f"number of classifiers; lambda: {stated}."
    ]


@dataclass(frozen=True, eq=False)
class _Scores:
    """Average precision and rank-1 of one feature, (S, Q) each: a row for each seed, NaN where a query is skipped."""

    ap: NDArray[np.float64]
    hit: NDArray[np.float64]
    pids: NDArray[np.int64]

    def mean(self, name: str) -> tuple[float, float]:
        """Mean over the seeds, and their standard deviation (NaN for one)."""
        means = np.nanmean(self.ap if name == "mAP" else self.hit, axis=1)
        return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else float("nan")

    def interval(self, name: str) -> Interval:
        """Interval of the mean."""
        return mean_interval(self.ap if name == "mAP" else self.hit, self.pids)

    def minus(self, other: _Scores, name: str) -> Interval:
        """Interval of the difference of the means."""
        a, b = (self.ap, other.ap) if name == "mAP" else (self.hit, other.hit)
        return paired_difference(a, b, self.pids)


def _scores(study: Study, results: Sequence[RowResult], feature: str = WHOLE) -> _Scores:
    first = np.stack([r.first_match[feature] for r in results])
    hit = np.where(first > 0, first == 1, np.nan).astype(np.float64)
    ap = np.stack([r.average_precision[feature] for r in results])
    return _Scores(ap, hit, pids_of(ranked(study.dataset).query))


def _sound(results: Sequence[RowResult]) -> list[RowResult]:
    """The results that a claim may rest on."""
    return [r for r in results if not r.trained.collapsed]


def score_table(study: Study, name: str, title: str, rows: Sequence[Row], against: str) -> Table:
    """Table 1 or 2: one line a row, compared with the row ``against``."""
    reference = study.results(against)
    base = _scores(study, reference) if reference else None
    column = published_column(study.dataset.name)
    marks = list(rows[0].marks)
    printed = (*(["row", *marks] if marks else ["method"]), "F-dim", "published mAP", "published rank-1")
    measured = ("mAP", "rank-1", f"mAP against {against}", "untrained mAP", "seeds", "input", "numbers", "CPU-min")
    lines = [_score_line(study, row, base, against, column) for row in rows]
    cells, records = tuple(c for c, _ in lines), tuple(r for _, r in lines)
    expendable = ("numbers", "input", "CPU-min", *marks, "F-dim", "untrained mAP", "seeds")
    return Table(name, title, (*printed, *measured), cells, records, notes_of(study, rows), expendable)


def _score_line(
    study: Study, row: Row, base: _Scores | None, against: str, column: str
) -> tuple[tuple[str, ...], dict[str, Value]]:
    results, printed = study.results(row.name), row.published.get(column)
    record: dict[str, Value] = {
        "row": row.name,
        "label": row.label,
        **row.marks,
        "paper_dim": row.dim,
        **_printed(printed),
        "seeds": len(results),
    }
    collapsed = sum(r.trained.collapsed for r in results)
    if collapsed:
        record["collapsed"] = collapsed
    label = f"{row.label} (collapsed: {collapsed} of {len(results)})" if collapsed else row.label
    head = [label, *row.marks.values(), f"{row.dim:,}", *_printed_cells(printed)]
    if not results:
        return (*head, *["–"] * 4, "0", *["–"] * 3), record
    scores, values = _scores(study, results), [r.values for r in results]
    change = scores.minus(base, "mAP") if base is not None and row.name != against else None
    untrained = next((v["untrained"]["mAP"] for v in values if v["untrained"]), None)
    minutes = float(np.mean([v["cpu_seconds"] for v in values])) / 60
    (height, width), dim = values[0]["size"], values[0]["dim"]
    record |= _own(scores) | _change("mAP_change", change)
    record |= {"untrained_mAP": untrained, "dim": dim, "height": height, "width": width}
    record |= {"parameters": values[0]["parameters"], "cpu_minutes": minutes}
    cells = (
        *head,
        spread(*scores.mean("mAP")),
        spread(*scores.mean("rank1")),
        "" if row.name == against else signed(change),
        "–" if untrained is None else percent(untrained),
        str(len(results)),
        f"{height} x {width}",
        f"{dim:,}",
        f"{minutes:.1f}",
    )
    return cells, record


def claims_table(study: Study) -> Table:
    """The differences that the paper argues with, printed and measured."""
    heads = ("claim", "rows", "published mAP", "mAP", "published rank-1", "rank-1", "seeds")
    cells: list[tuple[str, ...]] = []
    records: list[dict[str, Value]] = []
    for claim in CLAIMS:
        better, worse = _sound(study.results(claim.better)), _sound(study.results(claim.worse))
        precision, rank1 = (
            _scores(study, better).minus(_scores(study, worse), name) if better and worse else None
            for name in ("mAP", "rank1")
        )
        seeds, rows = f"{len(better)}, {len(worse)}", f"{claim.better} − {claim.worse}"
        scores = f"+{claim.mAP:.1f}", signed(precision), f"+{claim.rank1:.1f}", signed(rank1)
        cells.append((claim.text, rows, *scores, seeds))
        record: dict[str, Value] = {"claim": claim.text, "better": claim.better, "worse": claim.worse}
        record |= {"published_mAP": claim.mAP / 100, "published_rank1": claim.rank1 / 100}
        record |= {"seeds_better": len(better), "seeds_worse": len(worse)}
        records.append(record | _change("mAP_change", precision) | _change("rank1_change", rank1))
    return Table("claims", "What the paper says helps", heads, tuple(cells), tuple(records))


# Table 3 compares rows that differ in the relation module alone.
WITHOUT_RELATION, WITH_RELATION = "gmp", "rm-gmp"


def table3(study: Study) -> Table:
    """Single local features, one stripe each, without and with the relation module."""
    without, with_ = study.results(WITHOUT_RELATION), study.results(WITH_RELATION)
    heads = ("region", "published w/o RM", "published RM", "w/o RM", "RM", "change of mAP")
    cells, records = [], []
    printed = zip(published.TABLE3_WITHOUT, published.TABLE3_WITH, strict=True)
    for region, (before, after) in enumerate(printed, start=1):
        feature = f"p6.local{region}"
        a = _scores(study, with_, feature) if with_ else None
        b = _scores(study, without, feature) if without else None
        change = a.minus(b, "mAP") if a and b else None
        cells.append((str(region), _pair(before), _pair(after), _both(b), _both(a), signed(change)))
        record: dict[str, Value] = {"region": region}
        record |= _printed(before, "published_without_") | _printed(after, "published_with_")
        record |= _own(b, "without_") | _own(a, "with_") | _change("mAP_change", change)
        records.append(record)
    rows = [row for row in TABLE2 if row.name in (WITHOUT_RELATION, WITH_RELATION)]
    notes = (
        "mAP / rank-1 in per cent; region 1 is the top sixth of the image.",
        f"From one training each (of each seed): rows {WITHOUT_RELATION} and {WITH_RELATION}, which differ in the "
        "relation module alone.",
        *notes_of(study, rows),
    )
    return Table("table3", "Table 3: single local features", heads, tuple(cells), tuple(records), notes)


def table4(study: Study) -> Table:
    """Single global features by their pooling."""
    heads = ("pooling", "published mAP", "published rank-1", "mAP", "rank-1", "mAP against GCP", "seeds")
    names = {"rm-gap": "GAP", "rm-gmp": "GMP", "rm-gap+gmp": "GAP+GMP", "rrid-s": "GCP"}
    reference = study.results("rrid-s")
    base = _scores(study, reference, "p6.global") if reference else None
    cells, records = [], []
    for row, pooling in names.items():
        results, printed = study.results(row), published.TABLE4[row]
        scores = _scores(study, results, "p6.global") if results else None
        change = scores.minus(base, "mAP") if scores and base and row != "rrid-s" else None
        own = [spread(*scores.mean(n)) for n in ("mAP", "rank1")] if scores else ["–", "–"]
        cells.append((pooling, *_printed_cells(printed), *own, signed(change) if change else "", str(len(results))))
        record: dict[str, Value] = {"row": row, "pooling": pooling, **_printed(printed), "seeds": len(results)}
        records.append(record | _own(scores) | _change("mAP_change", change))
    rows = [row for row in TABLE2 if row.name in names]
    notes = ("The 256 numbers of the global feature alone, from the rows with relation module.", *notes_of(study, rows))
    return Table("table4", "Table 4: single global features", heads, tuple(cells), tuple(records), notes)


def tables_of(study: Study, what: str) -> list[Table]:
    """The tables of one command: table1, table2 (with the claims), table3 or table4."""
    if what == "table1":
        return [score_table(study, "table1", "Table 1: the systems", TABLE1, "rrid-f")]
    if what == "table2":
        ablations = score_table(study, "table2", "Table 2: the parts of RRID", TABLE2, "rrid-s")
        return [ablations, claims_table(study)]
    return [table3(study) if what == "table3" else table4(study)]


def _printed(p: Published | None, prefix: str = "published_") -> dict[str, Value]:
    return {f"{prefix}mAP": round(p.mAP / 100, 4), f"{prefix}rank1": round(p.rank1 / 100, 4)} if p else {}


def _printed_cells(p: Published | None) -> tuple[str, str]:
    return (f"{p.mAP:.1f}", f"{p.rank1:.1f}") if p else ("–", "–")


def _own(scores: _Scores | None, prefix: str = "") -> dict[str, Value]:
    record: dict[str, Value] = {}
    if scores is None:
        return record
    for name in ("mAP", "rank1"):
        (mean, spread), interval = scores.mean(name), scores.interval(name)
        record |= {name: mean, f"{name}_sd": None if np.isnan(spread) else spread}
        record |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {f"{prefix}{name}": value for name, value in record.items()}


def _change(name: str, change: Interval | None) -> dict[str, Value]:
    return {name: change.value, f"{name}_low": change.low, f"{name}_high": change.high} if change else {}


def _pair(p: Published) -> str:
    return f"{p.mAP:.1f} / {p.rank1:.1f}"


def _both(scores: _Scores | None) -> str:
    return " / ".join(percent(scores.mean(name)[0]) for name in ("mAP", "rank1")) if scores else "–"
