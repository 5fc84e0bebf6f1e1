"""The command line: ``crosscam COMMAND``. Each command is a frozen dataclass of options with a ``run`` method."""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import torch
import tyro
from tyro.conf import subcommand

from crosscam.cli.data import DataGroup, Doctor, Holdout, Render
from crosscam.cli.describe import Extract, ImportAuthors
from crosscam.cli.learn import Demo, Evaluate, Recipes, Train
from crosscam.cli.show import say
from crosscam.errors import CrosscamError

Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[DataGroup, subcommand("data")]
    | Annotated[Recipes, subcommand("recipes")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Extract, subcommand("extract")]
    | Annotated[ImportAuthors, subcommand("import-authors")]
)


COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "data": {"doctor": Doctor, "render": Render, "holdout": Holdout},
    "recipes": Recipes,
    "train": Train,
    "evaluate": Evaluate,
    "extract": Extract,
    "import-authors": ImportAuthors,
}


def main(arguments: list[str] | None = None) -> None:
    """Parse, run, and end with 0, or with 2 and one line for what the user can mend."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = tyro.cli(
            Command,
            prog="crosscam",
            description="Find the same person across cameras: train, measure, describe.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )
    except SystemExit as end:
        hint = nearest_names(arguments) if end.code else None
        if hint:
            say(f"crosscam: {hint}")
        raise
    _use_all_cores()
    try:
        command.run()
    except (CrosscamError, ValueError, OSError) as error:
        if command.debug:
            raise
        say(f"crosscam: {' '.join(str(error).split())}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("crosscam: stopped.")
        sys.exit(130)


def nearest_names(arguments: Sequence[str]) -> str | None:
    """For the first unknown command or option: the nearest known one, as a sentence."""
    commands = dict(COMMANDS)
    words = iter(arguments)
    for word in words:
        if isinstance(known := commands.get(word), dict):
            commands = dict(known)
        elif known is not None:
            options = {f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(known)}
            options |= {f"--no-{name[2:]}" for name in options}
            names = (w.partition("=")[0].replace("_", "-") for w in words if w.startswith("--"))
            return next((_nearest(n, options) for n in names if n not in {*options, "--help"}), None)
        elif not word.startswith("-"):
            return _nearest(word, commands)
    return None


def _nearest(word: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word, sorted(known), 1, 0.5)
    return f"{word} is unknown. Did you mean {near[0]}?" if near else None


def _use_all_cores() -> None:
    """One torch thread for each core that this process may use; torchrun's processes share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


if __name__ == "__main__":
    main()
