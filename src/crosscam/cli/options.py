"""Options that several commands share; ``--help`` shows each of these groups in a box of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import torch
from tyro.conf import UseAppendAction, arg

from crosscam.cli.show import say
from crosscam.data.readers import read_dataset
from crosscam.data.records import ReidDataset
from crosscam.training.distributed import is_first_process

T = TypeVar("T")
# An option that is not set unless the user sets it; its help says what happens without it.
Unset = Annotated[T | None, arg(help_behavior_hint="")]
Settings = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")]


@dataclass(frozen=True, kw_only=True)
class General:
    """What every command takes."""

    json: bool = False
    """Print the result as one JSON document on standard output; remarks still go to standard error."""
    debug: bool = False
    """Show the whole traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the data set is read, where its folder does not say it; see docs/datasets.md."""

    kind: Unset[str] = None
    """Kind of the data set, if it is not recognised: market1501, cuhk03, table, folders, ..."""
    protocol: Unset[str] = None
    """Published protocol, where there are several."""
    split: Unset[int] = None
    """Number of the random split, where there are several."""
    camids: Unset[str] = None
    """Camera of own images: a number for all, or a regular expression with one group over the file name."""
    boxes: Unset[str] = None
    """CUHK03: labeled or detected."""
    extract_to: Unset[Path] = None
    """CUHK03's cuhk-03.mat: folder for its images; beside the file by default."""

    def read(self, path: Path) -> ReidDataset:
        """Read the data set at ``path``."""
        return read_dataset(
            path,
            kind=self.kind,
            protocol=self.protocol,
            split=self.split,
            camids=self.camids,
            boxes=self.boxes,
            extract_to=self.extract_to,
        )

    def read_and_note(self, path: Path) -> ReidDataset:
        """The same, and say what the reader left out or decided."""
        dataset = self.read(path)
        if is_first_process():
            for note in dataset.notes:
                say(f"note: {note}")
        return dataset


def best_device() -> str:
    """A GPU, if torch finds one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def output_of(source: Path, name: str) -> Path:
    """Where a command writes by default: into the run folder; for a shipped network, here, with its name in front."""
    return source / name if source.is_dir() else Path(f"{source}-{name}")
