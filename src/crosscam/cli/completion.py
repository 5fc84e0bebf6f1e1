"""``crosscam completion``."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg, subcommand

from crosscam.cli.commands import COMMANDS, Command, Group
from crosscam.cli.options import General


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script that completes commands and options in your shell.

    For bash: crosscam completion bash > ~/.local/share/bash-completion/completions/crosscam. For zsh: a file
    _crosscam in a folder of $fpath.
    """

    shell: Positional[Literal["bash", "zsh"]]
    """Your shell."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        with contextlib.suppress(SystemExit):
            tyro.cli(
                _all_of(COMMANDS),
                prog="crosscam",
                args=["--tyro-print-completion", self.shell],
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            )


def _all_of(commands: Mapping[str, Command | Group]) -> Any:
    """What the parser takes for these commands, each with all its options."""
    kinds = []
    for name, found in commands.items():
        if isinstance(found, Group):
            inner: Any = Annotated[_all_of(found.commands), arg(name="")]
            kind = make_dataclass(name, [("command", inner)])
        else:
            kind = found.load()
        kinds.append(Annotated[kind, subcommand(name, description=found.purpose)])
    return functools.reduce(operator.or_, kinds)
