"""What crosscam raises on purpose is its own, so that the command line can tell it from a fault."""

from __future__ import annotations

import ast
from pathlib import Path

import crosscam

# Inside, these are turned into a CrosscamError.
INNER = {"safe_pickle.py", "checkpoint.py"}
PLAIN = {"Exception", "ValueError", "TypeError", "RuntimeError", "KeyError", "OSError", "LookupError", "IndexError"}


def test_nothing_plain_is_raised() -> None:
    found = []
    for path in sorted(Path(crosscam.__file__).parent.rglob("*.py")):
        if path.name in INNER:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.exc if isinstance(node, ast.Raise) else None
            name = getattr(getattr(called, "func", called), "id", "")
            if name in PLAIN:
                found.append(f"{path.name}:{node.lineno}")
    assert found == [], "raise ArgumentError, or another CrosscamError"
