"""``crosscam explain``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from crosscam.cli.options import General, Unset, best_device
from crosscam.cli.show import say, show_json, table
from crosscam.errors import CrosscamError
from crosscam.explain.pair import PairExplanation, explain_pair
from crosscam.extraction import Extractor
from crosscam.report.pair_page import write_pair_page
from crosscam.system.outputs import check_file
from crosscam.training.provenance import versions

Weights = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="BLOCK=WEIGHT")]


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Show which body parts make the distance of two pictures small or large."""

    run_folder: Positional[Path]
    """Run folder with the trained network, or rrid-mini, which comes with crosscam."""
    query: Positional[Path]
    """One picture of a person."""
    match: Positional[Path]
    """The picture to compare it with."""
    out: Unset[Path] = None
    """Also draw it: a page (HTML) with both pictures, tinted stripes and activation maps."""
    maps: Literal["strength", "agreement"] = "strength"
    """What the activation maps show: what makes a block strong, or what makes it agree with the other picture's."""
    weight: Weights = ()
    """Weigh blocks of the descriptor, for example --weight p6.local6=0 or --weight '*global=2'; may be repeated."""
    no_flip: bool = False
    """Leave mirror images out."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Explain and show."""
        weights = _weights(self.weight)
        check_file(self.out)
        extractor = Extractor.load(self.run_folder, flip=not self.no_flip, device=best_device())
        pair = explain_pair(extractor, self.query, self.match, weights=weights, maps_of=self.maps)
        if self.general.json:
            show_json(pair.to_dict() | ({"out": str(self.out)} if self.out else {}))
        else:
            _show(pair)
        if self.out:
            provenance = {
                "recipe": extractor.recipe.name,
                "query": str(self.query),
                "match": str(self.match),
                "mirror image": "counts" if pair.flip else "left out",
                "command": shlex.join(["crosscam", *sys.argv[1:]]),
                **versions(),
            }
            write_pair_page(self.out, pair, provenance)
            if not self.general.json:
                say(f"The page is {self.out}.")


def _weights(texts: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for name, value in map(_weight, texts):
        if name in weights:
            raise CrosscamError(f"--weight {name} is given twice, as {weights[name]:g} and as {value:g}. Give it once.")
        weights[name] = value
    return weights


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, float(value if name else "none")
    except ValueError as error:
        raise CrosscamError(f"--weight {text}: expected BLOCK=NUMBER, for example p6.local6=0.") from error


def _show(pair: PairExplanation) -> None:
    """The addends as a table, and the sum below it."""
    rows = [
        (
            part.block.name,
            f"{100 * part.block.rows[0]:.0f}-{100 * part.block.rows[1]:.0f} %",
            f"{part.squared_distance:.4f}" + (f" (x {part.weight:g})" if part.weight != 1 else ""),
            f"{100 * part.share:.1f} %",
        )
        for part in pair.blocks
    ]
    rows.append(("sum", "", f"{pair.squared_distance:.4f}", ""))
    table(("block", "rows", "squared distance", "share"), rows, f"{Path(pair.query).name} and {Path(pair.match).name}")
    say(
        f"Distance {pair.distance:.4f}; its square and the sum of the blocks differ by {abs(pair.deviation):.0e}, "
        "the rounding of float32."
    )
