"""From the words of a command line to a command; what cannot be understood becomes one line with the nearest name."""

from __future__ import annotations

import dataclasses
import enum
import functools
import io
import itertools
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import subcommand

from crosscam.cli.commands import COMMANDS, Command, Group, Runnable, called_by
from crosscam.errors import CrosscamError
from crosscam.system.text import did_you_mean

DESCRIPTION = (
    "Find the same person across cameras: train, measure, describe. 'crosscam COMMAND --help' tells more of each "
    "command, 'crosscam --version' the version."
)


class UsageError(CrosscamError):
    """A command line that cannot be understood."""


class Takes(enum.Enum):
    """How often an option is given, and with how many values."""

    ONE = "once, with one value"
    SEVERAL = "once, with one value or more"
    ANYTIME = "any number of times"


def parse(arguments: Sequence[str]) -> Runnable:
    """The command with its options; UsageError for what cannot be understood, SystemExit when help was printed."""
    words = list(arguments)
    names, found = called_by(words)
    left = words[len(names) :]
    called = " ".join(["crosscam", *names])
    if isinstance(found, Command):
        kind, description = found.load(), None
        _refuse_unknown_options(called, _options(kind), left)
    else:
        commands = COMMANDS if found is None else found.commands
        if left and not left[0].startswith("-"):
            near = did_you_mean(left[0], sorted(commands))
            raise UsageError(f"No command {left[0]!r} in '{called}'. {near}Known: {', '.join(commands)}.")
        kind, description = _menu(commands), DESCRIPTION if found is None else found.purpose
    if not left and not isinstance(found, Command):
        left = ["--help"]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            command: Runnable = tyro.cli(
                kind,
                prog=called,
                description=description,
                args=left,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.PositionalMetavarFromFieldName,
                ),
            )
    except SystemExit as end:
        if end.code:
            raise UsageError(f"{_as_sentence(said.getvalue())} See '{called} --help'.") from end
        raise
    return command


def _menu(commands: Mapping[str, Command | Group]) -> Any:
    """What the parser takes to list commands: an empty class for each, so that none is loaded."""
    kinds = [
        Annotated[dataclasses.make_dataclass(name, ()), subcommand(name, description=found.purpose)]
        for name, found in commands.items()
    ]
    return functools.reduce(operator.or_, kinds)


@dataclasses.dataclass(frozen=True)
class _Option:
    """An option by one of its names: the name that help shows, and what it takes."""

    name: str
    takes: Takes


def flag(name: str) -> str:
    """An option as the command line spells it: ``--extract-to`` of ``extract_to``."""
    return f"--{name.replace('_', '-')}"


def _refuse_unknown_options(called: str, known: Mapping[str, _Option], words: Sequence[str]) -> None:
    """Refuse an unknown option, one that is given twice, of which only the last would count, and one without a value.

    An option that takes several values takes none as well, for the parser: ``--ids $IDS`` of a script in which IDS is
    empty would choose nothing, and ``--not-ids $KEPT`` everything.
    """
    given: set[str] = set()
    for word, following in itertools.zip_longest(words, words[1:]):
        name = word.partition("=")[0].replace("_", "-")
        if name == "--":
            return
        if not name.startswith("--"):
            continue
        if name in known:
            option = known[name]
            if option.name in given and option.takes is not Takes.ANYTIME:
                raise UsageError(f"{name} is given twice to '{called}', where only the last would count. Give it once.")
            if option.takes is Takes.SEVERAL and "=" not in word and (following is None or following.startswith("--")):
                raise UsageError(f"{name} of '{called}' is given without a value. Give at least one, or leave it out.")
            given.add(option.name)
            continue
        near = (_setting_like(name) if "--set" in known else "") or _meant(name, known)
        raise UsageError(f"No option {name} in '{called}'. {near}'{called} --help' lists all.")


# What other programs, or this one's Python, call an option.
_SYNONYMS = {
    **dict.fromkeys(("camid", "cam", "camera", "cameras"), ("camera", "cameras", "camids")),
    **dict.fromkeys(("from", "since", "after", "start"), ("time-from",)),
    **dict.fromkeys(("to", "until", "before", "end"), ("time-to",)),
    **dict.fromkeys(("top", "top-k", "topk", "n", "hits", "max"), ("limit",)),
    **dict.fromkeys(("id", "entry", "entries"), ("ids",)),
    **dict.fromkeys(("identity", "person"), ("pid", "pids")),
    **dict.fromkeys(("output", "o"), ("out",)),
}


def _meant(option: str, known: Iterable[str]) -> str:
    """The hint at the option that was meant: by another word for it, or else by its spelling."""
    word = option.removeprefix("--").removeprefix("set-")
    for other in (word, *_SYNONYMS.get(word, ())):
        if f"--{other}" in known:
            return f"Did you mean --{other}? "
    return did_you_mean(option, sorted(known))


def _setting_like(option: str) -> str:
    from crosscam.recipes.catalogue import RECIPES
    from crosscam.recipes.settings import setting_names

    ending = "." + option.removeprefix("--").replace("-", "_")
    settings = [s for r in RECIPES.values() for s in setting_names(r) if f".{s}".endswith(ending)]
    return f"Did you mean --set {settings[0]}=VALUE? " if settings else ""


def _options(command: type) -> dict[str, _Option]:
    """The options of a command, ``--help`` included, by each name that may be typed."""
    found = {"--help": _Option("--help", Takes.ANYTIME)}
    hints = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found |= _options(kind)
        elif not (_has_marker(kind, tyro.conf.Positional[int]) or _has_marker(kind, tyro.conf.Fixed[int])):
            told = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
            name = next((n for n in (getattr(one, "name", None) for one in told) if isinstance(n, str)), field.name)
            others = [other for one in told for other in getattr(one, "aliases", None) or ()]
            # Flags say the same however often.
            if kind is bool or _has_marker(kind, tyro.conf.UseAppendAction[int]):
                takes = Takes.ANYTIME
            else:
                takes = Takes.SEVERAL if "tuple[" in str(kind) else Takes.ONE
            option = _Option(flag(name), takes)
            found |= dict.fromkeys((option.name, *others), option)
    return found


def _has_marker(kind: Any, example: Any) -> bool:
    """Whether an annotated type carries the parser's marker that an example carries."""
    return get_origin(kind) is Annotated and get_args(example)[1] in get_args(kind)


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
    # Of several options together, a group that the user does not know.
    sentence = re.sub(r"^Error parsing (?!-)\S+: ", "", sentence)
    sentence = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"expected a whole number, found \1", sentence)
    sentence = re.sub(r"could not convert string to float: (.*)", r"expected a number, found \1", sentence)
    return f"{sentence}."


def _is_rule(line: str) -> bool:
    return not re.search(r"\w", line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
