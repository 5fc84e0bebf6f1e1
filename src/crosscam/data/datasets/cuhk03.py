"""CUHK03 in the three forms in use.

* ``labeled`` and ``detected`` in Market-1501 layout, with the 767/700 split ("CUHK03-NP").
* The raw ``cuhk-03.mat`` (HDF5) with ``cuhk03_new_protocol_config_{labeled,detected}.mat`` for that split, or
  with the 20 test sets inside for the classic single-gallery-shot protocol.
* One pair of cameras as ``labeled/{train,val}/IIII_VV.jpg``.

Boxes were drawn by hand ("labeled") or found by a detector ("detected"); a score belongs to one of the two.

``cuhk-03.mat`` holds ``labeled`` and ``detected``: five cells, one for each camera pair, of people x 10 images;
the first five images are camera 1, the others camera 2, and some are empty. ``testsets`` are 20 lists of
(camera pair, person), both counted from 1. Extracted images are named ``pair_person_camera_image.png``, as the
configuration files name them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crosscam.data.datasets.market1501 import is_market_layout, read_market1501, read_named_images
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.walk import list_images
from crosscam.errors import ArgumentError, DataError
from crosscam.system import needed
from crosscam.system.files import folder_in_place
from crosscam.system.locks import only_writer

MAT_NAME = "cuhk-03.mat"
BOXES = ("labeled", "detected")
PROTOCOLS = ("767/700", "cuhk03")

_PAIR_NAME = re.compile(r"([0-9]{4})_(0[0-9])\.")
_VIEWS = 10
_CONFIG_FIELDS = ("filelist", "labels", "train_idx", "query_idx", "gallery_idx")


def _read_config(path: Path, images: Path) -> list[tuple[Sample, ...]]:
    """Training, query and gallery of ``cuhk03_new_protocol_config_*.mat``, whose places are counted from 1.

    Raises:
        DataError: missing, unreadable, without one of the fields, or of other images.
    """
    if not path.is_file():
        raise DataError(
            f"No {path.name} in {path.parent}. The 767/700 split needs it beside {MAT_NAME}; "
            "protocol='cuhk03' does not."
        )
    matlab = needed("scipy.io", f"Reading {path} needs scipy: pip install 'crosscam[data]'.")
    try:
        content = matlab.loadmat(path)
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}.") from error
    missing = [name for name in _CONFIG_FIELDS if name not in content]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)}. Expected the configuration of the 767/700 split.")
    names = [str(np.ravel(name)[0]) for name in content["filelist"].ravel()]
    pids = [int(pid) for pid in content["labels"].ravel()]
    subsets = [sorted(int(i) - 1 for i in content[f"{s}_idx"].ravel()) for s in ("train", "query", "gallery")]
    if len(pids) != len(names) or any(not 0 <= i < len(names) for subset in subsets for i in subset):
        raise DataError(f"{path} is inconsistent: an index or label has no image among the {len(names):,} listed.")
    there = {image.name for image in list_images(images)[0]}
    lost = [name for name in names if name not in there]
    if lost or len(there) != len(names):
        raise DataError(
            f"{images} has {len(there):,} images, the configuration lists {len(names):,}"
            f"{f', such as {lost[0]}' if lost else ''}. Remove the folder, so that it is extracted again."
        )
    return [tuple(_sample(images, names[i], pids[i]) for i in subset) for subset in subsets]


def _read_test_set(mat: Path, boxes: str, split: int) -> tuple[set[tuple[int, int]], list[int], int]:
    """One of the 20 classic test sets.

    Returns:
        its people as (camera pair, person), both from 1; the identity of each pair's first person, numbered from 1
        across the pairs; and how many test sets there are.
    Raises:
        ValueError: no such split.
        DataError: the file cannot be read.
    """
    with _open(mat) as file:
        cells = _cells(file, mat, "testsets")
        if not 0 <= split < len(cells):
            raise ArgumentError(f"CUHK03 has the test sets 0 to {len(cells) - 1}, found split={split}.")
        # HDF5 holds MATLAB arrays transposed: 2 x 100 here.
        people = {(int(pair), int(person)) for pair, person in np.asarray(cells[split]).T}
        sizes = [pair.shape[1] for pair in _cells(file, mat, boxes)]
    return people, (1 + np.cumsum([0, *sizes[:-1]])).tolist(), len(cells)


def extract_images(mat: Path, boxes: str, folder: Path) -> Path:
    """Write the images of ``cuhk-03.mat`` as PNG files, once.

    They are written beside ``folder`` and moved there when all are done, so that a kill leaves no half a folder.

    Returns:
        ``folder``.
    Raises:
        DataError: the file cannot be read or has another structure, or the images cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    next_step = f"The images of {mat} go there; name another folder in extract_to."
    with only_writer(folder):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
        with folder_in_place(folder, next_step=next_step, error=DataError) as part, _open(mat) as file:
            for pair, cell in enumerate(_cells(file, mat, boxes), start=1):
                _extract_pair(file, mat, pair, cell, part)
    return folder


def _extract_pair(file: Any, mat: Path, pair: int, cell: Any, folder: Path) -> None:
    references = np.asarray(cell)
    if references.ndim != 2 or references.shape[0] != _VIEWS:
        raise DataError(f"{mat}: camera pair {pair} is {references.shape}. Expected {_VIEWS} images x people.")
    for person in range(references.shape[1]):
        for view in range(_VIEWS):
            pixels = np.asarray(file[references[view, person]])
            if pixels.ndim < 3:  # MATLAB's empty cell
                continue
            camera = 1 if view < _VIEWS // 2 else 2
            name = f"{pair}_{person + 1:03}_{camera}_{view + 1:02}.png"
            # HDF5 holds MATLAB arrays transposed: 3 x width x height here.
            Image.fromarray(np.ascontiguousarray(pixels.T.astype(np.uint8))).save(folder / name)


def _open(mat: Path) -> Any:
    h5py = needed("h5py", f"Reading {mat} needs h5py: pip install 'crosscam[data]'.")
    try:
        return h5py.File(mat, "r")
    except OSError as error:
        raise DataError(f"{mat} cannot be read as HDF5: {error}. Copy or download it again.") from error


def _cells(file: Any, mat: Path, name: str) -> list[Any]:
    """What the cells of a MATLAB cell array refer to."""
    if name not in file:
        raise DataError(f"{mat} has no {name}. Expected labeled, detected and testsets; found {', '.join(file)}.")
    return [file[reference] for reference in np.ravel(file[name])]


def is_cuhk03(path: Path) -> bool:
    """Whether the path is the raw file, or the folder of it, or of the boxes in Market-1501 layout."""
    if path.name == MAT_NAME and path.is_file():
        return True
    if is_market_layout(path):
        return path.name in BOXES or "cuhk03" in path.name.lower()
    return (path / MAT_NAME).is_file() or any(is_market_layout(path / boxes) for boxes in BOXES)


def read_cuhk03(
    path: Path, *, boxes: str | None = None, protocol: str = "767/700", split: int = 0, extract_to: Path | None = None
) -> ReidDataset:
    """Read CUHK03 from the raw file or from folders in Market-1501 layout.

    Args:
        path: ``cuhk-03.mat``, its folder, or the folder of ``labeled`` and ``detected``, or one of these.
        boxes: ``"labeled"`` or ``"detected"``; must be stated where both are there.
        protocol: ``"767/700"``, or ``"cuhk03"`` for the classic test on 100 people with one gallery image each.
        split: which of the 20 test sets, for the classic protocol.
        extract_to: folder for the images of the raw file; ``images_<boxes>`` beside it by default.
            They are extracted once.
    Raises:
        ValueError: an unknown protocol, or a split it does not have.
        DataError: ``boxes`` is not stated, or a file is missing or not as expected.
    """
    if boxes not in (None, *BOXES):
        raise ArgumentError(f"Unknown boxes {boxes!r}. Expected labeled or detected.")
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"Unknown protocol {protocol!r} for CUHK03. Expected one of {', '.join(PROTOCOLS)}.")
    if protocol == "767/700" and split:
        raise ArgumentError(f"The protocol 767/700 has one split, found split={split}. Leave it out.")
    mat = path if path.is_file() else path / MAT_NAME
    if is_market_layout(path) or any(is_market_layout(path / name) for name in BOXES):
        if protocol == "cuhk03":
            raise DataError(f"The classic protocol needs {MAT_NAME}, which holds its test sets; {path} lacks it.")
        return _read_market_folders(path, boxes)
    if boxes is None:
        raise DataError(f"{mat} holds labeled and detected boxes. State boxes='labeled' or boxes='detected'.")
    images = extract_images(mat, boxes, extract_to or mat.parent / f"images_{boxes}")
    if protocol == "cuhk03":
        return _read_classic(mat, boxes, images, split)
    train, query, gallery = _read_config(mat.parent / f"cuhk03_new_protocol_config_{boxes}.mat", images)
    return ReidDataset(f"cuhk03-{boxes}", images, train, query, gallery, renumbered=True)


def _read_market_folders(path: Path, boxes: str | None) -> ReidDataset:
    if is_market_layout(path):
        found = next((name for name in BOXES if name in path.name), None)
        if found and boxes and found != boxes:
            raise DataError(f"{path} holds {found} boxes, but boxes={boxes!r} was asked for.")
        kind = found or boxes
        if kind is None:
            raise DataError(f"{path} does not say what its boxes are. State boxes='labeled' or boxes='detected'.")
        return read_market1501(path, name=f"cuhk03-{kind}")
    kind = _stated(path, boxes)
    return read_market1501(path / kind, name=f"cuhk03-{kind}")


def _stated(path: Path, boxes: str | None) -> str:
    there = [name for name in BOXES if (path / name).is_dir()]
    if boxes is None and len(there) > 1:
        raise DataError(f"{path} holds labeled and detected boxes. State boxes='labeled' or boxes='detected'.")
    if boxes is not None and boxes not in there:
        raise DataError(f"No {boxes} boxes in {path}. Found {', '.join(there)}.")
    return boxes or there[0]


def _sample(images: Path, name: str, pid: int) -> Sample:
    return Sample(images / name, pid, int(name.split("_")[2]))


def _read_classic(mat: Path, boxes: str, images: Path, split: int) -> ReidDataset:
    people, first_pids, num_splits = _read_test_set(mat, boxes, split)
    train: list[Sample] = []
    query: list[Sample] = []
    gallery: list[Sample] = []
    for path in list_images(images)[0]:
        pair, person = (int(field) for field in path.name.split("_")[:2])
        sample = _sample(images, path.name, first_pids[pair - 1] + person - 1)
        if (pair, person) not in people:
            train.append(sample)
        else:
            (query if sample.camid == 1 else gallery).append(sample)
    notes = (f"Test set {split} of {num_splits}: {len(people)} people, camera 1 asks camera 2.",)
    name, subsets = f"cuhk03-{boxes}-classic", (tuple(train), tuple(query), tuple(gallery))
    return ReidDataset(name, images, *subsets, protocol="cuhk03", notes=notes, renumbered=True)


def is_cuhk03_pair(root: Path) -> bool:
    """Whether ``labeled`` or ``detected``, or the folder itself, has ``train`` with names ``IIII_VV``."""
    for folder in (root / "labeled" / "train", root / "detected" / "train", root / "train"):
        images = list_images(folder)[0] if folder.is_dir() else []
        if images:
            return _parse_pair_name(images[0].name) is not None
    return False


def read_cuhk03_pair(root: Path, *, boxes: str | None = None) -> ReidDataset:
    """Read one camera pair of CUHK03: views 00 to 04 are camera 1, views 05 to 09 camera 2.

    ``val`` is the test: camera 1 asks, camera 2 is the gallery. Both folders count their people from 0000;
    they are other people, so those of ``val`` are numbered after those of ``train``.

    Raises:
        DataError: ``boxes`` is not stated where both are there, or no images.
    """
    folder = root if (root / "train").is_dir() else root / _stated(root, boxes)
    notes: list[str] = []
    train = tuple(replace(s, pid=s.pid + 1) for s in _read_views(folder / "train", notes))
    last = max((s.pid for s in train), default=0)
    test = [replace(s, pid=s.pid + 1 + last) for s in _read_views(folder / "val", notes)]
    notes.append(f"People are numbered from 1 in train and from {last + 1} in val.")
    query = tuple(s for s in test if s.camid == 1)
    gallery = tuple(s for s in test if s.camid == 2)
    return ReidDataset("cuhk03-pair", root, train, query, gallery, notes=tuple(notes), renumbered=True)


def _read_views(folder: Path, notes: list[str]) -> tuple[Sample, ...]:
    if folder.is_dir():
        return read_named_images(folder, _parse_pair_name, notes)
    notes.append(f"{folder.parent.name} has no folder {folder.name}.")
    return ()


def _parse_pair_name(name: str) -> tuple[int, int] | None:
    match = _PAIR_NAME.match(name)
    return (int(match[1]), 1 if int(match[2]) < 5 else 2) if match else None
