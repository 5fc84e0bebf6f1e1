"""iLIDS-VID and PRID 2011's multi-shot part: a folder of frames for each person at each of two cameras."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.datasets.holdout import shuffle_pids
from crosscam.data.datasets.market1501 import note_left_out
from crosscam.data.datasets.matlab import read_matlab
from crosscam.data.datasets.viper import across_two_cameras
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.tracklets import by_tracklets, spread_out
from crosscam.data.walk import list_images, subfolders
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import parse_json

# The published halves of PRID 2011 are of the people with so many frames at both cameras: 178 of 200.
PRID_FRAMES, PRID_SHARED = 27, 200
SPLITS = "train-test people splits"

_NAME = re.compile(r"person_?([0-9]+)")


def is_ilids_vid(root: Path) -> bool:
    """Whether ``sequences``, in the folder or in its ``i-LIDS-VID``, has ``cam1`` and ``cam2``."""
    return _base(root, "i-LIDS-VID", "sequences/cam1", "sequences/cam2") is not None


def is_prid2011_video(root: Path) -> bool:
    """Whether ``multi_shot``, in the folder or in its ``prid_2011``, has ``cam_a`` and ``cam_b``."""
    return _base(root, "prid_2011", "multi_shot/cam_a", "multi_shot/cam_b") is not None


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
    base = _base(root, "i-LIDS-VID", "sequences/cam1", "sequences/cam2") or root
    return _read("ilids-vid", root, [base / "sequences" / camera for camera in ("cam1", "cam2")], split, frames)


def read_prid2011_video(root: Path, *, split: int = 0, frames: int | None = None) -> ReidDataset:
    """Read PRID 2011's sequences by the halves of Wang et al. (ECCV 2014); arguments as :func:`read_ilids_vid`."""
    base = _base(root, "prid_2011", "multi_shot/cam_a", "multi_shot/cam_b") or root
    return _read("prid2011-video", root, [base / "multi_shot" / camera for camera in ("cam_a", "cam_b")], split, frames)


def _base(root: Path, inner: str, *folders: str) -> Path | None:
    return next((b for b in (root, root / inner) if all((b / folder).is_dir() for folder in folders)), None)


def _read(name: str, root: Path, cameras: Sequence[Path], split: int, frames: int | None) -> ReidDataset:
    notes: list[str] = []
    one, two = (_sequences(camera, notes) for camera in cameras)
    pids = sorted(one.keys() & two.keys())
    if name == "prid2011-video":
        pids = [p for p in pids if p <= PRID_SHARED and min(len(one[p]), len(two[p])) >= PRID_FRAMES]
        notes.append(f"{len(pids)} people have {PRID_FRAMES} frames or more at both cameras; the others are left out.")
    if len(pids) < 2:
        raise DataError(f"Fewer than two people are in both cameras of {root}. Unpack it again; see docs/datasets.md.")
    test = _tested(name, cameras[0].parent.parent, pids, split, notes)
    samples = [
        Sample(path, pid, camid, track=f"{pid}")
        for camid, found in ((1, one), (2, two))
        for pid in pids
        for path in spread_out(found[pid], frames)
    ]
    if frames is not None:
        notes.append(f"Frames that are read of each tracklet, evenly spread: at most {frames}.")
    return by_tracklets(across_two_cameras(name, root, samples, test, notes))


def _sequences(camera: Path, notes: list[str]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    strangers = []
    for folder in subfolders(camera)[0]:
        match = _NAME.fullmatch(folder.name)
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
        return [{int(_NAME.sub(r"\1", name)) for name in split["test"]} for split in splits]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file} does not hold PRID 2011's splits ({type(error).__name__}). Download it again."
        ) from error
