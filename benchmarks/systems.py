"""Train every system on the same rendered people with the same budget, and score each beside its untrained self.

    python benchmarks/systems.py [--epochs 10] [--only pcb mgn] [--out runs/systems]

All systems are scaled down alike (half-width ResNet-18; see ``crosscam.recipes.systems.scaled_down``), so the table
shows that each one learns. It does not rank them: their papers' networks are larger, and their budgets differ. A second
call goes on where the first one stopped. Prints a Markdown table and writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from crosscam.data.readers import read_dataset
from crosscam.data.render import render_dataset
from crosscam.experiment import run_experiment
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import RECIPES
from crosscam.recipes.systems import SYSTEM_RECIPES, scaled_down


def main() -> None:
    """Draw, train what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--ids", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/systems"))
    options = parser.parse_args()
    people = options.out / "people"
    if not people.exists():
        render_dataset(people, ids=options.ids, cameras=4, images=4, collide=0.3, seed=0, test_share=0.2)
    dataset = read_dataset(people)
    rows = []
    print("| system | numbers | parameters | untrained mAP | trained mAP | trained rank-1 |\n|---|---|---|---|---|---|")
    for base in (*SYSTEM_RECIPES, RECIPES["rrid-s"], RECIPES["rrid-f"]):
        if options.only and base.name not in options.only:
            continue
        recipe = scaled_down(base, options.epochs)
        trained, untrained, _ = run_experiment(recipe, dataset, options.out / recipe.name, resume=True)
        with torch.device("meta"):
            model = recipe.model.build(0)
        row = {
            "system": base.name,
            "numbers": layout_of(model)[-1].stop,
            "parameters": sum(p.numel() for p in model.parameters()),
            "untrained": untrained.to_dict(),
            "trained": trained.to_dict(),
        }
        rows.append(row)
        print(
            f"| {base.name} | {row['numbers']:,} | {row['parameters']:,} | {100 * untrained.result.mAP:.1f} | "
            f"{100 * trained.result.mAP:.1f} | {100 * trained.result.rank1:.1f} |",
            flush=True,
        )
        (options.out / "systems.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
