"""VIPeR: 632 people, one image of each from either camera (``cam_a``, ``cam_b``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.datasets.holdout import shuffle_pids
from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.labels import LARGEST, read_label
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import ArgumentError, DataError

PROTOCOLS = ("316/316", "all")

_NAME = re.compile(r"([0-9]+)_[0-9]+\.")


def is_viper(root: Path) -> bool:
    """Whether the folder has ``cam_a`` and ``cam_b``."""
    return (root / "cam_a").is_dir() and (root / "cam_b").is_dir()


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
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for VIPeR. Expected one of {', '.join(PROTOCOLS)}.")
    notes: list[str] = ["A pid is the number in the file name plus 1."]
    samples = [
        Sample(s.path, s.pid + 1, camid)
        for camid, folder in ((1, "cam_a"), (2, "cam_b"))
        for s in read_named_images(root / folder, _parse_name, notes)
    ]
    num_ids = len({s.pid for s in samples})
    num_test_ids = num_ids if protocol == "all" else num_ids - num_ids // 2
    name = "viper" if protocol == "316/316" else "viper-all"
    return two_camera_dataset(name, root, samples, num_test_ids, split, notes)


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid = read_label(match[1]) if match else ""
    # One less than the largest number: a pid is one more than what stands in the name.
    return (pid, 0) if isinstance(pid, int) and pid < LARGEST else None


def two_camera_dataset(
    name: str, root: Path, samples: Sequence[Sample], num_test_ids: int, split: int, notes: Sequence[str]
) -> ReidDataset:
    """Test random identities across two cameras: camera 1 asks, camera 2 answers; the others train.

    Args:
        name: of the data set.
        root: its folder.
        samples: all images, cameras 1 and 2.
        num_test_ids: how many identities are tested; all of them leave nothing to train.
        split: seed, see :func:`crosscam.data.datasets.holdout.shuffle_pids`.
        notes: what the reader has to say; a note on the split is added.
    Raises:
        DataError: no images.
    """
    pids = {s.pid for s in samples}
    if not pids:
        raise DataError(f"No images of {name} in {root}. Unpack it again; see docs/datasets.md.")
    test = set(shuffle_pids(pids, split)[:num_test_ids])
    if num_test_ids < len(pids):
        how = f"Split {split}: {len(pids) - len(test)} identities train, {len(test)} others are tested."
    else:
        how = f"All {len(test)} identities are tested, none trains."
    return across_two_cameras(name, root, samples, test, (*notes, how))


def across_two_cameras(
    name: str, root: Path, samples: Sequence[Sample], test: set[int], notes: Sequence[str]
) -> ReidDataset:
    """Test these identities across two cameras: camera 1 asks, camera 2 answers; all others train."""
    return ReidDataset(
        name,
        root,
        train=tuple(s for s in samples if s.pid not in test),
        query=tuple(s for s in samples if s.pid in test and s.camid == 1),
        gallery=tuple(s for s in samples if s.pid in test and s.camid == 2),
        notes=tuple(notes),
    )
