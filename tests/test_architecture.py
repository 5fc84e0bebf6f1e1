"""docs/architecture.md lists every file of the package, and a file imports only files above it in that list."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def house() -> ModuleType:
    """The benchmark that measures the package; its reading of imports is the one used here."""
    place = ROOT / "benchmarks"
    spec = importlib.util.spec_from_file_location("house", place / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(place))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(place))
    return module


def files() -> dict[str, str]:
    package = ROOT / "src" / "crosscam"
    return {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}


def listed() -> list[str]:
    """The names of the list, from top to bottom; a room's name stands at the beginning of a line."""
    room, found = "", []
    for line in PAGE.split("```")[1].splitlines():
        if line[:1].strip():
            rooms = re.match(r"(?:\w+/)+", line)
            room = rooms[0] if rooms else ""
        found += [room + name for name in re.findall(r"(?<![\w/.])[\w*]+\.py\b", line)]
    return found


def place_of(name: str, order: list[str]) -> int:
    """Where a file stands; the first pattern that fits."""
    return next(i for i, pattern in enumerate(order) if fnmatch(name, pattern))


def test_every_file_is_on_the_list_and_every_name_is_a_file() -> None:
    order, there = listed(), [name for name in files() if not name.endswith("__init__.py")]
    assert [name for name in there if not any(fnmatch(name, pattern) for pattern in order)] == []
    assert [pattern for pattern in order if not any(fnmatch(name, pattern) for name in there)] == []
    assert len(order) == len(set(order))


def test_a_file_imports_only_files_above_it(house: ModuleType) -> None:
    order, texts = listed(), files()
    known = house.modules(texts)
    wrong = [
        f"{name} imports {known[module]}, which stands below it"
        for name, text in texts.items()
        if not name.endswith("__init__.py")
        for module in sorted(set(house.imports(text, known)))
        if module in known and not known[module].endswith("__init__.py") and known[module] != name
        if place_of(known[module], order) > place_of(name, order)
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle(house: ModuleType) -> None:
    assert house.circles(files()) == []
    assert house.circles({"a.py": "from crosscam import b", "b.py": "from crosscam.a import x"}) == [["a", "b"]]


def test_no_rooms_import_each_other_in_a_circle(house: ModuleType) -> None:
    # A room's __init__ only names what is in it, so it is left out, as is what stands at the top.
    texts = {name: text for name, text in files().items() if "/" in name and not name.endswith("__init__.py")}
    known = house.modules(texts)
    arrows = {
        (name.split("/")[0], module.split(".")[0])
        for name, text in texts.items()
        for module in house.imports(text, known)
        if module in known
    }
    rooms = {
        f"{room}.py": "\n".join(f"import crosscam.{to}" for start, to in sorted(arrows) if start == room != to)
        for room in {start for start, _ in arrows} | {to for _, to in arrows}
    }
    assert house.circles(rooms) == []


def test_base_names_are_unique() -> None:
    names = Counter(Path(name).name for name in files() if not name.endswith("__init__.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_few_files_stand_at_the_top() -> None:
    assert {name for name in files() if "/" not in name} == {"__init__.py", "__main__.py", "errors.py"}
