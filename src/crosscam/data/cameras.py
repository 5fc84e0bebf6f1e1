"""Which camera took each picture of a folder: as the user says, by the files' names, or a folder for each camera."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crosscam.data.images import natural_key
from crosscam.data.labels import read_label
from crosscam.data.records import DISTRACTOR_PID, Sample
from crosscam.data.table import CamidRule, camids_by_rule, names_by_rule
from crosscam.errors import ArgumentError
from crosscam.system.names import printable

# Market-1501, MARS and many trackers name a picture's camera like this.
NAMED_CAMERA = re.compile(r"_c([0-9]+)")
SHOWN = 6


def tell_cameras(
    paths: Sequence[Path], folder: Path, rule: CamidRule, notes: list[str], *, camera: str | None = None
) -> list[Sample]:
    """Which camera took each picture, by number and, where it has one, by name.

    Args:
        paths: the pictures.
        folder: where they lie.
        rule: as in :func:`crosscam.data.table.camids_by_rule`; None looks for ``_c1``, ``_c2``, ... in every file name,
            then for a folder of each camera.
        notes: gets what was found, in a sentence.
        camera: name or number of the one camera that took them all; nothing else is looked at then.
    Raises:
        DataError: a rule that a file name does not follow.
        ValueError: both a rule and a camera, or a camera that is neither a name nor a number.
    """
    if camera is not None:
        if rule is not None:
            raise ArgumentError("--camera names the one camera of all pictures, --camids finds it. Give one of them.")
        names: list[str] = [camera] * len(paths)
        return _samples(paths, *_numbers(names))
    if rule is not None:
        said: list[str] = []
        camids = camids_by_rule(paths, rule, folder, said)
        notes += said
        return _samples(paths, camids, names_by_rule(paths, rule, camids, folder))
    if all(NAMED_CAMERA.search(path.name) for path in paths):
        camids = camids_by_rule(paths, NAMED_CAMERA.pattern, folder, notes)
        notes.append(f"Cameras by file names: {_some(map(str, sorted(set(camids))))}.")
        return _samples(paths, camids, {})
    names = camera_folders(paths, folder)
    camids, called = _numbers(names)
    if len(called) + len(set(camids) - set(called)) > 1:
        listed = sorted({camid: called.get(camid) for camid in camids}.items())
        shown = _some(str(camid) if name is None else f"{camid} {name}" for camid, name in listed)
        notes.append(f"Each folder is a camera: {shown}.")
    else:
        notes.append(
            f"Nothing tells the cameras (--camids does), so all pictures count as of one, named after the folder: "
            f"{names[0]}."
        )
    return _samples(paths, camids, called)


def camera_folders(paths: Sequence[Path], folder: Path) -> list[str]:
    """The folder of each picture that stands for its camera: the first below the folder that all of them share.

    So a camera may keep a folder for each day. Pictures that lie in the shared folder itself get its own name.
    """
    parents = [Path(os.path.abspath(path.parent)) for path in paths]
    shared = Path(os.path.commonpath(parents)) if parents else folder
    own = shared.name or folder.resolve().name or "folder"
    below = [parent.relative_to(shared).parts for parent in parents]
    return [printable(parts[0] if parts else own) for parts in below]


def _numbers(names: Sequence[str]) -> tuple[list[int], dict[int, str]]:
    """Cameras by number: whole numbers as they are, names from the next free number on; and the names by number.

    Raises:
        ValueError: a name that says that nothing is known, such as ``nan``.
    """
    try:
        labels = {name: read_label(name) for name in set(names)}
    except ArgumentError as error:
        raise ArgumentError(f"The name of a camera: {error}. Expected a name or a whole number.") from error
    numbers = {name: label for name, label in labels.items() if isinstance(label, int)}
    first = max((0, *numbers.values())) + 1
    texts = sorted((name for name in labels if name not in numbers), key=natural_key)
    numbers |= {name: number for number, name in enumerate(texts, first)}
    return [numbers[name] for name in names], {numbers[name]: name for name in texts}


def _samples(paths: Sequence[Path], camids: Sequence[int], names: dict[int, str]) -> list[Sample]:
    return [
        Sample(path, DISTRACTOR_PID, camid, camera=names.get(camid)) for path, camid in zip(paths, camids, strict=True)
    ]


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    return ", ".join(listed[:SHOWN]) + (f", and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else "")
