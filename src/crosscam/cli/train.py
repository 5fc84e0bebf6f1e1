"""``crosscam train``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from crosscam.cli.options import General, Reading, Settings, Unset
from crosscam.cli.show import bars, say, score_table, show_json, this_command, training_listeners
from crosscam.data.records import ReidDataset
from crosscam.experiments.experiment import REPORT, run_experiment
from crosscam.experiments.scoring import Scored
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.system.distributed import is_first_process
from crosscam.system.files import check_folder


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a recipe, score it and write a report.

    Several GPUs or machines work together if torchrun starts this.
    """

    recipe: Positional[str]
    """Name of the recipe, as 'crosscam recipes' lists them."""
    data: Path
    """Folder or table of the dataset."""
    out: Unset[Path] = None
    """Run folder; runs/RECIPE by default."""
    set: Settings = ()
    """Change a setting of the recipe, for example --set train.epochs=5; may be given several times."""
    resume: bool = False
    """Go on with the training in the run folder, or begin it if there is none yet."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        recipe = with_settings(find_recipe(self.recipe), self.set, once=True)
        out = self.out or Path("runs") / recipe.name
        check_folder(out)
        dataset = self.reading.read_and_note(self.data)
        scores = run_shown(recipe, dataset, out, resume=self.resume, json=self.general.json)
        if not is_first_process():
            return
        if not scores:
            say(f"The network is in {out}. It is not scored: the dataset has no query and gallery.")
        elif not self.general.json:
            say(f"The network and {REPORT} are in {out}.")


def run_shown(recipe: Recipe, dataset: ReidDataset, out: Path, *, resume: bool, json: bool) -> list[Scored]:
    first = is_first_process()
    with bars(json or not first) as progress:
        listeners = training_listeners(progress, json or not first)
        command = {"command": this_command()}

        def show(scores: list[Scored]) -> None:
            if json and first:
                show_json({"folder": str(out), "scores": [s.to_dict() for s in scores]})
            elif scores and first:
                progress.stop()
                score_table(scores, f"{recipe.name} on {dataset.name}")

        return run_experiment(recipe, dataset, out, resume=resume, listeners=listeners, provenance=command, show=show)
