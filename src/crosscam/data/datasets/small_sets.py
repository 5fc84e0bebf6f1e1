"""VIPeR, PRID 2011, QMUL i-LIDS and QMUL GRID: the four small datasets that are tested over several splits."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from crosscam.data.datasets.holdout import shuffle_pids, two_camera_dataset
from crosscam.data.datasets.market1501 import name_parser, read_matlab, read_named_images
from crosscam.data.labels import LARGEST
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import has, within
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted

VIPER_PROTOCOLS = ("316/316", "all")
PRID_SHARED = 200
GRID_PARTITIONS = "features_and_partitions.mat"

# One less than the largest number: a pid is one more than what stands in the name.
_viper_name = name_parser(re.compile(r"([0-9]+)_[0-9]+\."), range(LARGEST))
_prid_name = name_parser(re.compile(r"person_([0-9]+)\."), range(1, LARGEST + 1))
_ilids_name = name_parser(re.compile(r"([0-9]{4})([0-9]{3})\."), range(1, LARGEST + 1))
_grid_name = name_parser(re.compile(r"([0-9]+)_([0-9]+)_"))


is_viper = has("cam_a", "cam_b")


def read_viper(root: Path, *, protocol: str = "316/316", split: int = 0) -> ReidDataset:
    """Read VIPeR.

    Queries are the test people from camera 1 (``cam_a``), the gallery those from camera 2 (``cam_b``).
    A person's pid is the number in the file name plus 1, since the first person is 000.

    Args:
        root: the folder of ``cam_a`` and ``cam_b``.
        protocol: ``"316/316"``, a random half trains and the other is tested; or ``"all"``, all are tested.
        split: seed of the halves; published results usually average ten of them.
    Raises:
        ValueError: an unknown protocol.
        DataError: no images.
    """
    if protocol not in VIPER_PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for VIPeR. Expected one of {', '.join(VIPER_PROTOCOLS)}.")
    notes: list[str] = ["A pid is the number in the file name plus 1."]
    samples = [
        Sample(s.path, s.pid + 1, camid)
        for camid, folder in ((1, "cam_a"), (2, "cam_b"))
        for s in read_named_images(root / folder, _viper_name, notes)
    ]
    num_ids = len({s.pid for s in samples})
    num_test_ids = num_ids if protocol == "all" else num_ids - num_ids // 2
    name = "viper" if protocol == "316/316" else "viper-all"
    return two_camera_dataset(name, root, samples, num_test_ids, split, notes)


def is_prid2011(root: Path) -> bool:
    """Whether ``single_shot``, or the folder itself, has ``cam_a`` and ``cam_b`` with ``person_0001.png``."""
    return all(any((within(root, "single_shot") / camera).glob("person_0001.*")) for camera in ("cam_a", "cam_b"))


def read_prid2011(root: Path, *, split: int = 0) -> ReidDataset:
    """Read PRID 2011 (Hirzer et al., SCIA 2011).

    Of the people of both cameras a random half trains; the other half asks from camera A. The gallery is camera B
    without the people of the training: the halves' other images, and those whom camera A never saw, as distractors.

    Args:
        root: the folder of ``single_shot``, or that of ``cam_a`` and ``cam_b``.
        split: seed of the halves; published results usually average ten of them.
    Raises:
        DataError: no person is in both cameras.
    """
    notes: list[str] = []
    one, two = (read_named_images(within(root, "single_shot") / f"cam_{letter}", _prid_name, notes) for letter in "ab")
    both = {s.pid for s in one if s.pid <= PRID_SHARED} & {s.pid for s in two if s.pid <= PRID_SHARED}
    if len(both) < 2:
        raise DataError(f"Fewer than two people are in both cameras of {root}. Unpack it again; see docs/datasets.md.")
    trained = set(shuffle_pids(both, split)[: len(both) // 2])
    first = [Sample(s.path, s.pid, 1) for s in one if s.pid in both]
    second = [Sample(s.path, s.pid if s.pid in both else DISTRACTOR_PID, 2) for s in two]
    notes.append(f"Split {split}: {len(trained)} identities train, {len(both) - len(trained)} others are tested.")
    notes.append(f"Left out of cam_a: {counted(len(one) - len(first), 'person')} whom camera B never saw.")
    train = tuple(s for s in (*first, *second) if s.pid in trained)
    query = tuple(s for s in first if s.pid not in trained)
    gallery = tuple(s for s in second if s.pid not in trained)
    return ReidDataset("prid2011", root, train, query, gallery, notes=tuple(notes))


def _ilids_folder(root: Path) -> Path | None:
    named = root if root.name == "Persons" else root / "Persons"
    return next((b for b in (named, root / "i-LIDS_Pedestrian" / "Persons") if any(b.glob("0001001.*"))), None)


def is_ilids(root: Path) -> bool:
    """Whether the folder ``Persons``, in the folder or in its ``i-LIDS_Pedestrian``, has the image ``0001001``."""
    return _ilids_folder(root) is not None


def read_ilids(root: Path, *, split: int = 0) -> ReidDataset:
    """Read QMUL i-LIDS (Zheng et al., BMVC 2009) in its usual single-shot test.

    Half of the people, one fewer where they are odd, train; of the others one random image asks and another answers.

    Args:
        root: the folder of ``Persons``, or the one above it.
        split: seed of both choices; published results usually average ten.
    Raises:
        DataError: fewer than two people with two images.
    """
    notes = ["Camera 1 stands for queries and camera 2 for the gallery; the dataset does not tell cameras."]
    images: dict[int, list[Sample]] = defaultdict(list)
    for s in read_named_images(_ilids_folder(root) or root, _ilids_name, notes):
        images[s.pid].append(s)
    if len([pid for pid, some in images.items() if len(some) > 1]) < 2:
        raise DataError(f"Fewer than two people of {root} have two images. Unpack it again; see docs/datasets.md.")
    trained = set(shuffle_pids(images, split)[: len(images) // 2])
    notes.append(f"Split {split}: {len(trained)} identities train, {len(images) - len(trained)} others are tested.")
    query, gallery = [], []
    for pid in sorted(images.keys() - trained):
        drawn = sorted(images[pid], key=lambda s: hashlib.sha256(f"{split}:{s.path.name}".encode()).digest())
        query.append(Sample(drawn[0].path, pid, 1))
        gallery += [Sample(s.path, pid, 2) for s in drawn[1:2]]
    train = tuple(s for pid in sorted(trained) for s in images[pid])
    return ReidDataset("ilids", root, train, tuple(query), tuple(gallery), notes=tuple(notes))


is_grid = has(GRID_PARTITIONS, "probe", "gallery")


def read_grid(root: Path, *, split: int = 0) -> ReidDataset:
    """Read GRID (Loy et al., CVPR 2009; images such as ``0001_1_25023_116_79_85_200.jpeg``: identity, camera).

    Half of the people train, by the split that comes with the data; the others' images in ``probe`` ask, and
    ``gallery`` answers, with identity 0 for strangers.

    Args:
        root: the folder of ``probe`` and ``gallery``.
        split: which of the published splits, from 0.
    Raises:
        ValueError: no such split.
        DataError: no images, no scipy, or a file of splits that is another.
    """
    notes: list[str] = []
    probe = read_named_images(root / "probe", _grid_name, notes)
    gallery = read_named_images(root / "gallery", _grid_name, notes)
    trained = _trained(root / GRID_PARTITIONS, split)
    notes.append(f"Split {split}: {len(trained)} identities train, the others are tested.")
    return ReidDataset(
        "grid",
        root,
        train=tuple(s for s in (*probe, *gallery) if s.pid in trained),
        query=_without(probe, trained),
        gallery=_without(gallery, trained),
        notes=tuple(notes),
    )


def _trained(path: Path, split: int) -> set[int]:
    splits = read_matlab(path, "trainIdxAll", "GRID's splits").ravel()
    try:
        # Each split is a structure; its third field holds the numbers of the people who train.
        people = [{int(pid) for pid in np.ravel(s.ravel()[0][2])} for s in splits]
    except Exception as error:
        raise DataError(f"{path} does not hold GRID's splits ({type(error).__name__}). Unpack it again.") from error
    if not 0 <= split < len(people):
        raise ArgumentError(f"split={split}: GRID has the splits 0 to {len(people) - 1}.")
    return people[split]


def _without(samples: tuple[Sample, ...], pids: set[int]) -> tuple[Sample, ...]:
    return tuple(s for s in samples if s.pid not in pids)
