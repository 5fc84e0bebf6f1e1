"""QMUL i-LIDS: 119 people with two to eight images each, ``0001002.jpg`` (person, image); cameras are not told."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path

from crosscam.data.datasets.holdout import shuffle_pids
from crosscam.data.datasets.market1501 import read_named_images
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError

_NAME = re.compile(r"([0-9]{4})([0-9]{3})\.")


def _base(root: Path) -> Path | None:
    named = root if root.name == "Persons" else root / "Persons"
    return next((b for b in (named, root / "i-LIDS_Pedestrian" / "Persons") if any(b.glob("0001001.*"))), None)


def is_ilids(root: Path) -> bool:
    """Whether the folder ``Persons``, in the folder or in its ``i-LIDS_Pedestrian``, has the image ``0001001``."""
    return _base(root) is not None


def read_ilids(root: Path, *, split: int = 0) -> ReidDataset:
    """Read QMUL i-LIDS (Zheng et al., BMVC 2009) in its usual single-shot test.

    Half of the people, one fewer where they are odd, train; of the others one random image asks and another answers.

    Args:
        root: the folder of ``Persons``, or the one above it.
        split: seed of both choices; published results usually average ten.
    Raises:
        DataError: fewer than two people with two images.
    """
    notes = ["Camera 1 stands for queries and camera 2 for the gallery; the data set does not tell cameras."]
    images: dict[int, list[Sample]] = defaultdict(list)
    for s in read_named_images(_base(root) or root, _parse_name, notes):
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


def _parse_name(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    pid = read_label(match[1]) if match else ""
    return (pid, 1) if isinstance(pid, int) and pid > 0 else None
