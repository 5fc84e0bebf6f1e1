"""Networks of a study on people and cameras of another dataset, which they never saw.

VIPeR is scored in both of its ways: all 632 identities at once, and the mean over its ten random halves of 316.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from crosscam.data.datasets.readers import read_dataset, recognize
from crosscam.data.records import ReidDataset, pids_of, ranked
from crosscam.errors import CheckpointError, DataError
from crosscam.experiments.scoring import TestImages
from crosscam.experiments.split_scores import all_splits, score_splits
from crosscam.inference.describing import load_model
from crosscam.metrics.intervals import mean_interval
from crosscam.metrics.ranking import RankingResult
from crosscam.recipes.checkpoint import load_recipe
from crosscam.reproduce.paper_rows import Row
from crosscam.reproduce.study import IMAGES, Study, image_digests, one_digest, read_arrays, read_json, save_arrays
from crosscam.reproduce.table_files import Table, Value, percent, spread
from crosscam.system.cores import best_device
from crosscam.system.files import write_atomically
from crosscam.system.locks import held

HALVES = 10
ALL, HALF = "all", "halves"


def read_exam(path: Path) -> dict[str, list[ReidDataset]]:
    """The rankings of an exam: one under ``"all"`` and, for VIPeR, ten under ``"halves"``; DataError for none."""
    found = recognize(path)
    if found and found[0] == "viper":
        halves = [read_dataset(path, split=split) for split in range(HALVES)]
        return {ALL: [read_dataset(path, protocol="all")], HALF: halves}
    dataset = read_dataset(path)
    if not dataset.query or not dataset.gallery:
        raise DataError(f"{path} has no query or no gallery to examine with. 'crosscam data holdout' cuts them out.")
    return {ALL: [dataset]}


def examine(study: Study, rows: Sequence[Row], exam: dict[str, list[ReidDataset]], say: Callable[[str], None]) -> None:
    """Score every trained network of these rows; what is there is left, and CheckpointError if of other images."""
    images = one_digest(image_digests(exam[ALL][0]))
    for row in rows:
        for result in study.results(row.name):
            folder = study.run_folder(row.name, result.seed)
            path = _path(folder, exam)
            with held(folder / "lock", wait=True):
                if not path.exists():
                    say(f"{row.name}, seed {result.seed}")
                    _examine_one(folder, path, exam, images)
                elif read_json(path).get(IMAGES, images) != images:  # earlier versions did not keep it
                    raise CheckpointError(
                        f"{path} was made with other images of these names. Remove it; it is made again."
                    )


def _path(folder: Path, exam: dict[str, list[ReidDataset]]) -> Path:
    whole = exam[ALL][0]
    return folder / f"exam-{whole.name}-{whole.fingerprint()}.json"


def _examine_one(folder: Path, path: Path, exam: dict[str, list[ReidDataset]], images: str) -> None:
    recipe = load_recipe(folder)
    model = load_model(folder, recipe).to(best_device())
    datasets = [dataset for some in exam.values() for dataset in some]
    test = TestImages(all_splits(datasets), recipe)
    found = iter(score_splits(test, model, test.score(model), datasets, ()))
    scores = {name: [next(found).result for _ in some] for name, some in exam.items()}
    whole = scores[ALL][0]
    arrays = {"ap": whole.average_precision, "first": whole.first_match}
    write_atomically(path.with_suffix(".npz"), partial(save_arrays, arrays))
    values = {name: [_scores(r) for r in results] for name, results in scores.items()}
    write_atomically(path, json.dumps({**values, IMAGES: images}, indent=2) + "\n")


def _scores(result: RankingResult) -> dict[str, float]:
    return {"mAP": result.mAP, "rank1": result.rank1, "rank5": result.rank5, "rank10": result.rank10}


def transfer_table(study: Study, rows: Sequence[Row], exam: dict[str, list[ReidDataset]]) -> Table:
    """One line a row: its scores on the other dataset, mean over the seeds."""
    whole = exam[ALL][0]
    heads = ["row", "mAP", "rank-1", "rank-1, 95 % interval", "rank-5", "rank-10"]
    heads += [f"mAP, {HALVES} halves", f"rank-1, {HALVES} halves"] if HALF in exam else []
    lines = [_line(study, row, exam) for row in rows]
    found = [line for line in lines if line is not None]
    notes = [
        f"{whole.name}, fingerprint {whole.fingerprint()}: {len(whole.query):,} queries, {len(whole.gallery):,} "
        f"gallery images, never trained on. The networks are those of {study.dataset.name}; budget: {study.budget}.",
        "Mean over the seeds ± their standard deviation; the interval is a bootstrap over identities and seeds.",
    ]
    if HALF in exam:
        notes.append(f"Halves: mean over the test people of {HALVES} random halves (316 of 632), then over the seeds.")
    title = f"{whole.name}: networks that never saw it"
    cells = tuple(cells for cells, _ in found)
    records, expendable = tuple(r for _, r in found), ("rank-10", "rank-5", "seeds")
    return Table(f"transfer-{whole.name}", title, (*heads, "seeds"), cells, records, tuple(notes), expendable)


def _line(
    study: Study, row: Row, exam: dict[str, list[ReidDataset]]
) -> tuple[tuple[str, ...], dict[str, Value]] | None:
    done = [(r, _path(study.run_folder(row.name, r.seed), exam)) for r in study.results(row.name)]
    paths = [path for _, path in done if path.exists()]
    if not paths:
        return None
    values = [read_json(path) for path in paths]
    pids = pids_of(ranked(exam[ALL][0]).query)
    first = np.stack([read_arrays(path.with_suffix(".npz"), path)["first"] for path in paths])
    interval = mean_interval(np.where(first > 0, first == 1, np.nan).astype(np.float64), pids)
    record: dict[str, Value] = {"row": row.name, "seeds": len(paths)}
    cells = [row.name]
    for name in ("mAP", "rank1", "rank5", "rank10"):
        mean, deviation = _mean([v[ALL][0][name] for v in values])
        record |= {name: mean, f"{name}_sd": None if np.isnan(deviation) else deviation}
        cells.append(spread(mean, deviation))
        if name == "rank1":
            record |= {"rank1_low": interval.low, "rank1_high": interval.high}
            cells.append(f"[{percent(interval.low)}, {percent(interval.high)}]")
    for name in ("mAP", "rank1") if HALF in exam else ():
        mean, deviation = _mean([float(np.mean([half[name] for half in v[HALF]])) for v in values])
        record |= {f"{HALF}_{name}": mean}
        cells.append(spread(mean, deviation))
    return (*cells, str(len(paths))), record


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
