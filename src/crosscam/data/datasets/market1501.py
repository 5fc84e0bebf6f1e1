"""Market-1501, and every dataset that copies its layout.

``bounding_box_train``, ``query`` and ``bounding_box_test`` hold images such as ``0002_c1s1_000451_03.jpg``:
identity, camera, then anything. Identity -1 is junk, 0 a distractor. Below it what other readers take as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import LARGEST, read_label
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.data.walk import list_images
from crosscam.errors import DataError
from crosscam.system import needed
from crosscam.system.text import counted, first_few

SUBSET_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}

_NAME = re.compile(r"(-1|[0-9]+)_c([0-9]+)")


def is_market_layout(root: Path) -> bool:
    """Whether the folder has ``bounding_box_train`` or ``bounding_box_test``."""
    return any((root / SUBSET_FOLDERS[subset]).is_dir() for subset in ("train", "gallery"))


def is_rendered(root: Path) -> bool:
    """Whether ``crosscam data render`` drew the folder: it leaves a list of its people beside the images."""
    return is_market_layout(root) and (root / "identities.json").is_file()


def read_market1501(root: Path, *, name: str = "market1501") -> ReidDataset:
    """Read a folder in Market-1501 layout.

    Junk (-1) and distractors (0) stay in the gallery: ranking drops the one and keeps the other. In the
    training subset both are left out, with a note. A missing or empty subset is empty, with a note.

    Raises:
        DataError: none of the three folders holds an image, or no name carries identity and camera.
    """
    notes: list[str] = []
    subsets = {key: _read_subset(root / folder, notes) for key, folder in SUBSET_FOLDERS.items()}
    if not any(subsets.values()):
        raise DataError(
            f"No images in {root}. Expected them in bounding_box_train, query or bounding_box_test; "
            "see docs/datasets.md."
        )
    subsets["train"] = without_unnamed_people(subsets["train"], notes)
    note_junk(subsets["gallery"], notes)
    return ReidDataset(name, root, subsets["train"], subsets["query"], subsets["gallery"], notes=tuple(notes))


def _read_subset(folder: Path, notes: list[str]) -> tuple[Sample, ...]:
    if not folder.is_dir():
        notes.append(f"{folder.parent.name} has no folder {folder.name}.")
        return ()
    return read_named_images(folder, parse_market_name, notes)


def name_parser(
    pattern: re.Pattern[str], pids: range = range(-1, LARGEST + 1), camid: int = 0
) -> Callable[[str], tuple[int, int] | None]:
    """What finds pid and camid in a file name, or None in other names.

    Args:
        pattern: its first group is the identity, a second one the camera.
        pids: numbers that an identity may have.
        camid: the camera where the pattern has no second group.
    """

    def parse(name: str) -> tuple[int, int] | None:
        match = pattern.match(name)
        # More than 63 bits are the digits of a time or a hash: a name.
        pid = read_label(match[1]) if match else ""
        camera = read_label(match[2]) if match and pattern.groups > 1 else camid
        return (pid, camera) if isinstance(pid, int) and pid in pids and isinstance(camera, int) else None

    return parse


parse_market_name = name_parser(_NAME)


def read_named_images(
    folder: Path, parse: Callable[[str], tuple[int, int] | None], notes: list[str]
) -> tuple[Sample, ...]:
    """Images of one folder whose names give pid and camid; whatever else lies there is noted.

    Raises:
        DataError: there are images, but not one name could be read.
    """
    images, others = list_images(folder)
    samples, strangers = [], []
    for path in images:
        parsed = parse(path.name)
        if parsed is None:
            strangers.append(path)
        else:
            samples.append(Sample(path, *parsed))
    if strangers and not samples:
        raise DataError(
            f"No image name in {folder} gives identity and camera: found {strangers[0].name}. Rename the images, "
            "or list them in a table (path,pid,camid); see docs/datasets.md."
        )
    if not samples:
        notes.append(f"The folder {folder.name} of {folder.parent.name} has no images.")
    note_left_out(folder.name, "images whose names give no identity and camera", strangers, notes)
    note_left_out(folder.name, "files that are not images", others, notes)
    return tuple(samples)


def note_left_out(where: str, what: str, paths: Iterable[Path], notes: list[str]) -> None:
    """Add a note on files that a reader passed over, if there are any."""
    names = [path.name for path in paths]
    if names:
        notes.append(f"Left out of {where}: {len(names):,} {what} ({first_few(names)}).")


def without_unnamed_people(train: tuple[Sample, ...], notes: list[str]) -> tuple[Sample, ...]:
    """The training samples without junk and distractors, which have no identity to learn."""
    kept = tuple(s for s in train if s.pid not in (JUNK_PID, DISTRACTOR_PID))
    if len(kept) < len(train):
        notes.append(
            f"Left out of training: {counted(len(train) - len(kept), 'image')} with pid -1 (junk) or 0 (distractor). "
            "Number real identities from 1."
        )
    return kept


def note_junk(gallery: tuple[Sample, ...], notes: list[str]) -> None:
    """Add a note on how many gallery images are junk or distractors, if any."""
    junk = sum(s.pid == JUNK_PID for s in gallery)
    distractors = sum(s.pid == DISTRACTOR_PID for s in gallery)
    if junk:
        notes.append(f"The gallery holds {counted(junk, 'junk image')} (pid -1); ranking ignores junk.")
    if distractors:
        notes.append(f"The gallery holds {counted(distractors, 'distractor')} (pid 0); distractors never match.")


# For example 0001_c2_f0046182.jpg.
_DUKE_NAME = re.compile(r"[0-9]+_c[0-9]+_f[0-9]+")


def is_dukemtmc_reid(root: Path) -> bool:
    """Whether the folder has Market-1501's layout and its first image has a frame number after the camera."""
    if not is_market_layout(root):
        return False
    folders = [root / name for name in SUBSET_FOLDERS.values() if (root / name).is_dir()]
    images = list_images(folders[0])[0]
    return bool(images) and _DUKE_NAME.match(images[0].name) is not None


def read_dukemtmc_reid(root: Path) -> ReidDataset:
    """Read DukeMTMC-reID; its gallery's 408 identities without a query are ordinary identities.

    Raises:
        DataError: as :func:`read_market1501`.
    """
    return read_market1501(root, name="dukemtmc-reid")


def read_matlab(path: Path, name: str, what: str | None = None) -> NDArray[np.generic]:
    """The array of a name in a ``.mat`` file; messages call it ``what``.

    Raises:
        DataError: no scipy, no such file, or no such array in it.
    """
    matlab = needed("scipy.io", f"Reading {path} needs scipy: pip install 'crosscam[data]'.")
    if not path.is_file():
        raise DataError(f"No {path}. Unpack the dataset again; see docs/datasets.md.")
    try:
        found: NDArray[np.generic] = np.asarray(matlab.loadmat(path)[name])
    except Exception as error:  # scipy raises classes of its own
        raise DataError(f"{path} does not hold {what or name} ({type(error).__name__}). Unpack it again.") from error
    return found
