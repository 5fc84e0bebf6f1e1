"""``crosscam extract`` and ``import-authors``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from crosscam.cli.options import Shared
from crosscam.cli.show import bars, counting, say, show_json
from crosscam.data.images import list_images
from crosscam.errors import DataError
from crosscam.extraction import Extractor
from crosscam.training.checkpoint import write_atomically
from crosscam.training.imported import import_run


@dataclass(frozen=True, kw_only=True)
class Extract(Shared):
    """Turn the pictures of a folder into descriptors: an .npz file with 'paths' (N,) and 'descriptors' (N, D)."""

    run_folder: Positional[Path]
    """Run folder with the trained network."""
    pictures: Positional[Path]
    """A picture, or a folder that is searched for pictures with all its folders."""
    out: Positional[Path]
    """The .npz file to write."""
    flip: bool = True
    """Whether mirror images count: twice the work for a somewhat better descriptor."""

    def run(self) -> None:
        """Describe and save."""
        extractor = Extractor.load(self.run_folder, flip=self.flip)
        paths = self._paths()
        with bars(self.json) as progress:
            descriptors = extractor.files(paths, counting(progress, "describing"))
        names = np.array([str(p) for p in paths])
        write_atomically(self.out, lambda path: _save(path, names, descriptors))
        if self.json:
            show_json({"out": str(self.out), "pictures": len(paths), "numbers": descriptors.shape[1]})
        else:
            say(f"{len(paths):,} pictures, {descriptors.shape[1]:,} numbers each, written to {self.out}.")

    def _paths(self) -> list[Path]:
        if self.pictures.is_file():
            return [self.pictures]
        if not self.pictures.is_dir():
            raise DataError(f"No file or folder {self.pictures}. Give a picture or a folder of pictures.")
        paths = sorted(p for folder in (self.pictures, *_folders(self.pictures)) for p in list_images(folder)[0])
        if not paths:
            raise DataError(f"No pictures in {self.pictures} or its folders. Expected .jpg, .png, .webp, .bmp or .tif.")
        return paths


def _folders(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_dir()]


def _save(path: Path, names: np.ndarray, descriptors: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.savez(file, paths=names, descriptors=descriptors)


@dataclass(frozen=True, kw_only=True)
class ImportAuthors(Shared):
    """Turn a checkpoint of the authors' code into a run folder; nothing in the file is run."""

    file: Positional[Path]
    """The authors' .pth file."""
    out: Positional[Path]
    """Run folder to write."""

    def run(self) -> None:
        """Read, convert, save."""
        found = import_run(self.file, self.out)
        if self.json:
            show_json({"out": str(self.out), "backbone": found.backbone, "scales": found.scales, "ids": found.num_ids})
        else:
            say(
                f"Imported RRID on {found.backbone}, stripes {found.scales}, {found.num_ids} identities, into "
                f"{self.out}."
            )
