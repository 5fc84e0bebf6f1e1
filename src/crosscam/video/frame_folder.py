"""A folder of frames as a video."""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crosscam.data.images import IMAGE_SUFFIXES, decode_image, natural_key
from crosscam.errors import DataError, ImageError
from crosscam.system.text import printable
from crosscam.video.decoding import USUAL_RATE, Due, Frame


@dataclass
class FrameFolder:
    """A folder of pictures as a video, such as ``img1`` of MOT Challenge or the folder around it; see :class:`Source`.

    Where all names are numbers, they number the frames, counted from 1 as in MOT's text files.

    Raises:
        DataError: the folder holds no pictures.
    """

    path: Path
    live: bool = False
    total: int | None = None
    notes: list[str] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        inner = self.path / "img1"
        folder = inner if inner.is_dir() else self.path
        self.files = sorted((p for p in folder.iterdir() if _is_frame(p)), key=lambda p: natural_key(p.name))
        if not self.files:
            raise DataError(f"{self.path} holds no frames. Expected a video, or pictures such as img1/000001.jpg.")
        self.name = printable(os.path.abspath(self.path))
        self.key = _digest_of_folder(self.files)
        self.total = len(self.files)
        found = _frame_rate(folder)
        self.rate = found or USUAL_RATE
        if found is None:
            self.notes.append(f"{self.path.name}: no seqinfo.ini gives a frame rate; {USUAL_RATE:.0f} a second count.")

    def frames(self, rate: float | None = None) -> Iterator[Frame]:
        """See :class:`Source`; pictures that cannot be read are left out, and told."""
        due, numbers = Due(rate), self.numbers()
        broken: list[Path] = []
        for number, path in zip(numbers, self.files, strict=True):
            seconds = (number - numbers[0]) / self.rate
            if not due.take(seconds):
                continue
            try:
                pixels = decode_image(path)
            except ImageError as error:
                broken.append(path)
                if len(broken) == 1:
                    self.notes.append(f"frame {number} is left out: {error}")
                continue
            yield Frame(number, seconds, pixels)
        if len(broken) > 1:
            self.notes.append(f"{len(broken):,} frames of {self.path.name} could not be read.")
        if len(broken) == len(self.files):
            raise DataError(f"No frame of {self.path} can be read. First: {broken[0].name}.")

    def numbers(self) -> list[int]:
        """The number of each file's frame, counted from 0."""
        stems = [path.stem for path in self.files]
        named = all(stem.isascii() and stem.isdecimal() and int(stem) > 0 for stem in stems)
        return [int(stem) - 1 for stem in stems] if named else list(range(len(stems)))


def _digest_of_folder(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}|{path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:8]


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _frame_rate(folder: Path) -> float | None:
    """The rate in the seqinfo.ini in a folder or the one around it."""
    for place in (folder, folder.parent):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            if parser.read(place / "seqinfo.ini", encoding="utf-8"):
                rate = parser.getfloat("Sequence", "frameRate")
                return rate if 0 < rate < 1000 else None
        except (configparser.Error, ValueError, UnicodeDecodeError):
            return None
    return None
