"""What was seen as files: crops, why each was chosen, and all boxes in MOT's format."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from crosscam.errors import DataError
from crosscam.system.files import make_folder
from crosscam.video.mot import mot_lines
from crosscam.video.tracks import Track

COLUMNS = ("track", "crop", "frame", "seconds", "left", "top", "right", "bottom", "quality", "reason")


class Exported:
    """A folder with ``tracks.txt`` (MOT), ``crops.csv`` and ``crops/``; written anew each time.

    Raises:
        DataError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = ExitStack()
        try:
            make_folder(folder / "crops")
            self._mot, table = (
                self._files.enter_context(path.open("w", encoding="utf-8", newline=""))
                for path in (folder / "tracks.txt", folder / "crops.csv")
            )
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error.strerror}).") from error
        self._rows: Any = csv.writer(table)
        self._rows.writerow(COLUMNS)

    def add(self, track: Track) -> None:
        """Write a track."""
        self._mot.write(mot_lines(track.number, track.boxes))
        for crop in track.crops:
            name = f"{track.number:04d}_{crop.frame:06d}.jpg"
            Image.fromarray(crop.pixels).save(self.folder / "crops" / name, quality=92)
            box = [f"{n:.1f}" for n in crop.box]
            numbers = (f"{crop.seconds:.3f}", *box, f"{crop.quality:.3f}")
            self._rows.writerow((track.number, name, crop.frame, *numbers, crop.reason))

    def close(self) -> None:
        """Flush and close."""
        self._files.close()
