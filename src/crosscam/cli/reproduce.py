"""``crosscam reproduce``: the paper's tables and figures, each by one command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from markupsafe import Markup
from rich.progress import Progress
from tyro.conf import Positional, arg

from crosscam.cli.options import General, Reading, Settings, Unset
from crosscam.cli.show import bars, fitting, listing, print_plain, say, show_text, this_command, training_listeners
from crosscam.errors import DataError, RecipeError
from crosscam.inference.describing import load_model
from crosscam.recipes.checkpoint import load_recipe
from crosscam.report.shell import NOTHING
from crosscam.reproduce.collision import Collision, collision_charts, collision_tables, fill
from crosscam.reproduce.figures import Figure, NamedModel, figure_activation, figure_strips
from crosscam.reproduce.paper_rows import ROWS, TABLE1, TABLE2, Budget, Row, Scale
from crosscam.reproduce.study import Study
from crosscam.reproduce.table_files import Table, as_json, write_tables
from crosscam.reproduce.tables import tables_of
from crosscam.reproduce.transfer import examine, read_exam, transfer_table
from crosscam.system.cores import best_device
from crosscam.system.files import check_folder
from crosscam.training.callbacks import Listeners
from crosscam.training.provenance import versions

What = Literal["table1", "table2", "table3", "table4", "figure4", "figure5", "figure6", "transfer", "collision"]
ROWS_OF: dict[str, tuple[str, ...]] = {
    "table1": tuple(row.name for row in TABLE1),
    "table2": tuple(row.name for row in TABLE2),
    "table3": ("gmp", "rm-gmp"),
    "table4": ("rm-gap", "rm-gmp", "rm-gap+gmp", "rrid-s"),
    "figure4": ("aligned-reid", "deep-person", "pcb", "rrid-f"),
    "figure5": ("gmp", "rm-gmp", "rm-gap", "rm-gap+gmp", "rrid-s"),
    "figure6": ("rm-gmp", "rest-gmp"),
}
# Figure 5 is two: (a) without and with the relation module, (b) the poolings.
STRIPS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "figure4": (("figure4", "Figure 4: four systems, the same queries", ROWS_OF["figure4"]),),
    "figure5": (
        ("figure5a", "Figure 5(a): without and with the relation module", ("gmp", "rm-gmp")),
        ("figure5b", "Figure 5(b): poolings of the global feature", ROWS_OF["table4"]),
    ),
}
COLLISION_OUT = Path("runs/collision")


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Make one of the paper's tables or figures.

    A second call only fills gaps; the same command in several terminals shares the work. transfer scores the
    networks of a study on another dataset (--exam); collision draws people who share garments.
    """

    what: Positional[What]
    """Table or figure."""
    data: Unset[Path] = None
    """Folder or table of the dataset (not for collision)."""
    out: Unset[Path] = None
    """Folder of the study; runs/study-DATASET by default. All tables and figures of one dataset share it."""
    rows: Annotated[tuple[str, ...], arg(metavar="ROW ...", help_behavior_hint="(all by default)")] = ()
    """Train only these rows; the table shows all that is there."""
    seeds: int = 1
    """Trainings of each row: seeds 0, 1, ...; for collision, draws of people."""
    scale: Scale = "paper"
    """paper: the systems' own recipes. small: the same systems at a size that a CPU trains, with one budget. lite: the
    same from ImageNet (MobileNetV2)."""
    epochs: int = 10
    """Epochs of the small scales."""
    recipe_override: Settings = ()
    """Change a setting of every recipe, for example train.precision=bf16; may be given several times."""
    show: bool = False
    """Train nothing; print what is there."""
    exam: Unset[Path] = None
    """transfer: the other dataset."""
    ids: int = 360
    """collision: people at each dial; a third of them is tested."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        if self.seeds < 1:
            raise RecipeError(f"--seeds {self.seeds}: expected at least 1.")
        self._refuse_what_means_nothing()
        check_folder(self.out or Path("runs"))
        if self.what == "collision":
            self._run_collision()
            return
        if self.data is None:
            raise DataError(f"{self.what} needs a dataset. Give its folder or table with --data.")
        dataset = self.reading.read_and_note(self.data)
        out = self.out or Path("runs") / f"study-{dataset.name}"
        study = Study(out, dataset, self._budget())
        if self.what == "transfer":
            self._run_transfer(study)
            return
        rows = self._rows(ROWS_OF[self.what])
        if not self.show:
            with bars(self.general.json) as progress:
                study.fill(rows, self.seeds, self._listen(progress))
        if self.what.startswith("figure"):
            self._draw(study)
        else:
            self._show(out, tables_of(study, self.what))

    def _refuse_what_means_nothing(self) -> None:
        drawn = self.what == "collision"
        given = {
            "data": drawn and self.data is not None,
            "rows": drawn and bool(self.rows),
            "show": drawn and self.show,
            "exam": self.what != "transfer" and self.exam is not None,
            "ids": not drawn and self.ids != Reproduce.ids,
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise RecipeError(f"--{name} means nothing for {self.what}. Leave it out.")

    def _draw(self, study: Study) -> None:
        if self.rows:
            raise RecipeError(f"{self.what} shows {', '.join(ROWS_OF[self.what])} together. Leave --rows out.")
        figures: dict[str, Figure] = {}
        for name, title, rows in STRIPS.get(self.what, ()):
            models = [_named_model(study, row) for row in rows]
            figures[name] = figure_strips(models, study.dataset, title=title, listener=say)
        if self.what == "figure6":
            relation, rest = (_named_model(study, row) for row in ROWS_OF["figure6"])
            figures["figure6"] = figure_activation(relation, rest, study.dataset, listener=say)
        for name, figure in figures.items():
            figure.write(study.folder / "figures", name)
        self.general.tell(
            {name: figure.data for name, figure in figures.items()},
            f"In {study.folder / 'figures'}: {', '.join(figures)}, each as .html, .png and .json.",
        )

    def _run_transfer(self, study: Study) -> None:
        if self.exam is None:
            raise DataError("transfer needs another dataset. Give its folder or table with --exam.")
        exam = read_exam(self.exam)
        rows = self._rows(tuple(ROWS))
        trained = [row for row in rows if study.results(row.name)]
        if not trained:
            raise DataError(f"{study.folder} holds no finished network. Train some with 'crosscam reproduce table1'.")
        if not self.show:
            examine(study, trained, exam, say)
        self._show(study.folder, [transfer_table(study, trained, exam)])

    def _run_collision(self) -> None:
        plan = Collision(self.ids, self.seeds, self._budget())
        out = self.out or COLLISION_OUT
        with bars(self.general.json) as progress:
            studies = fill(out, plan, self._listen(progress))
        self._show(out, collision_tables(studies, plan), collision_charts(studies))

    def _budget(self) -> Budget:
        return Budget(self.scale, self.epochs, self.recipe_override)

    def _rows(self, names: Sequence[str]) -> tuple[Row, ...]:
        unknown = [name for name in self.rows if name not in names]
        if unknown:
            raise RecipeError(f"{self.what} has no row {unknown[0]!r}. Known: {', '.join(names)}.")
        return tuple(ROWS[name] for name in names if name in self.rows or not self.rows)

    def _listen(self, progress: Progress) -> Callable[[str], Listeners]:
        def listen(name: str) -> Listeners:
            say(name)
            return training_listeners(progress, self.general.json)

        return listen

    def _show(self, out: Path, tables: Sequence[Table], figures: Markup = NOTHING) -> None:
        provenance = {"command": this_command(), **versions()}
        name = tables[0].name
        write_tables(out / "tables", name, tables, provenance, figures)
        if self.general.json:
            show_text(as_json(tables, provenance))
            return
        for shown in tables:
            heads, cells = fitting(shown.heads, shown.cells, shown.expendable)
            listing(heads, cells, shown.title, right=heads[1:])
            for note in shown.notes:
                print_plain(note)
        say(f"Also in {out / 'tables'}: {name}.md, .csv, .json and .html.")


def _named_model(study: Study, row: str) -> NamedModel:
    """A row's network of the first seed."""
    folder = study.run_folder(row, 0)
    recipe = load_recipe(folder)
    return NamedModel(ROWS[row].label, load_model(folder, recipe).to(best_device()), recipe)
