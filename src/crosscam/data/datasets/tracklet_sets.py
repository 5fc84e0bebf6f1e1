"""Datasets of tracklets: MARS, iLIDS-VID and PRID 2011's multi-shot part.

MARS has Market-1501's people, cut out of two lists of frames by the files of the folder ``info``. The other two have a
folder of frames for each person at each of two cameras.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.data.datasets.holdout import across_two_cameras, shuffle_pids
from crosscam.data.datasets.market1501 import note_junk, note_left_out, read_matlab, without_unnamed_people
from crosscam.data.records import ReidDataset, Sample, by_tracklets, spread_out
from crosscam.data.text_files import read_lines
from crosscam.data.walk import has, list_images, subfolders
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted, parse_json

MARS_PROTOCOLS = ("official", "without-queries")
# The published halves of PRID 2011 are of the people with so many frames at both cameras: 178 of 200.
PRID_FRAMES, PRID_SHARED = 27, 200
SPLITS = "train-test people splits"

_PERSON = re.compile(r"person_?([0-9]+)")


is_mars = has("info/tracks_test_info.mat")


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
    if protocol not in MARS_PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for MARS. Expected one of {', '.join(MARS_PROTOCOLS)}.")
    notes: list[str] = []
    info = root / "info"
    train = _tracklets(root / "bbox_train", info, "train", frames)
    tested = _tracklets(root / "bbox_test", info, "test", frames)
    asked = _asked(info / "query_IDX.mat", len(tested))
    rest = [t for place, t in enumerate(tested) if protocol == "official" or place not in asked]
    gallery = tuple(s for tracklet in rest for s in tracklet)
    note_junk(gallery, notes)
    _note_frames(frames, notes)
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


_ILIDS_VID = ("i-LIDS-VID", "sequences/cam1", "sequences/cam2")
_PRID_2011 = ("prid_2011", "multi_shot/cam_a", "multi_shot/cam_b")


def is_ilids_vid(root: Path) -> bool:
    """Whether ``sequences``, in the folder or in its ``i-LIDS-VID``, has ``cam1`` and ``cam2``."""
    return _cameras(root, *_ILIDS_VID) is not None


def is_prid2011_video(root: Path) -> bool:
    """Whether ``multi_shot``, in the folder or in its ``prid_2011``, has ``cam_a`` and ``cam_b``."""
    return _cameras(root, *_PRID_2011) is not None


def read_ilids_vid(root: Path, *, split: int = 0, frames: int | None = None) -> ReidDataset:
    """Read iLIDS-VID (Wang et al., ECCV 2014): half of the people train, the others' camera 1 asks for camera 2.

    Args:
        root: the folder of ``sequences``, or the one above it.
        split: which of the ten published halves, from 0; without their file, seed of random halves.
        frames: at most so many of each tracklet, evenly spread; None for all.
    Raises:
        ValueError: no such split, or ``frames`` below 1.
        DataError: no frames, or splits of other people.
    """
    return _read_sequences("ilids-vid", root, _ILIDS_VID, split, frames)


def read_prid2011_video(root: Path, *, split: int = 0, frames: int | None = None) -> ReidDataset:
    """Read PRID 2011's sequences by the halves of Wang et al. (ECCV 2014); arguments as :func:`read_ilids_vid`."""
    return _read_sequences("prid2011-video", root, _PRID_2011, split, frames)


def _cameras(root: Path, inner: str, *folders: str) -> list[Path] | None:
    found = ([base / folder for folder in folders] for base in (root, root / inner))
    return next((cameras for cameras in found if all(camera.is_dir() for camera in cameras)), None)


def _read_sequences(name: str, root: Path, layout: tuple[str, str, str], split: int, frames: int | None) -> ReidDataset:
    cameras = _cameras(root, *layout) or [root / folder for folder in layout[1:]]
    notes: list[str] = []
    one, two = (_sequences(camera, notes) for camera in cameras)
    pids = sorted(one.keys() & two.keys())
    if name == "prid2011-video":
        pids = [p for p in pids if p <= PRID_SHARED and min(len(one[p]), len(two[p])) >= PRID_FRAMES]
        people = counted(len(pids), "person")
        notes.append(f"{people} of at least {PRID_FRAMES} frames at both cameras; the others are left out.")
    if len(pids) < 2:
        raise DataError(f"Fewer than two people are in both cameras of {root}. Unpack it again; see docs/datasets.md.")
    test = _tested(name, cameras[0].parent.parent, pids, split, notes)
    samples = [
        Sample(path, pid, camid, track=f"{pid}")
        for camid, found in ((1, one), (2, two))
        for pid in pids
        for path in spread_out(found[pid], frames)
    ]
    _note_frames(frames, notes)
    return by_tracklets(across_two_cameras(name, root, samples, test, notes))


def _sequences(camera: Path, notes: list[str]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    strangers = []
    for folder in subfolders(camera)[0]:
        match = _PERSON.fullmatch(folder.name)
        images = list_images(folder)[0] if match else []
        if match and images:
            found[int(match[1])] = images
        else:
            strangers.append(folder)
    note_left_out(camera.name, "folders without a person's frames", strangers, notes)
    return found


def _tested(name: str, base: Path, pids: Sequence[int], split: int, notes: list[str]) -> set[int]:
    """The people who are tested: as a file of published splits says, or a random half."""
    matlab = "train_test_splits_ilidsvid.mat" if name == "ilids-vid" else "train_test_splits_prid.mat"
    folders = [folder for above in (base, base.parent) for folder in (above, above / SPLITS)]
    file = next((f / n for f in folders for n in (matlab, "splits_prid2011.json") if _is_for(name, f / n)), None)
    if file is None:
        notes.append(f"No file of published splits ({matlab}): split {split} is the seed of a random half.")
        return set(shuffle_pids(pids, split)[len(pids) // 2 :])
    splits = _json_splits(file) if file.suffix == ".json" else _matlab_splits(file, pids)
    if not 0 <= split < len(splits):
        raise ArgumentError(f"split={split}: {file.name} has the splits 0 to {len(splits) - 1}.")
    notes.append(f"Split {split} of {file.name}.")
    if not splits[split] <= set(pids):
        raise DataError(f"{file} tests people without frames at both cameras. Unpack both again.")
    return splits[split]


def _is_for(name: str, file: Path) -> bool:
    return file.is_file() and (file.suffix != ".json" or name == "prid2011-video")


def _matlab_splits(file: Path, pids: Sequence[int]) -> list[set[int]]:
    """Each row orders the people by their places, counted from 1; its first half is tested."""
    rows = read_matlab(file, "ls_set")
    everybody = list(range(1, len(pids) + 1))
    if rows.ndim != 2 or not len(rows) or any(sorted(row.astype(int).tolist()) != everybody for row in rows):
        raise DataError(f"{file} orders other people than the {len(pids)} with frames at both cameras. Unpack both.")
    return [{pids[int(place) - 1] for place in row[: len(pids) // 2]} for row in rows]


def _json_splits(file: Path) -> list[set[int]]:
    """torchreid's file: a list of ``{"train": [...], "test": ["person_0001", ...]}``."""
    try:
        splits = parse_json(file.read_bytes())
        return [{int(_PERSON.sub(r"\1", name)) for name in split["test"]} for split in splits]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file} does not hold PRID 2011's splits ({type(error).__name__}). Download it again."
        ) from error


def _note_frames(frames: int | None, notes: list[str]) -> None:
    if frames is not None:
        notes.append(f"Frames that are read of each tracklet, evenly spread: at most {frames}.")
