"""PRID 2011, single shots: ``cam_a`` and ``cam_b`` with one image a person; the first 200 people are in both."""

from __future__ import annotations

import re
from pathlib import Path

from crosscam.data.datasets.holdout import shuffle_pids
from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.labels import read_label
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.errors import DataError

SHARED = 200

_NAME = re.compile(r"person_([0-9]+)\.")


def _base(root: Path) -> Path:
    return root / "single_shot" if (root / "single_shot").is_dir() else root


def is_prid2011(root: Path) -> bool:
    """Whether ``single_shot``, or the folder itself, has ``cam_a`` and ``cam_b`` with ``person_0001.png``."""
    return all(any((_base(root) / camera).glob("person_0001.*")) for camera in ("cam_a", "cam_b"))


def read_prid2011(root: Path, *, split: int = 0) -> ReidDataset:
    """Read PRID 2011 (Hirzer et al., SCIA 2011).

    Of the people of both cameras a random half trains; the other half asks from camera A. The gallery is camera B
    without the people of the training: the halves' other images, and those whom camera A never saw, as distractors.

    Args:
        root: the folder of ``single_shot``, or that of ``cam_a`` and ``cam_b``.
        split: seed of the halves; published results usually average ten of them.
    Raises:
        DataError: nobody is in both cameras.
    """
    notes: list[str] = []
    one, two = (read_named_images(_base(root) / f"cam_{letter}", _parse_name, notes) for letter in "ab")
    both = {s.pid for s in one if s.pid <= SHARED} & {s.pid for s in two if s.pid <= SHARED}
    if len(both) < 2:
        raise DataError(f"Fewer than two people are in both cameras of {root}. Unpack it again; see docs/datasets.md.")
    trained = set(shuffle_pids(both, split)[: len(both) // 2])
    first = [Sample(s.path, s.pid, 1) for s in one if s.pid in both]
    second = [Sample(s.path, s.pid if s.pid in both else DISTRACTOR_PID, 2) for s in two]
    notes.append(f"Split {split}: {len(trained)} identities train, {len(both) - len(trained)} others are tested.")
    notes.append(f"Left out of cam_a: {len(one) - len(first):,} people whom camera B never saw.")
    train = tuple(s for s in (*first, *second) if s.pid in trained)
    query = tuple(s for s in first if s.pid not in trained)
    gallery = tuple(s for s in second if s.pid not in trained)
    return ReidDataset("prid2011", root, train, query, gallery, notes=tuple(notes))


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid = read_label(match[1]) if match else ""
    return (pid, 0) if isinstance(pid, int) and pid > 0 else None
