"""``crosscam recipes``, ``train``, ``evaluate``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from crosscam.cli.options import General, Reading, Settings, Unset, output_of
from crosscam.cli.show import bars, counting, say, score_table, show_json, show_text, table, training_listeners
from crosscam.data.records import ReidDataset
from crosscam.experiment import REPORT, run_experiment, save_scores, write_run_report
from crosscam.extraction import load_model
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.limits import flatten
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_to_json, with_settings
from crosscam.reproduce.published import beside
from crosscam.scoring import Reranking, Scored, TestImages, check_scoring
from crosscam.system.outputs import check_file, check_folder
from crosscam.training.checkpoint import load_recipe
from crosscam.training.distributed import is_first_process, joined_world


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or all settings of one."""

    name: Positional[Unset[str]] = None
    """Recipe to show in full."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Show."""
        if self.name is None:
            if self.general.json:
                show_json({r.name: r.description for r in RECIPES.values()})
            else:
                table(("recipe", "what it is"), [(r.name, r.description) for r in RECIPES.values()], numbers=False)
            return
        recipe = find_recipe(self.name)
        if self.general.json:
            show_text(recipe_to_json(recipe))
        else:
            rows = [(k, _as_typed(v)) for k, v in flatten(dataclasses.asdict(recipe)).items()]
            table(("setting", "value"), rows, numbers=False)


def _as_typed(value: object) -> str:
    """A setting's value as ``--set`` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a recipe, score it and write a report; several GPUs or machines by starting this with torchrun."""

    recipe: Positional[str]
    """Name of the recipe, as 'crosscam recipes' lists them."""
    data: Path
    """Folder or table of the data set."""
    out: Unset[Path] = None
    """Run folder; runs/RECIPE by default."""
    set: Settings = ()
    """Change a setting of the recipe, for example --set train.epochs=5; may be given several times."""
    resume: bool = False
    """Go on with the training in the run folder, or begin it if there is none yet."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Train, score, report."""
        recipe = with_settings(find_recipe(self.recipe), self.set)
        out = self.out or Path("runs") / recipe.name
        check_folder(out)
        dataset = self.reading.read_and_note(self.data)
        scores = run_shown(recipe, dataset, out, resume=self.resume, json=self.general.json)
        if not is_first_process():
            return
        if not scores:
            say(f"The network is in {out}. It is not scored: the data set has no query and gallery.")
        elif not self.general.json:
            say(f"The network and {REPORT} are in {out}.")


def run_shown(recipe: Recipe, dataset: ReidDataset, out: Path, *, resume: bool, json: bool) -> list[Scored]:
    first = is_first_process()
    with bars(json or not first) as progress:
        listeners = training_listeners(progress, json or not first)
        command = {"command": shlex.join(["crosscam", *sys.argv[1:]])}

        def show(scores: list[Scored]) -> None:
            if json and first:
                show_json({"folder": str(out), "scores": [s.to_dict() for s in scores]})
            elif scores and first:
                progress.stop()
                score_table(scores, f"{recipe.name} on {dataset.name}")

        return run_experiment(recipe, dataset, out, resume=resume, listeners=listeners, provenance=command, show=show)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a trained network on the query and gallery of a data set; processes of torchrun share the work."""

    run_folder: Positional[Path]
    """Run folder with the trained network, or rrid-mini, which comes with crosscam."""
    data: Path
    """Folder or table of the data set."""
    rerank: bool = False
    """Also re-rank by k-reciprocal neighbours."""
    k1: int = 20
    """Re-ranking: neighbours."""
    k2: int = 6
    """Re-ranking: neighbours whose vectors are averaged."""
    lambda_value: float = 0.3
    """Re-ranking: weight of the plain distance, from 0 to 1."""
    ap: Literal["recipe", "step", "trapezoid"] = "recipe"
    """Average precision: as the recipe says, step-wise, or by trapezoids as in the Market-1501 toolkit."""
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
        """Describe, rank, score."""
        recipe = load_recipe(self.run_folder)
        dataset = self.reading.read_and_note(self.data)
        flip, ap = False if self.no_flip else None, None if self.ap == "recipe" else self.ap
        reranking = Reranking(self.k1, self.k2, self.lambda_value) if self.rerank else None
        out = self.out or output_of(self.run_folder, f"scores-{dataset.name}.json")
        for place in (out, self.report):
            check_file(place)
        with (
            joined_world() as world,
            world.only_writer(out),
            bars(self.general.json or world.rank > 0) as progress,
        ):
            model = load_model(self.run_folder, recipe).to(world.device)
            check_scoring(recipe, dataset, model, reranking)
            test = TestImages(dataset, recipe, counting(progress, "reading images"), world)
            scored = test.score_together(model, flip=flip, ap=ap, progress=counting(progress, "describing"))
            if scored is None:
                return
            scores = [scored]
            if reranking is not None:
                scores.append(test.reranked(scored, reranking))
        # What was computed is shown, whatever becomes of the files.
        if self.general.json:
            show_json({"out": str(out), "scores": [s.to_dict() for s in scores]})
        else:
            score_table(scores, f"{recipe.name} on {dataset.name}")
            published = beside(dataset)
            if published:
                say(f"note: {published}")
        save_scores(out, scores)
        if self.report:
            write_run_report(self.report, recipe, dataset, scores, self.run_folder, layout_of(model))
