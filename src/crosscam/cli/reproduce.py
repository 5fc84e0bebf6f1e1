"""``crosscam reproduce``: the paper's tables and figures, each by one command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional, UseAppendAction

from crosscam.cli.options import General, Reading, Settings, Unset
from crosscam.cli.show import bars, say, training_listeners
from crosscam.errors import RecipeError
from crosscam.reproduce.rows import TABLE1, TABLE2, Row, Scale
from crosscam.reproduce.study import Budget, Study

TABLES: dict[str, tuple[Row, ...]] = {"table1": TABLE1, "table2": TABLE2}


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train what is missing of one of the paper's tables, and print it beside the published numbers.

    A second call only fills gaps; the same command in several terminals shares the rows.
    """

    what: Positional[Literal["table1", "table2"]]
    """Which table."""
    data: Path
    """Folder or table of the data set."""
    out: Unset[Path] = None
    """Folder of the study; runs/study-DATASET by default. All tables and figures of one data set share it."""
    rows: UseAppendAction[tuple[str, ...]] = ()
    """Only this row; may be given several times."""
    seeds: int = 1
    """Trainings of each row: seeds 0, 1, ..."""
    scale: Scale = "paper"
    """paper: the systems' own recipes. small: the same systems at a size that a CPU trains."""
    epochs: int = 10
    """Epochs of the small scale."""
    recipe_override: Settings = ()
    """Change a setting of every recipe, for example train.precision=bf16; may be given several times."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Fill, then show."""
        dataset = self.reading.read_and_note(self.data)
        study = Study(
            self.out or Path("runs") / f"study-{dataset.name}",
            dataset,
            Budget(self.scale, self.epochs, self.recipe_override),
        )
        rows = self._rows()
        with bars(self.general.json) as progress:

            def listen(name: str):
                say(name)
                return training_listeners(progress, self.general.json)

            study.fill(rows, self.seeds, listen)

    def _rows(self) -> tuple[Row, ...]:
        known = {row.name: row for row in TABLES[self.what]}
        unknown = [name for name in self.rows if name not in known]
        if unknown:
            raise RecipeError(f"{self.what} has no row {unknown[0]!r}. Known: {', '.join(known)}.")
        return tuple(known[name] for name in self.rows) if self.rows else tuple(known.values())
