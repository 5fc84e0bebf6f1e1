"""From the words of a command line to a command; what cannot be understood becomes one line with the nearest name."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import subcommand

from crosscam.cli.calibrate import Calibrate
from crosscam.cli.data import DataGroup, Doctor, Holdout, Join, Render
from crosscam.cli.demo import Demo
from crosscam.cli.describe import Extract, ImportAuthors
from crosscam.cli.explain import Explain
from crosscam.cli.export import Export
from crosscam.cli.gallery import GALLERY_COMMANDS, GalleryGroup
from crosscam.cli.learn import Evaluate, Recipes, Train
from crosscam.cli.reproduce import Reproduce
from crosscam.cli.serve import Serve
from crosscam.errors import CrosscamError
from crosscam.recipes.catalogue import RECIPES
from crosscam.recipes.settings import setting_names
from crosscam.system.names import did_you_mean

Command = (
    Demo
    | DataGroup
    | Recipes
    | Train
    | Evaluate
    | Extract
    | Export
    | Explain
    | ImportAuthors
    | Reproduce
    | GalleryGroup
    | Calibrate
    | Serve
)

_SUBCOMMANDS = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[DataGroup, subcommand("data")]
    | Annotated[Recipes, subcommand("recipes")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Extract, subcommand("extract")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Explain, subcommand("explain")]
    | Annotated[ImportAuthors, subcommand("import-authors")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[GalleryGroup, subcommand("gallery")]
    | Annotated[Calibrate, subcommand("calibrate")]
    | Annotated[Serve, subcommand("serve")]
)

COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "data": {"doctor": Doctor, "render": Render, "holdout": Holdout, "join": Join},
    "recipes": Recipes,
    "train": Train,
    "evaluate": Evaluate,
    "extract": Extract,
    "export": Export,
    "explain": Explain,
    "import-authors": ImportAuthors,
    "reproduce": Reproduce,
    "gallery": GALLERY_COMMANDS,
    "calibrate": Calibrate,
    "serve": Serve,
}

DESCRIPTION = (
    "Find the same person across cameras: train, measure, describe. 'crosscam COMMAND --help' tells more of each "
    "command, 'crosscam --version' the version."
)


class UsageError(CrosscamError):
    """A command line that cannot be understood."""


def parse(arguments: Sequence[str]) -> Command:
    """The command with its options.

    Raises:
        UsageError: an unknown command or option, a missing one, or a value that does not fit.
        SystemExit: help was asked for and is printed.
    """
    words = list(arguments)
    if not words or isinstance(COMMANDS.get(" ".join(words)), dict):
        words.append("--help")
    _refuse_unknown_names(words)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            command: Command = tyro.cli(
                _SUBCOMMANDS,
                prog="crosscam",
                description=DESCRIPTION,
                args=words,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.PositionalMetavarFromFieldName,
                ),
            )
    except SystemExit as end:
        if end.code:
            raise UsageError(f"{_as_sentence(said.getvalue())} See '{_called(words)} --help'.") from end
        raise
    return command


def _refuse_unknown_names(words: Sequence[str]) -> None:
    """Refuse the first unknown command or option, with the nearest that is known."""
    called, known = "crosscam", dict(COMMANDS)
    left = iter(words)
    for word in left:
        if word.startswith("-"):
            return
        if word not in known:
            raise UsageError(
                f"No command {word!r} in '{called}'. {did_you_mean(word, sorted(known))}Known: {', '.join(known)}."
            )
        called, found = f"{called} {word}", known[word]
        if not isinstance(found, Mapping):
            _refuse_unknown_options(called, set(_options(found)), left)
            return
        known = dict(found)


def _refuse_unknown_options(called: str, known: set[str], words: Iterable[str]) -> None:
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if name == "--":
            return
        if not name.startswith("--") or name in known:
            continue
        near = did_you_mean(name, sorted(known))
        ending = "." + name.removeprefix("--").replace("-", "_")
        settings = [s for r in RECIPES.values() for s in setting_names(r) if f".{s}".endswith(ending)]
        if "--set" in known and settings:
            near = f"Did you mean --set {settings[0]}=VALUE? "
        raise UsageError(f"No option {name} in '{called}'. {near}'{called} --help' lists all.")


def _options(command: type) -> Iterator[str]:
    """The options of a command, ``--help`` included, as they are typed."""
    yield "--help"
    hints = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from _options(kind)
        elif not (_is_marked(kind, tyro.conf.Positional[int]) or _is_marked(kind, tyro.conf.Fixed[int])):
            told = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
            name = next((n for n in (getattr(one, "name", None) for one in told) if isinstance(n, str)), field.name)
            yield f"--{name.replace('_', '-')}"


def _is_marked(kind: Any, example: Any) -> bool:
    """Whether a type bears the mark that the example does."""
    return get_origin(kind) is Annotated and get_args(example)[1] in get_args(kind)


def _called(words: Sequence[str]) -> str:
    """The command that was meant, without its options."""
    names, known = ["crosscam"], dict(COMMANDS)
    for word in words:
        if word not in known:
            break
        names.append(word)
        known = dict(known[word]) if isinstance(known[word], Mapping) else {}
    return " ".join(names)


def _as_sentence(box: str) -> str:
    """The parser's message without the frame, the advice and the help texts that it prints around it.

    The message stands between the title and the next ruled line: sentences, below them names of options further in,
    and below those their help, still further in.
    """
    lines = [line.strip("│|") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines() if line.strip("│| ")]
    below_title = itertools.dropwhile(_is_rule, lines[1:])
    message = list(itertools.takewhile(lambda line: not _is_rule(line), below_title))
    margin = _indent(message[0]) if message else 0
    head = [line.strip() for line in message if _indent(line) - margin < 4]
    names = [line.strip() for line in message if 4 <= _indent(line) - margin < 8]
    sentence = " ".join([*head, ", ".join(names)]).strip().rstrip(".")
    sentence = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"expected a whole number, found \1", sentence)
    sentence = re.sub(r"could not convert string to float: (.*)", r"expected a number, found \1", sentence)
    return f"{sentence}."


def _is_rule(line: str) -> bool:
    return not re.search(r"\w", line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
