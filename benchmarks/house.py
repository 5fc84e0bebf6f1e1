"""How large the package is and how its files hang together, at several commits.

    python benchmarks/house.py 84ac317 HEAD [--touched "model=54efb52,search option=af96c89"]

For each commit: files, lines, lines of code (no blank lines, comments or docstrings), functions, the median and the
longest, the largest file, base names that stand twice, and circles among files (imports inside functions count, those
for types alone do not). ``--touched`` names a commit for each kind of addition, and counts the files under ``src/``
that it changes. Reads git alone; writes ``benchmarks/results/house.json``.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from statistics import median
from typing import Any

import machine

PACKAGE = "src/crosscam/"


def git(*words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=machine.ROOT, check=True, capture_output=True, text=True).stdout


def sources(commit: str) -> dict[str, str]:
    """Path below the package to text, of every Python file of it."""
    names = git("ls-tree", "-r", "--name-only", commit, PACKAGE).splitlines()
    return {name.removeprefix(PACKAGE): git("show", f"{commit}:{name}") for name in names if name.endswith(".py")}


def code_lines(text: str) -> int:
    """Lines that hold code."""
    held: set[int] = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            said = node.body[0]
            held.difference_update(range(said.lineno, (said.end_lineno or said.lineno) + 1))
    return len(held)


def functions(files: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Length in lines and place of each function, docstring included."""
    for name, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{node.name} ({name})"


def modules(files: Mapping[str, str]) -> dict[str, str]:
    """Module name to path."""
    return {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in files}


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """The modules of the package that a file imports."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if _for_types(node):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crosscam"):
            inside = (node.module or "").removeprefix("crosscam").removeprefix(".")
            names = [f"{inside}.{alias.name}".removeprefix(".") for alias in node.names]
            yield from (name if name in known else inside for name in names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("crosscam.") for a in node.names if a.name.startswith("crosscam."))
        waiting.extend(ast.iter_child_nodes(node))


def circles(files: Mapping[str, str]) -> list[list[str]]:
    """Sets of files that import each other in a circle (strongly connected components of two or more)."""
    known = modules(files)
    arrows = {m: {i for i in imports(files[name], known) if i in known and i != m and i} for m, name in known.items()}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(arrows[start])
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting.extend(arrows[one])
        return seen

    reach = {m: reached(m) for m in known}
    found = {tuple(sorted(o for o in reach[m] if m in reach[o])) for m in known if m in reach[m]}
    return [list(circle) for circle in sorted(found)]


def measure(commit: str) -> dict[str, Any]:
    """The figures of one commit."""
    files = sources(commit)
    lengths = sorted(functions(files))
    largest = max(files, key=lambda name: files[name].count("\n"))
    names = Counter(PurePosixPath(name).name for name in files if not name.endswith("__init__.py"))
    return {
        "files": len(files),
        "lines": sum(text.count("\n") for text in files.values()),
        "lines of code": sum(code_lines(text) for text in files.values()),
        "functions": len(lengths),
        "median function": median(length for length, _ in lengths),
        "longest function": f"{lengths[-1][0]}, {lengths[-1][1]}",
        "largest file": f"{files[largest].count(chr(10))}, {largest}",
        "base names that stand twice": ", ".join(sorted(name for name, count in names.items() if count > 1)) or "none",
        "circles": "; ".join(" - ".join(circle) for circle in circles(files)) or "none",
    }


def touched(commit: str) -> int:
    """Files under src/ that a commit changes."""
    return len(git("show", "--format=", "--name-only", commit, "--", "src").split())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+")
    parser.add_argument("--touched", default="", help="KIND=COMMIT, comma-separated")
    options = parser.parse_args()
    found = {git("rev-parse", "--short", commit).strip(): measure(commit) for commit in options.commits}
    print("| figure |", " | ".join(found), "|")
    print("|---" * (len(found) + 1) + "|")
    for figure in next(iter(found.values())):
        print("|", figure, "|", " | ".join(str(row[figure]) for row in found.values()), "|")
    kinds = dict(pair.split("=") for pair in options.touched.split(",") if pair)
    counts = {kind: {"commit": commit, "files": touched(commit)} for kind, commit in kinds.items()}
    for kind, row in counts.items():
        print(f"a new {kind}: {row['files']} files of src/ ({row['commit']})")
    machine.write("house", {"commits": found, "touched": counts})


if __name__ == "__main__":
    main()
