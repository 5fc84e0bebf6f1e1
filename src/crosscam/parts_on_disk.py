"""The parts of an extraction on disk: known by number, each with a digest and with what its pictures looked like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.descriptor_files import NEXT_STEP, Entry
from crosscam.system.files import GONE, Stamp, stamp_of, write_atomically


def _no_stamps() -> NDArray[np.int64]:
    return np.empty((0, len(GONE)), np.int64)


def as_array(stamps: Sequence[Stamp]) -> NDArray[np.int64]:
    """(m, 3) int64."""
    return np.array(stamps, np.int64).reshape(-1, len(GONE))


@dataclass(frozen=True, eq=False)
class Part:
    """What came of one part's pictures.

    Attributes:
        kept: (n,) places of the pictures that were described, within the part.
        descriptors: (n, D) float32.
        failures: place and reason of each picture that could not be read.
        stamps: (m, 3) what all m pictures looked like when they were read; see :func:`stamp_of`.
    """

    kept: NDArray[np.int64]
    descriptors: NDArray[np.float32]
    failures: tuple[tuple[int, str], ...] = ()
    stamps: NDArray[np.int64] = field(default_factory=_no_stamps)


class PartsOnDisk:
    """The folder of the parts, read one at a time.

    Args:
        entries: all pictures of the extraction.
        folder: where the parts are.
        part_size: pictures of each part but the last.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path, part_size: int) -> None:
        self.all_entries, self.folder, self.part_size = entries, folder, part_size
        self.numbers = range(-(-len(entries) // part_size))

    def pictures(self, number: int) -> Sequence[Entry]:
        """The pictures of one part."""
        return self.all_entries[number * self.part_size : (number + 1) * self.part_size]

    def file(self, number: int) -> Path:
        """Where a part is kept."""
        return self.folder / f"{number:06d}.npz"

    def save(self, number: int, part: Part) -> None:
        """Write a part.

        Raises:
            StorageError: the disk is full.
        """
        places, reasons = zip(*part.failures, strict=True) if part.failures else ((), ())
        arrays: dict[str, NDArray[Any]] = {
            "kept": part.kept,
            "descriptors": part.descriptors,
            "failed": np.array(places, np.int64),
            "reasons": np.array(reasons, np.str_),
            "stamps": part.stamps,
        }
        digest = np.array(_digest(number, arrays))

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays, digest=digest)  # type: ignore[arg-type]

        write_atomically(self.file(number), write, next_step=NEXT_STEP)

    def is_good(self, number: int) -> bool:
        """Whether a part is there, whole, of this number, and of the pictures as they are now."""
        try:
            with np.load(self.file(number)) as found:
                arrays = {name: found[name] for name in found.files}
            whole = str(arrays.pop("digest")) == _digest(number, arrays)
        except Exception:  # a flipped bit makes the reader of the archive raise nearly anything
            return False
        pictures = self.pictures(number)
        if not whole or len(arrays["kept"]) + len(arrays["failed"]) != len(pictures):
            return False
        return bool(np.array_equal(arrays["stamps"], as_array([stamp_of(e.path) for e in pictures])))

    def _read(self, number: int, name: str) -> NDArray[np.generic]:
        with np.load(self.file(number)) as part:
            found: NDArray[np.generic] = part[name]
        return found

    def entries(self) -> Iterator[list[Entry]]:
        """The described pictures of each part."""
        for number in self.numbers:
            pictures = self.pictures(number)
            yield [pictures[int(i)] for i in self._read(number, "kept")]

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """(n, D) descriptors of each part."""
        for number in self.numbers:
            yield self._read(number, "descriptors").astype(np.float32)

    def failures(self) -> Iterator[tuple[Path, str]]:
        """Path and reason of each picture that could not be read."""
        for number in self.numbers:
            pictures = self.pictures(number)
            pairs = zip(self._read(number, "failed"), self._read(number, "reasons"), strict=True)
            yield from ((pictures[int(i)].path, str(reason)) for i, reason in pairs)


def _digest(number: int, arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(str(number).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
