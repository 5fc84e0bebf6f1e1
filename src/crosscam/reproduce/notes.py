"""What stands below a table: on which data, by which budget and protocol, and how each row was trained."""

from __future__ import annotations

from collections.abc import Sequence

from crosscam.recipes.choices import RRIDLoss
from crosscam.reproduce.published import published_column
from crosscam.reproduce.rows import TABLE2, Row
from crosscam.reproduce.study import Study


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
    skipped = {row.name: study.skipped(row) for row in rows if study.results(row.name)}
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
