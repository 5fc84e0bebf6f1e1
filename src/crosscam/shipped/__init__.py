"""Networks that come with the package: run folders without a training's state, opened by their names."""

from __future__ import annotations

import json
from pathlib import Path

SHIPPED = ("rrid-mini", "rrid-mini-128", "rrid-mini-fast", "rrid-nano")
# What a name meant until version 0.1, and that network's name now.
RENAMED = {"rrid-mini": "rrid-nano"}


def run_folder(source: Path) -> Path:
    """The folder of a network: the path itself, or the package's own where the path is a shipped network's name.

    A folder of that name in the working directory comes first.
    """
    if str(source) in SHIPPED and not source.is_dir():
        return Path(__file__).parent / str(source)
    return source


def list_models() -> dict[str, str]:
    """The trained networks that come with crosscam, by name, and what each is.

    :meth:`crosscam.Extractor.load` and ``crosscam gallery create`` take these names, as they take a run folder.
    """
    texts = {name: (Path(__file__).parent / name / "recipe.json").read_text(encoding="utf-8") for name in SHIPPED}
    return {name: str(json.loads(text)["description"]) for name, text in texts.items()}
