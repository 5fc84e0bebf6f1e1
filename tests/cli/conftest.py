"""Commands run in this process, in a folder of their own, on a tiny drawn dataset and a tiny network."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from in_process import Run

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_script(name: str) -> ModuleType:
    """A script of the docs folder as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_errors() -> ModuleType:
    """The script that provokes the errors of docs/errors.md."""
    return load_script("make_errors")


@pytest.fixture(scope="session")
def make_command_line() -> ModuleType:
    """The script that writes the help texts into docs/command-line.md."""
    return load_script("make_command_line")


@pytest.fixture(scope="session")
def base(make_errors: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset ``people`` and the run folder ``run``; leave its files alone."""
    folder = tmp_path_factory.mktemp("base")
    make_errors.make_base(folder)
    return folder


@pytest.fixture
def place(base: Path, tmp_path: Path) -> Path:
    """A working folder with a dataset ``people`` and a run folder ``run`` of its own."""
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(make_errors: ModuleType) -> str:
    """Settings of a network that learns nothing in no time."""
    settings: str = make_errors.TINY
    return settings


@pytest.fixture
def crosscam(make_errors: ModuleType, place: Path) -> Run:
    """Runs a command in the working folder: exit status, standard output, standard error."""
    return lambda command: make_errors.run(command, place)
