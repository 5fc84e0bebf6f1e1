"""How the command line answers: help, versions, unknown names, exit statuses."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import crosscam as package
from crosscam.cli import evaluate, recipes, train
from crosscam.cli.commands import COMMANDS, Command, Group, called_by
from crosscam.cli.parsing import UsageError, parse
from crosscam.errors import ArgumentError, StoppedError
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings

Run = Callable[[str], tuple[int, str, str]]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    DOCS.parent / "README.md",
    *sorted(page for page in DOCS.glob("*.md") if page.stem not in ("command-line", "errors")),
]
LEAVES = [
    f"{name} {sub}" if sub else name
    for name, found in COMMANDS.items()
    for sub in (found.commands if isinstance(found, Group) else [""])
]


def test_version(crosscam: Run) -> None:
    assert crosscam("--version") == (0, f"crosscam {package.__version__}\n", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    """Those that stand in a line of their own, with the settings of trainings; nothing is run."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ *(?:\$ )?(?:\.venv/bin/)?crosscam ([a-z-]+ [^\n]*[^.\n])$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] not in COMMANDS:
            continue  # a sentence
        command = parse(words)
        if isinstance(command, train.Train):
            with_settings(find_recipe(command.recipe), command.set, once=True)


@pytest.mark.parametrize("command", ["", "data"])
def test_a_group_alone_shows_its_help(command: str, crosscam: Run) -> None:
    assert crosscam(command) == crosscam(f"{command} --help")
    assert crosscam(command)[0] == 0


@pytest.mark.parametrize("command", LEAVES)
def test_help_explains_every_option(command: str, crosscam: Run) -> None:
    status, out, err = crosscam(f"{command} --help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: crosscam {command} ")
    assert "--debug" in out
    # Options stand left in a box; one without a text would be followed by nothing, or by its default alone.
    rows = [line.strip("│| ") for line in out.splitlines() if line.strip("│| ").startswith("--")]
    assert rows
    assert "default: None" not in out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trian", "No command 'trian' in 'crosscam'. Did you mean train?"),
        ("data doctr x", "No command 'doctr' in 'crosscam data'. Did you mean doctor?"),
        ("xyzzy", "No command 'xyzzy' in 'crosscam'. Known: demo, data"),
        ("evaluate r --data x --rernk", "No option --rernk in 'crosscam evaluate'. Did you mean --rerank?"),
        ("train rrid-s --data x --lr-head=1", "Did you mean --set optim.lr_head=VALUE?"),
        ("train --recipe rrid-s --data x", "No option --recipe in 'crosscam train'."),
        ("data render x --epochs 3", "No option --epochs in 'crosscam data render'. 'crosscam data render --help'"),
        ("demo --ids", "Missing value for argument '--ids'"),
        ("gallery search g a.jpg --limit 0", "--limit is 0. Expected 1 or more."),
        ("gallery search g a.jpg --rerank=-1", "--rerank is -1. Expected 0 or more."),
        ("demo --ids 3.5", "Error parsing --ids: expected a whole number, found '3.5'."),
        ("data render x --collide much", "Error parsing --collide: expected a number, found 'much'."),
        ("evaluate r --data x --ap best", "Expected one of ('recipe', 'step', 'trapezoid')."),
        ("extract run", "Missing from crosscam extract: IMAGES, OUT. See 'crosscam extract --help'."),
        (
            "evaluate r --data x --data y",
            "--data is given twice to 'crosscam evaluate', where only the",
        ),
        ("evaluate r --data x --rerank --k1=3 --k1=4", "--k1 is given twice"),
        ("gallery forget g --ids 1 --ids 2", "--ids is given twice to 'crosscam gallery forget'"),
        ("train demo --data x --out a --out b", "--out is given twice"),
        (
            "gallery forget g --not-ids",
            "--not-ids of 'crosscam gallery forget' is given without a value. Give",
        ),
        ("gallery forget g --ids --pids 3", "--ids of 'crosscam gallery forget' is given without a value"),
        ("serve --host-name --port 1", "--host-name of 'crosscam serve' is given without a value"),
        ("demo now", "Unrecognized options: now. See 'crosscam demo --help'."),
        ("--x", "See 'crosscam --help'."),
    ],
)
def test_what_cannot_be_understood_gets_one_line(typed: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(typed.split())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_underscores_are_taken_for_hyphens() -> None:
    command = parse(["evaluate", "run", "--data", "x", "--lambda_value", "0.5"])
    assert isinstance(command, evaluate.Evaluate)
    assert command.lambda_value == 0.5


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "crosscam: stopped.\n"),
        (StoppedError("Stopped in epoch 3.\nGo on."), 130, "crosscam: Stopped in epoch 3. Go on.\n"),
        (ArgumentError("A bad\n  value."), 2, "crosscam: A bad value.\n"),
        (BrokenPipeError(), 0, ""),
        (
            PermissionError(13, "Permission denied", "runs/x"),
            2,
            "crosscam: runs/x: Permission denied. Check the path, and who may read and write there.\n",
        ),
    ],
)
def test_exit_status(
    raised: BaseException, status: int, said: str, crosscam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: recipes.Recipes) -> None:
        raise raised

    monkeypatch.setattr(recipes.Recipes, "run", fail)
    monkeypatch.setattr("crosscam.cli.main.forget_output", lambda: None)
    assert crosscam("recipes") == (status, "", said)


def test_as_a_module_with_a_closed_pipe() -> None:
    """``python -m crosscam recipes rrid-f --json | true``, where nobody reads."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "crosscam", "recipes", "rrid-f", "--json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 0


def words_of(text: str) -> list[str]:
    """The words alone: the parser's versions differ in frames and in where lines end."""
    return re.findall(r"\w[^\s│|]*|--\S+", text)


def test_the_page_shows_no_command_that_is_gone(make_command_line: ModuleType) -> None:
    page = make_command_line.PAGE.read_text(encoding="utf-8")
    assert {block[2] for block in make_command_line.BLOCK.finditer(page)} == set(LEAVES)
    with pytest.raises(ValueError, match="'gallery index', which is no command"):
        make_command_line.help_of("gallery index")


def test_the_page_shows_todays_help(make_command_line: ModuleType) -> None:
    page = make_command_line.PAGE.read_text(encoding="utf-8")
    shown = {block[2]: block[0] for block in make_command_line.BLOCK.finditer(page)}
    now = make_command_line.helps_of(shown)
    assert "reading options: as of 'crosscam data doctor'" in now["evaluate"]
    assert "--kind" in now["data doctor"]
    for command, text in now.items():
        assert words_of(text)
        assert words_of(text) == words_of(shown[command].partition("```")[2].rpartition("```")[0]), (
            f"{command}; run: python docs/make_command_line.py"
        )


@pytest.mark.parametrize("command", LEAVES)
def test_the_list_of_commands_says_what_each_says_itself(command: str) -> None:
    found = called_by(command.split())[1]
    assert isinstance(found, Command)
    said = " ".join((found.load().__doc__ or "").split("\n\n")[0].split())
    assert said == found.purpose


@pytest.mark.parametrize("words", ["--version", "--help", "gallery --help"])
def test_lists_and_the_version_load_no_torch(words: str) -> None:
    look = (
        "import sys\nfrom crosscam.cli.main import main\n"
        f"try:\n    main({words.split()!r})\nexcept SystemExit:\n    pass\n"
        "sys.exit(' '.join({'torch', 'numpy', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.split() == ([] if words == "--version" else ["tyro"])


def test_the_shell_completes_commands_and_their_options(crosscam: Run) -> None:
    status, script, err = crosscam("completion bash")
    assert (status, err) == (0, "")
    asked = (
        script
        + """
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _tyro_crosscam crosscam "${@: -1}" "${@: -2:1}"
}
complete_words crosscam gal; echo "${COMPREPLY[@]}"
complete_words crosscam gallery se; echo "${COMPREPLY[@]}"
complete_words crosscam evaluate --rer; echo "${COMPREPLY[@]}"
"""
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["gallery", "search", "--rerank"]


def test_flags_and_repeatable_options_may_be_repeated() -> None:
    command = parse(["train", "demo", "--data", "x", "--set", "a=1", "--set", "b=2", "--json", "--json"])
    assert isinstance(command, train.Train)
    assert command.set == ("a=1", "b=2")
