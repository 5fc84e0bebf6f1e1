"""What a command must not write over: what it reads, the files of a run folder, networks from elsewhere, and images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from crosscam.data.walk import is_image_name
from crosscam.errors import DataError

# Options that name a file to write. Other paths of a command are read.
WRITTEN = ("out", "report", "sheet", "html", "csv")
RUN_FILES = {
    *("weights.safetensors", "recipe.json", "provenance.json", "trained_on.json", "metrics.jsonl", "state.pt"),
    *("teachers.npz", "network.json"),
}


def refuse_overwriting(command: object) -> None:
    """Refuse (DataError) a file to write that is there and that somebody needs; see the module."""
    assert dataclasses.is_dataclass(command)
    values = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
    read = [path for name, value in values.items() if name not in WRITTEN for path in _paths(value) if path.is_file()]
    for name in WRITTEN:
        for path in _paths(values.get(name)):
            if not path.is_file():
                continue
            if any(path.samefile(other) for other in read):
                what = "is read by the same command"
            elif path.name in RUN_FILES:
                what = "belongs to a network"
            elif _is_foreign_network(path):
                what = "is a network that 'crosscam export' did not write,"
            elif name != "sheet" and is_image_name(path.name):
                what = "is an image"
            else:
                continue
            raise DataError(f"{path} {what} and would be replaced. Nothing was done; choose another name.")


def _is_foreign_network(path: Path) -> bool:
    from crosscam.inference.engines.network_file import is_exported_by_crosscam, is_network_file  # loads torch

    return is_network_file(path) and not is_exported_by_crosscam(path)


def _paths(value: object) -> Iterator[Path]:
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, Path):
            yield one
