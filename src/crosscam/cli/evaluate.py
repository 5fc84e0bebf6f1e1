"""``crosscam evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from crosscam.cli.options import General, Reading, Unset, output_of
from crosscam.cli.show import bars, counting, say, score_table, show_json, table
from crosscam.data.records import ReidDataset, by_tracklets
from crosscam.errors import ArgumentError, EngineError
from crosscam.experiments.experiment import save_scores, write_run_report
from crosscam.experiments.scoring import AfterSearch, Scored, TestImages, check_scoring
from crosscam.experiments.split_scores import all_splits, mean_scores, score_splits
from crosscam.inference.describing import load_model
from crosscam.inference.engines.network_file import is_exported_by_crosscam, is_network_file
from crosscam.inference.imported import Imported, declaration_of, open_declared, undeclared
from crosscam.models.systems import layout_of
from crosscam.recipes.checkpoint import load_recipe
from crosscam.reproduce.published import beside
from crosscam.retrieval.cross_neighborhoods import CrossNeighborhoods
from crosscam.retrieval.expansion import Expansion
from crosscam.retrieval.frame_sets import SetDistance
from crosscam.retrieval.reranking import Reranking
from crosscam.system.cores import best_device
from crosscam.system.distributed import joined_world
from crosscam.system.files import check_file
from crosscam.training.trained_on import Overlap, load_trained_on, overlap


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a trained network on the query and gallery of a dataset.

    Processes of torchrun share the work.
    """

    run_folder: Positional[Path]
    """Run folder with the trained network; rrid-mini, which comes with crosscam; or a network of import-network."""
    data: Path
    """Folder or table of the dataset."""
    rerank: bool = False
    """Also re-rank by k-reciprocal neighbors."""
    k1: int = Reranking.k1
    """Re-ranking: neighbors."""
    k2: int = Reranking.k2
    """Re-ranking: neighbors whose vectors are averaged."""
    lambda_value: float = Reranking.lambda_value
    """Re-ranking: weight of the plain distance, from 0 to 1."""
    ecn: bool = False
    """Also re-rank by expanded cross neighborhoods, as its paper does."""
    expand: int = 0
    """Also expand queries by so many nearest gallery images (5 is usual); 0 for none."""
    alpha: float = Expansion.alpha
    """Query expansion: power of the similarity that weighs a neighbor; 0 for the plain mean."""
    ap: Literal["recipe", "step", "trapezoid"] = "recipe"
    """Average precision: as the recipe says, step-wise, or by trapezoids as in the Market-1501 toolkit."""
    splits: int = 1
    """Score so many random splits, from 0 on, and their mean: 10 is usual for VIPeR, CUHK01, GRID, PRID 2011, iLIDS."""
    set_distance: Unset[Literal["minimum", "mean"]] = None
    """Tracklets: also rank by the smallest, or by the mean, distance of their frames."""
    tracklets: bool = False
    """Rank the tracks of a table in place of images, each by the mean of its descriptors; datasets of tracklets, such
    as MARS, are ranked so without it."""
    no_flip: bool = False
    """Leave mirror images out: half the work for a somewhat lower score."""
    out: Unset[Path] = None
    """JSON file for the scores; scores-DATASET.json in the run folder by default, in the working directory for a
    shipped network."""
    report: Unset[Path] = None
    """Also write a page of rankings (HTML)."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        reranking = Reranking(self.k1, self.k2, self.lambda_value)
        if not self.rerank and reranking != Reranking():
            raise ArgumentError("--k1, --k2 and --lambda-value are for re-ranking. Add --rerank, or leave them out.")
        if not self.expand and self.alpha != Expansion.alpha:
            raise ArgumentError("--alpha is for query expansion. Add --expand 5, or leave it out.")
        imported = _imported(self.run_folder)
        recipe = load_recipe(self.run_folder) if imported is None else imported.recipe
        trained_on = load_trained_on(self.run_folder)
        datasets = self._read()
        dataset = datasets[0] if len(datasets) == 1 else all_splits(datasets)
        flip, ap = False if self.no_flip else None, None if self.ap == "recipe" else self.ap
        steps: list[AfterSearch] = [Expansion(self.expand, self.alpha)] if self.expand else []
        steps += [reranking] if self.rerank else []
        steps += [CrossNeighborhoods()] if self.ecn else []
        steps += [SetDistance(self.set_distance)] if self.set_distance else []
        out = self.out or output_of(self.run_folder, f"scores-{dataset.name}.json")
        for place in (out, self.report):
            check_file(place)
        with joined_world() as world, world.only_writer(out), bars(self.general.json or world.rank > 0) as progress:
            model = imported.network if imported else load_model(self.run_folder, recipe).to(world.device)
            for split in datasets:
                check_scoring(recipe, split, model, *steps)
            test = TestImages(dataset, recipe, counting(progress, "reading images"), world)
            scored = test.score_together(model, flip=flip, ap=ap, progress=counting(progress, "describing"))
            if scored is None:
                return
            shared = overlap(trained_on, dataset, counting(progress, "looking for people of the training"))
            if len(datasets) > 1:
                scores = score_splits(test, model, scored, datasets, steps)
            else:
                scores = [scored, *(test.reranked(scored, step) for step in steps)]
        # What was computed is shown, whatever becomes of the files.
        self._show(scores, shared, dataset, recipe.name, out)
        save_scores(out, scores, shared)
        if self.report:
            layout = layout_of(model)
            write_run_report(self.report, recipe, dataset, scores, self.run_folder, layout, overlap=shared)

    def _read(self) -> list[ReidDataset]:
        """The dataset, or each of its splits."""
        if self.splits < 1:
            raise ArgumentError(f"--splits {self.splits}: expected at least 1.")
        if self.splits > 1 and (self.reading.split is not None or self.report):
            raise ArgumentError("--splits scores several splits. Leave --split and --report out.")
        dataset = self.reading.read_and_note(self.data)
        if self.tracklets and not dataset.tracklets:
            dataset = by_tracklets(dataset)
            say(f"note: {dataset.notes[-1]}")
        if self.splits == 1:
            return [dataset]
        return [replace(self.reading, split=number).read(self.data) for number in range(self.splits)]

    def _show_splits(self, scores: Sequence[Scored], title: str, out: Path) -> None:
        groups = [scores[first : first + self.splits] for first in range(0, len(scores), self.splits)]
        means = [(str(group[0].reranking or "") or "plain", mean_scores(group)) for group in groups]
        if self.general.json:
            told = [{"name": name, **{k: {"mean": m, "sd": d} for k, (m, d) in mean.items()}} for name, mean in means]
            show_json({"out": str(out), "means": told, "scores": [s.to_dict() for s in scores]})
            return
        rows = [[name, *(f"{100 * m:.1f} ±{100 * d:.1f}" for m, d in mean.values())] for name, mean in means]
        table(["%", *means[0][1]], rows, f"{title}, mean of {self.splits} splits")

    def _show(self, scores: Sequence[Scored], shared: Overlap, dataset: ReidDataset, name: str, out: Path) -> None:
        if self.splits > 1:
            self._show_splits(scores, f"{name} on {dataset.name}", out)
        elif self.general.json:
            told = shared.to_dict()
            show_json({"out": str(out), "scores": [s.to_dict() | told for s in scores], **told})
        else:
            score_table(scores, f"{name} on {dataset.name}")
            published = beside(dataset)
            if published:
                say(f"note: {published}")
        warning = shared.sentence()
        if warning:
            say(f"{'warning' if shared.known else 'note'}: {warning}")


def _imported(source: Path) -> Imported | None:
    """The network from elsewhere that a path names; None for a run folder, EngineError for a file that will not do."""
    declared = declaration_of(source, None)
    if declared is not None:
        return open_declared(declared, device=best_device())
    if source.is_file() and is_network_file(source):
        if not is_exported_by_crosscam(source):
            raise undeclared(source)
        raise EngineError(
            f"{source} was exported by crosscam, and scores are measured with the network itself. Give the run folder "
            "that it was made from."
        )
    return None
