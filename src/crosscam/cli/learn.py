"""``crosscam demo``, ``recipes``, ``train``, ``evaluate``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction

from crosscam.cli.options import Reading, Shared
from crosscam.cli.show import bars, counting, say, score_table, show_json, table, training_listeners
from crosscam.data.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.data.render import render_dataset
from crosscam.experiment import (
    REPORT,
    Reranking,
    Scored,
    TestImages,
    run_experiment,
    save_scores,
    write_run_report,
)
from crosscam.extraction import load_model
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import flatten, recipe_to_json, with_settings
from crosscam.training.checkpoint import load_recipe
from crosscam.training.distributed import is_first_process

Settings = UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Demo(Shared):
    """Draw people, train a small network on them, score it on people it never saw, and write a page of rankings."""

    out: Path = Path("runs/demo")
    """Folder for the drawn data set, the trained network and the page. A second call goes on where it stopped."""
    ids: int = 300
    """Identities to draw, test identities included."""
    set: Settings = ()
    """Change a setting of the recipe, for example --set train.epochs=5."""

    def run(self) -> None:
        """Render, train, score, report."""
        recipe = with_settings(find_recipe("demo"), self.set)
        data = self.out / "people"
        if not data.exists():
            with bars(self.json) as progress:
                render_dataset(
                    data,
                    ids=self.ids,
                    cameras=4,
                    images=4,
                    collide=0.3,
                    seed=0,
                    test_share=0.2,
                    progress=counting(progress, "drawing people"),
                )
        scores = _run_shown(recipe, read_dataset(data), self.out, resume=True, json=self.json)
        if not self.json:
            trained, untrained = scores[0].result.mAP, scores[1].result.mAP
            say(
                f"mAP went from {100 * untrained:.1f} % to {100 * trained:.1f} % on people that the network never saw. "
                f"Open {self.out / REPORT} in a browser to see whom it finds."
            )


@dataclass(frozen=True, kw_only=True)
class Recipes(Shared):
    """List the recipes, or all settings of one."""

    name: Positional[str | None] = None
    """Recipe to show in full."""

    def run(self) -> None:
        """Show."""
        if self.name is None:
            if self.json:
                show_json({r.name: r.description for r in RECIPES.values()})
            else:
                table(("recipe", "what it is"), [(r.name, r.description) for r in RECIPES.values()], numbers=False)
            return
        recipe = find_recipe(self.name)
        if self.json:
            sys.stdout.write(recipe_to_json(recipe))
        else:
            rows = [(k, str(v)) for k, v in flatten(dataclasses.asdict(recipe)).items()]
            table(("setting", "value"), rows, recipe.name, numbers=False)


@dataclass(frozen=True, kw_only=True)
class Train(Reading):
    """Train a recipe; several GPUs or machines by starting this command with torchrun."""

    recipe: Positional[str]
    """Name of the recipe, as 'crosscam recipes' lists them."""
    data: Path
    """Folder or table of the data set."""
    out: Path | None = None
    """Run folder; runs/RECIPE by default."""
    set: Settings = ()
    """Change a setting of the recipe, for example --set train.epochs=5; may be given several times."""
    resume: bool = False
    """Go on with the training in the run folder."""

    def run(self) -> None:
        """Train, score, report."""
        recipe = with_settings(find_recipe(self.recipe), self.set)
        out = self.out or Path("runs") / recipe.name
        dataset = self.read(self.data)
        for note in dataset.notes:
            if not self.json:
                say(note)
        scores = _run_shown(recipe, dataset, out, resume=self.resume, json=self.json)
        if not self.json and is_first_process():
            say(f"The network is in {out}." if not scores else f"The network and {REPORT} are in {out}.")


def _run_shown(recipe: Recipe, dataset: ReidDataset, out: Path, *, resume: bool, json: bool) -> list[Scored]:
    quiet = not is_first_process()
    with bars(json or quiet) as progress:
        listeners = training_listeners(progress, json or quiet)
        command = {"command": shlex.join(["crosscam", *sys.argv[1:]])}
        scores = run_experiment(recipe, dataset, out, resume=resume, listeners=listeners, provenance=command)
    if json and not quiet:
        show_json({"folder": str(out), "scores": [s.to_dict() for s in scores]})
    elif scores and not quiet:
        score_table(scores, f"{recipe.name} on {dataset.name}")
    return scores


@dataclass(frozen=True, kw_only=True)
class Evaluate(Reading):
    """Score a trained network on the query and gallery of a data set."""

    run_folder: Annotated[Positional[Path], "RUN"]
    """Run folder with the trained network."""
    data: Path
    """Folder or table of the data set."""
    rerank: bool = False
    """Re-rank by k-reciprocal neighbours."""
    k1: int = 20
    """Re-ranking: neighbours."""
    k2: int = 6
    """Re-ranking: neighbours whose vectors are averaged."""
    lambda_value: float = 0.3
    """Re-ranking: weight of the plain distance."""
    ap: Literal["step", "trapezoid"] | None = None
    """Average precision; as the recipe says by default."""
    flip: bool | None = None
    """Whether mirror images count; as the recipe says by default."""
    out: Path | None = None
    """JSON file for the scores; scores-DATASET.json in the run folder by default."""
    report: Path | None = None
    """Also write a page of rankings."""

    def run(self) -> None:
        """Describe, rank, score."""
        recipe = load_recipe(self.run_folder)
        dataset = self.read(self.data)
        model = load_model(self.run_folder, recipe)
        reranking = Reranking(self.k1, self.k2, self.lambda_value) if self.rerank else None
        with bars(self.json) as progress:
            test = TestImages(dataset, recipe, counting(progress, "reading images"))
            scores = [test.score(model, flip=self.flip, ap=self.ap, progress=counting(progress, "describing"))]
            if reranking:
                again = test.score(model, "re-ranked", flip=self.flip, ap=self.ap, reranking=reranking)
                scores.insert(0, again)
        save_scores(self.out or self.run_folder / f"scores-{dataset.name}.json", scores)
        if self.report:
            write_run_report(self.report, recipe, dataset, scores[-1:], self.run_folder, model.layout)
        if self.json:
            show_json([s.to_dict() for s in scores])
        else:
            score_table(scores, f"{recipe.name} on {dataset.name}")
