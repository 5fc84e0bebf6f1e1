"""MARS: tracklets of Market-1501's people, which the files of the folder ``info`` cut out of two lists of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.data.datasets.market1501 import note_junk, without_unnamed_people
from crosscam.data.datasets.matlab import read_matlab
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.text_files import read_lines
from crosscam.data.tracklets import by_tracklets, spread_out
from crosscam.errors import ArgumentError, DataError

PROTOCOLS = ("official", "without-queries")


def is_mars(root: Path) -> bool:
    """Whether the folder has ``info/tracks_test_info.mat``."""
    return (root / "info" / "tracks_test_info.mat").is_file()


def read_mars(root: Path, *, protocol: str = "official", frames: int | None = None) -> ReidDataset:
    """Read MARS (Zheng et al., ECCV 2016; frames such as ``bbox_test/0002/0002C1T0001F001.jpg``).

    Args:
        root: the folder of ``bbox_train``, ``bbox_test`` and ``info``.
        protocol: ``"official"``, the gallery holds all tested tracklets, as in the authors' evaluation; or
            ``"without-queries"``, it holds no tracklet that is a query, as in torchreid.
        frames: at most so many of each tracklet, evenly spread; None for all.
    Raises:
        ValueError: an unknown protocol, or ``frames`` below 1.
        DataError: files of ``info`` that are missing or damaged, or no scipy.
    """
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for MARS. Expected one of {', '.join(PROTOCOLS)}.")
    notes: list[str] = []
    info = root / "info"
    train = _tracklets(root / "bbox_train", info, "train", frames)
    tested = _tracklets(root / "bbox_test", info, "test", frames)
    asked = _asked(info / "query_IDX.mat", len(tested))
    rest = [t for place, t in enumerate(tested) if protocol == "official" or place not in asked]
    gallery = tuple(s for tracklet in rest for s in tracklet)
    note_junk(gallery, notes)
    if frames is not None:
        notes.append(f"Frames that are read of each tracklet, evenly spread: at most {frames}.")
    dataset = ReidDataset(
        "mars" if protocol == "official" else "mars-without-queries",
        root,
        train=without_unnamed_people(tuple(s for tracklet in train for s in tracklet), notes),
        query=tuple(s for place in sorted(asked) for s in tested[place]),
        gallery=gallery,
        notes=tuple(notes),
    )
    return by_tracklets(dataset)


def _tracklets(folder: Path, info: Path, subset: str, frames: int | None) -> list[tuple[Sample, ...]]:
    """Tracklet k holds the frames ``start`` to ``end`` of the list of names, counted from 1.

    Both lists of tracklets count from 1, so a track's name tells which of them it is of.
    """
    names_file, table_file = info / f"{subset}_name.txt", info / f"tracks_{subset}_info.mat"
    if not names_file.is_file():
        raise DataError(f"No {names_file}. Expected the unpacked MARS folder with info/*; see docs/datasets.md.")
    names = [line.strip() for _, line in read_lines(names_file)]
    table = read_matlab(table_file, f"track_{subset}_info")
    if table.ndim != 2 or table.shape[1] != 4 or not _fits(table, len(names)):
        raise DataError(
            f"{table_file} does not fit {names_file} ({len(names):,} names): expected rows of first frame, last frame, "
            "identity and camera. Unpack both again."
        )
    tracklets = [
        tuple(
            Sample(folder / name[:4] / name, pid, camid, track=f"{subset}-{number}")
            for name in spread_out(names[first - 1 : last], frames)
        )
        for number, (first, last, pid, camid) in enumerate(table.astype(np.int64).tolist(), start=1)
    ]
    if tracklets and not tracklets[0][0].path.is_file():
        raise DataError(f"{names_file} names {tracklets[0][0].path}, which does not exist. Unpack {folder.name} again.")
    return tracklets


def _fits(table: NDArray[np.generic], names: int) -> bool:
    first, last = (table[:, column].astype(np.int64) for column in (0, 1))
    return bool((first >= 1).all() and (last >= first).all() and (last <= names).all())


def _asked(path: Path, tested: int) -> set[int]:
    places = {int(place) - 1 for place in read_matlab(path, "query_IDX").ravel()}
    if not places or not min(places) >= 0 or not max(places) < tested:
        raise DataError(f"{path} does not fit tracks_test_info.mat ({tested:,} tracklets). Unpack both again.")
    return places
