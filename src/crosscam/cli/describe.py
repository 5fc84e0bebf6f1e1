"""``crosscam extract`` and ``import-authors``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from crosscam.cli.options import General, best_device
from crosscam.cli.show import bars, counting, say, show_json
from crosscam.data.images import list_images, path_key
from crosscam.errors import DataError
from crosscam.extraction import Extractor
from crosscam.training.checkpoint import write_atomically
from crosscam.training.imported import import_run


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Turn pictures into descriptors: an .npz file with 'paths' (N,) and 'descriptors' (N, D), each row of length 1."""

    run_folder: Positional[Path]
    """Run folder with the trained network."""
    pictures: Positional[Path]
    """A picture, or a folder that is searched for pictures with all its folders."""
    out: Positional[Path]
    """The .npz file to write."""
    no_flip: bool = False
    """Leave mirror images out: half the work for a somewhat worse descriptor."""
    general: General = General()

    def run(self) -> None:
        """Describe and save."""
        if self.out.is_dir() or self.out.suffix != ".npz":
            raise DataError(f"{self.out} cannot be written. Expected the name of a file that ends in .npz.")
        extractor = Extractor.load(self.run_folder, flip=not self.no_flip, device=best_device())
        paths, others = find_pictures(self.pictures)
        if others:
            say(f"note: {len(others):,} files are no pictures by their names and were left out. First: {others[0]}.")
        with bars(self.general.json) as progress:
            descriptors = extractor.files(paths, counting(progress, "describing"))
        names = np.array([str(p) for p in paths])
        write_atomically(self.out, lambda path: _save(path, names, descriptors))
        if self.general.json:
            show_json({"out": str(self.out), "pictures": len(paths), "numbers": descriptors.shape[1]})
        else:
            say(f"{len(paths):,} pictures, {descriptors.shape[1]:,} numbers each, written to {self.out}.")


def find_pictures(place: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder and all its folders in natural order, or the one picture; and all other files.

    Raises:
        DataError: there are none.
    """
    if place.is_file():
        return [place], []
    if not place.is_dir():
        raise DataError(f"No file or folder {place}. Give a picture or a folder of pictures.")
    found = [list_images(Path(folder)) for folder, _, _ in os.walk(place)]
    pictures = sorted((p for images, _ in found for p in images), key=path_key)
    others = sorted((p for _, rest in found for p in rest), key=path_key)
    if not pictures:
        raise DataError(f"No pictures in {place} or its folders. Expected files in .jpg, .png, .bmp, .webp or .tif.")
    return pictures, others


def _save(path: Path, names: NDArray[np.str_], descriptors: NDArray[np.float32]) -> None:
    with open(path, "wb") as file:
        np.savez(file, paths=names, descriptors=descriptors)


@dataclass(frozen=True, kw_only=True)
class ImportAuthors:
    """Turn a checkpoint of the authors' code into a run folder; nothing in the file is run."""

    file: Positional[Path]
    """The authors' .pth file."""
    out: Positional[Path]
    """Run folder to write."""
    general: General = General()

    def run(self) -> None:
        """Read, convert, save."""
        found = import_run(self.file, self.out)
        if self.general.json:
            show_json({"out": str(self.out), "backbone": found.backbone, "scales": found.scales, "ids": found.num_ids})
        else:
            scales = ", ".join(map(str, found.scales))
            say(
                f"Imported RRID: backbone {found.backbone}, stripes {scales}, {found.num_ids} identities; in {self.out}."
            )
