"""A study: a folder in which rows are trained and scored, seed by seed; what is there is never made again.

``STUDY/study.json`` says on which data and at which scale; ``STUDY/ROW/seedN`` is an ordinary run folder with
``queries.npz`` (average precision and rank of the first match, query by query) and, written last, ``result.json``. A
study goes on where it was stopped, and several processes may work on one: a lock holds each row while it is made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import ReidDataset, ranking_labels
from crosscam.errors import ArgumentError, CheckpointError
from crosscam.experiments.experiment import untrained_model
from crosscam.experiments.scoring import TestImages
from crosscam.inference.describing import load_model
from crosscam.metrics.ranking import RankingResult, evaluate_descriptors
from crosscam.models.output import Layout
from crosscam.models.systems import layout_of
from crosscam.recipes.checkpoint import check_same_training, load_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.reproduce.paper_rows import Budget, Row, check_overrides, recipe_of
from crosscam.retrieval.distances import unit_rows
from crosscam.system.cores import best_device
from crosscam.system.files import make_folder, write_atomically
from crosscam.system.locks import held, only_writer
from crosscam.system.text import parse_json, reason_of
from crosscam.training.callbacks import METRICS, Listeners, read_history
from crosscam.training.learned import learned_from
from crosscam.training.trained_on import Digests, digests_of
from crosscam.training.trainer import train

STUDY, RESULT, QUERIES, LOCK = "study.json", "result.json", "queries.npz", "lock"
# A digest of all images, in study.json.
IMAGES = "images"
WHOLE = "whole"
COLLAPSE_SHARE = 0.1


@dataclass(frozen=True)
class Trained:
    """What stands beside a published number.

    Attributes:
        start, size, steps: backbone and first weights; height and width of the input; optimizer steps.
        collapsed: whether the last epoch's triplet loss is within a tenth of what it is where all images are alike.
    """

    start: str
    size: tuple[int, int]
    steps: int
    collapsed: bool

    def __str__(self) -> str:
        return f"{self.start}, {self.size[0]} x {self.size[1]}, {self.steps:,} steps"


@dataclass(frozen=True, eq=False)
class RowResult:
    """One row, one seed, scored.

    Attributes:
        values: what ``result.json`` holds.
        average_precision: (Q,) for each name: ``"whole"`` and those of :func:`features_of`; NaN if skipped.
        first_match: (Q,) likewise, rank of the first match, 0 if skipped.
    """

    row: str
    seed: int
    values: dict[str, Any]
    average_precision: dict[str, NDArray[np.float64]]
    first_match: dict[str, NDArray[np.int64]]
    trained: Trained


class Study:
    """The folder of a study, made by :meth:`fill`; CheckpointError if it is of other data or another budget."""

    def __init__(self, folder: Path, dataset: ReidDataset, budget: Budget) -> None:
        self.folder, self.dataset, self.budget = folder, dataset, budget
        wanted = {"data": dataset.name, "fingerprint": dataset.fingerprint(), **asdict(budget)}
        self._text = json.dumps(wanted, indent=2) + "\n"
        self._check()

    def _check(self) -> None:
        """Refuse a folder of another study."""
        if not (self.folder / STUDY).exists():
            return
        found = read_json(self.folder / STUDY)
        for name, value in json.loads(self._text).items():
            if found.get(name) != value:
                raise CheckpointError(
                    f"{self.folder} holds a study with {name}={found.get(name)}, now {name}={value}. "
                    "Go on with the same settings, or choose another folder with --out."
                )

    @cached_property
    def _digests(self) -> Digests:
        return image_digests(self.dataset)

    def _begin(self) -> None:
        """Write down what the folder is for; another process may have done so meanwhile."""
        path, images = self.folder / STUDY, one_digest(self._digests)
        if not path.exists():
            make_folder(self.folder)
            with held(self.folder / LOCK, wait=True, remove=True):
                if not path.exists():
                    write_atomically(path, json.dumps({**json.loads(self._text), IMAGES: images}, indent=2) + "\n")
        self._check()
        # Earlier versions did not keep it.
        if read_json(path).get(IMAGES, images) != images:
            raise CheckpointError(
                f"{self.folder} holds a study of other images of these names: some files of {self.dataset.place} "
                "changed since it began. Go on with the same images, or choose another folder with --out."
            )

    def _learned(self, recipe: Recipe) -> dict[str, str]:
        return learned_from(recipe, self.dataset, self._digests[: len(self.dataset.train)])

    def run_folder(self, row: str, seed: int) -> Path:
        """The run folder of a row and seed."""
        return self.folder / row / f"seed{seed}"

    def fill(self, rows: Sequence[Row], seeds: int, listen: Callable[[str], Listeners | None] | None = None) -> None:
        """Train and score what is missing, all rows of a seed before the next; ``listen`` makes listeners from a name.

        What another process is making is left to it, and waited for at the end.
        """
        check_overrides(rows, self.budget)
        # Not before: settings that are refused must not bind the folder.
        self._begin()
        wanted = [(row, seed) for seed in range(seeds) for row in rows]
        busy = [(row, seed) for row, seed in wanted if not self._make(row, seed, listen, wait=False)]
        for row, seed in busy:
            self._make(row, seed, listen, wait=True)

    def _make(self, row: Row, seed: int, listen: Callable[[str], Listeners | None] | None, *, wait: bool) -> bool:
        """Make one result if it is not there; whether it is there now."""
        folder = self.run_folder(row.name, seed)
        recipe = recipe_of(row, self.budget, seed)
        if (folder / RESULT).exists():
            check_same_training(folder, recipe, self.dataset.fingerprint(), lambda: self._learned(recipe))
            return True
        make_folder(folder)
        with held(folder / LOCK, wait=wait) as mine:
            if not mine:
                return False
            if not (folder / RESULT).exists():
                listeners = listen(f"{row.name}, seed {seed}") if listen else None
                with only_writer(folder, folder=True):
                    train(recipe, self.dataset, folder, resume=True, listeners=listeners)
                    score_run(folder, recipe, self.dataset, with_untrained=seed == 0)
        return True

    def result(self, row: str, seed: int) -> RowResult | None:
        """A finished result; None if there is none."""
        folder = self.run_folder(row, seed)
        if not (folder / RESULT).exists():
            return None
        values = read_json(folder / RESULT)
        arrays = read_arrays(folder / QUERIES, folder / RESULT)
        names = [n.removeprefix("ap/") for n in arrays if n.startswith("ap/")]
        precision = {n: arrays[f"ap/{n}"] for n in names}
        first = {n: arrays[f"first/{n}"] for n in names}
        if WHOLE not in names or not isinstance(values.get("blocks"), dict):
            raise CheckpointError(f"{folder / RESULT} is not whole. Remove it; it is made again.")
        # Those of one block are not scored block by block.
        num_blocks = max(1, sum(not name.startswith("all-") for name in values["blocks"]))
        return RowResult(row, seed, values, precision, first, trained_of(folder, num_blocks))

    def results(self, row: str) -> list[RowResult]:
        """All finished results of a row, by seed."""
        names = [p.parent.name.removeprefix("seed") for p in (self.folder / row).glob(f"seed*/{RESULT}")]
        # A copy such as "seed0 (old)" is none of ours.
        found = sorted(int(name) for name in names if re.fullmatch("[0-9]{1,9}", name))
        results = (self.result(row, seed) for seed in found)
        return [r for r in results if r is not None]


def image_digests(dataset: ReidDataset) -> Digests:
    """(N,) digests of the files of the training, query and gallery images."""
    return digests_of([s.path for samples in dataset.subsets.values() for s in samples])


def one_digest(digests: Digests) -> str:
    """Sixteen hexadecimal digits that change with any of the digests."""
    return hashlib.sha256(digests.tobytes()).hexdigest()[:16]


def trained_of(folder: Path, num_blocks: int) -> Trained:
    """What the training of a run folder was, from its recipe and history; ``num_blocks`` of the descriptor."""
    recipe, last = load_recipe(folder), last_epoch(folder)
    backbone = getattr(recipe.model, "backbone", f"{recipe.model.system}'s own network")
    first = recipe.train.start or getattr(recipe.model, "pretrained", None)
    start = f"{backbone} from {f'weights of {first}' if first else 'random weights'}"
    expected = recipe.loss.collapsed_triplet(num_blocks)
    collapsed = expected is not None and abs(last["triplet"] - expected) <= COLLAPSE_SHARE * expected
    return Trained(start, (recipe.data.height, recipe.data.width), int(last["step"]), collapsed)


def score_run(folder: Path, recipe: Recipe, dataset: ReidDataset, *, with_untrained: bool) -> None:
    """Score a trained run folder by its whole descriptor and each block alone, and perhaps the untrained network."""
    device = best_device()
    model = load_model(folder, recipe).to(device)
    layout = layout_of(model)
    test = TestImages(dataset, recipe)
    scored = test.score(model)
    results: dict[str, RankingResult] = {WHOLE: scored.result}
    if len(layout) > 1:
        for name, columns in features_of(layout).items():
            query, gallery = (unit_rows(x[:, columns]) for x in (scored.query, scored.gallery))
            results[name] = evaluate_descriptors(
                query, gallery, *ranking_labels(dataset), ap=recipe.evaluation.ap, protocol=dataset.protocol
            )
    values = {
        **scored.to_dict(),
        "dim": layout[-1].stop,
        "parameters": sum(p.numel() for p in model.parameters()),
        "blocks": {name: {"mAP": r.mAP, "rank1": r.rank1} for name, r in results.items() if name != WHOLE},
        "untrained": _untrained(test, recipe, dataset, device) if with_untrained else None,
        "recipe": recipe.name,
        "seed": recipe.train.seed,
        "size": [recipe.data.height, recipe.data.width],
        "epochs": recipe.train.epochs,
        "cpu_seconds": last_epoch(folder)["cpu_seconds"],
    }
    arrays: dict[str, NDArray[Any]] = {f"ap/{name}": r.average_precision for name, r in results.items()}
    arrays |= {f"first/{name}": r.first_match for name, r in results.items()}
    write_atomically(folder / QUERIES, partial(save_arrays, arrays))
    write_atomically(folder / RESULT, json.dumps(values, indent=2) + "\n")


def last_epoch(folder: Path) -> dict[str, float]:
    """What a training wrote down of its last epoch; CheckpointError if that is not all of it."""
    history = read_history(folder)
    if not history or not {"step", "triplet", "cpu_seconds"} <= set(history[-1]):
        raise CheckpointError(
            f"{folder / METRICS} does not tell of the training's last epoch. Remove {folder}; it is made again."
        )
    return history[-1]


def features_of(layout: Layout) -> dict[str, list[int]]:
    """What is scored alone, as columns of the descriptor: each block, and all local and all global blocks together."""
    columns = {b.name: list(range(b.start, b.stop)) for b in layout}
    for kind in ("local", "global"):
        columns[f"all-{kind}"] = [c for b in layout if b.kind == kind for c in columns[b.name]]
    return {name: found for name, found in columns.items() if found}


def _untrained(test: TestImages, recipe: Recipe, dataset: ReidDataset, device: str) -> dict[str, float]:
    num_ids = len({s.pid for s in dataset.train})
    result = test.score(untrained_model(recipe, num_ids).to(device), "untrained").result
    return {"mAP": result.mAP, "rank1": result.rank1}


def save_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Write arrays as a compressed .npz file, for :func:`write_atomically`."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document of a study; CheckpointError if it cannot be read."""
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ArgumentError("no JSON object")
        return values
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Remove it; it is made again.") from error


def read_arrays(path: Path, result: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a study's .npz file, compared with its checksums; CheckpointError tells to remove ``result``."""
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # a flipped bit makes the reader of the archive raise nearly anything
        reason = reason_of(error)
        raise CheckpointError(f"{path} cannot be read ({reason}). Remove {result}; both are made again.") from error
