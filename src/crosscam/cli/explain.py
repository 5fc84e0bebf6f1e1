"""``crosscam explain``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from crosscam.cli.options import General, Unset
from crosscam.cli.show import say, show_json, table, this_command
from crosscam.explain.pair import PairExplanation, explain_pair
from crosscam.explain.typical import block_words
from crosscam.inference.extractor import Extractor
from crosscam.report.pair_page import parts_sentence, write_pair_page
from crosscam.retrieval.contributions import parse_weights
from crosscam.system.cores import best_device
from crosscam.system.files import check_file
from crosscam.training.provenance import versions

Weights = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=WEIGHT,...")]


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Show which body parts make the distance of two images small or large."""

    run_folder: Positional[Path]
    """Run folder with the trained network; rrid-mini, which comes with crosscam; or a network of import-network."""
    query: Positional[Path]
    """One image of a person."""
    match: Positional[Path]
    """The image to compare it with."""
    out: Unset[Path] = None
    """Also draw it: a page (HTML) with both images, tinted stripes and activation maps."""
    maps: Literal["strength", "agreement"] = "strength"
    """What the activation maps show: what makes a block strong, or what makes it agree with the other image's."""
    weight: Weights = ()
    """Weights of body parts (head, torso, legs, feet, whole) or of blocks by name or pattern: torso=2,feet=0 or
    '*global=2'; may be repeated."""
    no_flip: bool = False
    """Leave mirror images out."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        weights = parse_weights(*self.weight)
        check_file(self.out)
        extractor = Extractor.load(self.run_folder, flip=False if self.no_flip else None, device=best_device())
        pair = explain_pair(extractor, self.query, self.match, weights=weights, maps_of=self.maps)
        if self.general.json:
            show_json(pair.to_dict() | ({"out": str(self.out)} if self.out else {}))
        else:
            _show(pair)
        if pair.no_maps:
            say(f"note: {pair.no_maps}")
        if self.out:
            provenance = {
                "recipe": extractor.recipe.name,
                "query": str(self.query),
                "match": str(self.match),
                "mirror image": "counts" if pair.flip else "left out",
                "command": this_command(),
                **versions(),
            }
            write_pair_page(self.out, pair, provenance)
            if not self.general.json:
                say(f"The page is {self.out}.")


def _show(pair: PairExplanation) -> None:
    rows = [
        (
            block_words(part.block),
            part.block.name,
            f"{100 * part.block.rows[0]:.0f}-{100 * part.block.rows[1]:.0f} %",
            f"{part.squared_distance:.4f}" + (f" (x {part.weight:g})" if part.weight != 1 else ""),
            f"{100 * part.share:.1f} %",
        )
        for part in pair.blocks
    ]
    rows.append(("sum", "", "", f"{pair.squared_distance:.4f}", ""))
    table(
        ("block", "name", "rows", "squared distance", "share"),
        rows,
        f"{Path(pair.query).name} and {Path(pair.match).name}",
    )
    say(f"Distance {pair.distance:.4f}. {parts_sentence(pair)}")
