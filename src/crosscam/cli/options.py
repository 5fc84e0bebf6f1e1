"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crosscam.data.readers import read_dataset
from crosscam.data.records import ReidDataset


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of every command."""

    json: bool = False
    """Print the result as JSON on standard output."""
    debug: bool = False
    """Show the whole traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Reading(Shared):
    """How a data set is read, where the folder does not say it by itself."""

    kind: str | None = None
    """Kind of the data set, if it is not recognised: market1501, cuhk03, table, folders, ..."""
    protocol: str | None = None
    """Published protocol, where there are several."""
    split: int | None = None
    """Number of the random split, where there are several."""
    camids: str | None = None
    """Camera of own images: a number for all, or a regular expression with one group over the file name."""
    boxes: str | None = None
    """CUHK03: labeled or detected."""
    extract_to: Path | None = None
    """CUHK03's cuhk-03.mat: folder for its images; beside the file by default."""

    def read(self, path: Path) -> ReidDataset:
        """Read the data set at ``path``."""
        camids = int(self.camids) if self.camids is not None and self.camids.isdigit() else self.camids
        return read_dataset(
            path,
            kind=self.kind,
            protocol=self.protocol,
            split=self.split,
            camids=camids,
            boxes=self.boxes,
            extract_to=self.extract_to,
        )
