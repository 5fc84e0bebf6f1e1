"""What differs from one operating system to the next, such as cores, locks and whole files; names on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from crosscam.errors import CrosscamError, DataError


def lazily(room: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a room: by module below crosscam, its public names, with spaces between."""
    places = {name: module for module, text in names.items() for name in text.split()}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"crosscam.{places[name]}"), name)

    return load, lambda: sorted(places)


def needed(module: str, said: str, error: type[CrosscamError] = DataError) -> Any:
    """An optional module, imported when it is needed; where its package is missing, ``error`` with what is said."""
    try:
        return import_module(module)
    except ImportError as failure:
        raise error(said) from failure
