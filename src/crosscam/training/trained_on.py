"""Whom a network was trained on: digests of its training images beside the weights, for scores that warn."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.data.loading import read_ahead
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.text_files import read_text
from crosscam.errors import CheckpointError, DataError
from crosscam.recipes import checkpoint
from crosscam.shipped import run_folder
from crosscam.system.progress import Progress
from crosscam.system.text import parse_json

# An image is known by the first five bytes of the SHA-256 of its file. Names would not do: a table may rename people, a
# folder may rename images, and ``0001.jpg`` is in every folder. Five bytes take 150 kB for 22,000 images, and among
# 10,000 other images one in 5,000 such records finds a false one. An image that was converted or cut again has another
# digest, so that a person of other images is not recognized.
TRAINED_ON = "trained_on.json"
DIGEST_BYTES = 5
_FILES_AT_ONCE = 256
# An image that cannot be read, which is never among the digests: they have five bytes.
_UNREADABLE = 2**64 - 1

Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """The tested people that a network was trained on.

    Attributes:
        known: whether the run says what it was trained on.
        pids: the tested people it was trained on; a person counts if the training had any image of theirs.
        tested_people: people of the queries.
        images: query and gallery images that were trained on.
        tested_images: query and gallery images.
    """

    known: bool
    pids: tuple[int, ...]
    tested_people: int
    images: int
    tested_images: int

    def sentence(self) -> str | None:
        """What a reader of the scores must know; None where the network never saw the people, by their images."""
        if not self.known:
            return (
                f"It is not known whom this network was trained on (it has no {TRAINED_ON}). If that includes people "
                f"of the {self.tested_people:,} tested, the scores are too high."
            )
        if not self.pids:
            return None
        return (
            f"{len(self.pids):,} of the {self.tested_people:,} tested people trained this network ({self.images:,} of "
            f"the {self.tested_images:,} images), so these scores are higher than for people it never saw. Leave them "
            "out, or test on other people."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; null for what is not known."""
        return {
            "tested_people": self.tested_people,
            "trained_people": len(self.pids) if self.known else None,
            "trained_images": self.images if self.known else None,
            "trained_pids": list(self.pids) if self.known else None,
        }


def digests_of(paths: Sequence[Path], progress: Progress | None = None) -> Digests:
    """(N,) digests of files, read in parallel; the largest 64-bit number for one that cannot be read."""
    found: list[int] = []
    for some in read_ahead(paths, _digest, _FILES_AT_ONCE):
        found += some
        if progress:
            progress(len(found), len(paths))
    return np.array(found, np.uint64)


def _digest(path: Path) -> int:
    try:
        return int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:DIGEST_BYTES], "big")
    except OSError:
        return _UNREADABLE


def save_trained_on(
    folder: Path,
    dataset: ReidDataset,
    further: Sequence[Path] = (),
    source: Path | None = None,
    digests: Digests | None = None,
) -> None:
    """Write whom a training learns from, beside its weights.

    Args:
        folder: the run folder.
        dataset: its ``train`` subset is learned; identities below 1 are of nobody known.
        further: images without labels that are learned, too.
        source: run folder or shipped network that the training begins with, whose images count, too; where these are
            not known, nothing is written.
        digests: of the training images and the further ones, where they are known already.
    Raises:
        DataError: an image that cannot be read.
        TrainingError: the file cannot be written.
    """
    known = np.empty(0, np.uint64) if source is None else load_trained_on(source)
    if known is None:
        return
    before = {} if source is None else parse_json(read_text(run_folder(source) / TRAINED_ON))
    if digests is None:
        digests = readable_digests([*(s.path for s in dataset.train), *further])
    # Images that the other training had, and people with one of them, are counted there.
    old = np.isin(digests, known)
    people = {s.pid for s in dataset.train if s.pid > DISTRACTOR_PID} - _people(
        dataset.train, old[: len(dataset.train)]
    )
    rows = np.union1d(digests, known).astype(">u8").view(np.uint8).reshape(-1, 8)
    value = {
        "people": before.get("people", 0) + len(people),
        "images": before.get("images", 0) + int((~old).sum()),
        "digest": f"first {DIGEST_BYTES} bytes of the SHA-256 of each image file, sorted, in base64",
        "digests": base64.b64encode(rows[:, -DIGEST_BYTES:].tobytes()).decode("ascii"),
    }
    checkpoint.write_atomically(folder / TRAINED_ON, json.dumps(value, indent=2) + "\n")


def readable_digests(paths: Sequence[Path]) -> Digests:
    """(N,) digests of files, all of which can be read; else DataError."""
    digests = digests_of(paths)
    lost = np.flatnonzero(digests == _UNREADABLE)
    if len(lost):
        raise DataError(f"{paths[lost[0]]} cannot be read. 'crosscam data doctor' lists all that a dataset has.")
    return digests


def load_trained_on(folder: Path) -> Digests | None:
    """The sorted digests of the images that a run folder or a shipped network was trained on; None if it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run_folder(folder) / TRAINED_ON
    if not path.is_file():
        return None
    try:
        data = base64.b64decode(parse_json(read_text(path))["digests"], validate=True)
        rows = np.frombuffer(data, np.uint8).reshape(-1, DIGEST_BYTES)
    except (DataError, ValueError, LookupError, TypeError, binascii.Error) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Copy it again; without it, it is not known whom the network was trained on."
        ) from error
    padded = np.zeros((len(rows), 8), np.uint8)
    padded[:, -DIGEST_BYTES:] = rows
    return np.unique(padded.view(">u8").astype(np.uint64))


def overlap(known: Digests | None, dataset: ReidDataset, progress: Progress | None = None) -> Overlap:
    """Which tested people of a dataset a network was trained on.

    A person whose other images are in the dataset's training subset is recognized by these, too.

    Args:
        known: from :func:`load_trained_on`.
        dataset: its query and gallery are tested.
        progress: called with (done, all) while files are read.
    """
    tested = (*dataset.query, *dataset.gallery)
    people = {s.pid for s in dataset.query if s.pid > DISTRACTOR_PID}
    if known is None:
        return Overlap(False, (), len(people), 0, len(tested))
    further = tuple(s for s in dataset.train if s.pid in people)
    trained = np.isin(digests_of([s.path for s in (*tested, *further)], progress), known)
    pids = _people(tested + further, trained) & people
    return Overlap(True, tuple(sorted(pids)), len(people), int(trained[: len(tested)].sum()), len(tested))


def _people(samples: Sequence[Sample], chosen: NDArray[np.bool_]) -> set[int]:
    return {samples[int(place)].pid for place in np.flatnonzero(chosen)}
