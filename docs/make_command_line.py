"""Writes the help of every command into docs/command-line.md: ``python docs/make_command_line.py``.

tests/cli/test_command_line_docs.py fails where the page and the help differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from crosscam.cli.main import main

PAGE = Path(__file__).with_name("command-line.md")
BLOCK = re.compile(r"(<!-- help of: (.*?) -->\n).*?(<!-- end of help -->)", re.DOTALL)

# A group of options that many commands have, with its rule and all below it up to the next group or the end.
SHARED = re.compile(r"\n\n (reading options|general options)\n -+\n.*?(?=\n\n \S[^\n]*\n -{20}|\Z)", re.DOTALL)


def help_of(command: str) -> str:
    """What ``crosscam COMMAND --help`` prints, 110 columns wide."""
    os.environ["COLUMNS"] = "110"
    out = StringIO()
    try:
        with redirect_stdout(out):
            main([*command.split(), "--help"])
    except SystemExit as end:
        if end.code:
            raise ValueError(f"The page shows the help of {command!r}, which is no command.") from end
    finally:
        del os.environ["COLUMNS"]
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def helps_of(commands: Iterable[str]) -> dict[str, str]:
    """The help of each command; options that several of them share stand in the first one alone."""
    first: dict[str, str] = {}
    found: dict[str, str] = {}
    for command in commands:

        def told(section: re.Match[str], command: str = command) -> str:
            where = first.setdefault(section[1], command)
            return section[0] if where == command else f"\n\n {section[1]}: as of 'crosscam {where}'"

        found[command] = SHARED.sub(told, help_of(command))
    return found


def with_help(text: str) -> str:
    """The page with the help of today in every block."""
    helps = helps_of(block[2] for block in BLOCK.finditer(text))
    return BLOCK.sub(lambda block: f"{block[1]}\n```\n{helps[block[2]]}\n```\n\n{block[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_help(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
