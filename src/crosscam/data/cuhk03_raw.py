"""The raw files of CUHK03: ``cuhk-03.mat`` (HDF5) and the MATLAB 5 files of the 767/700 split.

``cuhk-03.mat`` holds ``labeled`` and ``detected``: five cells, one for each camera pair, of people x 10 images;
the first five images are camera 1, the others camera 2, and some are empty. ``testsets`` are 20 lists of
(camera pair, person), both counted from 1. Extracted images are named ``pair_person_camera_image.png``, as the
configuration files name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crosscam.errors import DataError
from crosscam.system.files import folder_in_place
from crosscam.system.locks import only_writer

MAT_NAME = "cuhk-03.mat"

_VIEWS = 10
_CONFIG_FIELDS = ("filelist", "labels", "train_idx", "query_idx", "gallery_idx")


@dataclass(frozen=True)
class Config:
    """A 767/700 split.

    Attributes:
        names: all images.
        pids: identity of each image, 1 to 1,467.
        train, query, gallery: places in ``names``, counted from 0.
    """

    names: tuple[str, ...]
    pids: tuple[int, ...]
    train: tuple[int, ...]
    query: tuple[int, ...]
    gallery: tuple[int, ...]


@dataclass(frozen=True)
class ClassicSplit:
    """One of the classic test sets.

    Attributes:
        people: (camera pair, person), both from 1.
        first_pids: identity of the first person of each pair; people are numbered from 1 across the pairs.
        num_splits: how many test sets the file has.
    """

    people: frozenset[tuple[int, int]]
    first_pids: tuple[int, ...]
    num_splits: int


def read_config(path: Path) -> Config:
    """Read ``cuhk03_new_protocol_config_*.mat``.

    Raises:
        DataError: missing, unreadable, or without one of the fields.
    """
    if not path.is_file():
        raise DataError(
            f"No {path.name} in {path.parent}. The 767/700 split needs it beside {MAT_NAME}; "
            "protocol='cuhk03' does not."
        )
    try:
        import scipy.io
    except ImportError as error:
        raise DataError(f"Reading {path} needs scipy: pip install 'crosscam[data]'.") from error
    try:
        content = scipy.io.loadmat(path)
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}.") from error
    missing = [name for name in _CONFIG_FIELDS if name not in content]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)}. Expected the configuration of the 767/700 split.")
    names = tuple(str(np.ravel(name)[0]) for name in content["filelist"].ravel())
    pids = tuple(int(pid) for pid in content["labels"].ravel())
    subsets = [tuple(int(i) - 1 for i in content[f"{s}_idx"].ravel()) for s in ("train", "query", "gallery")]
    if len(pids) != len(names) or any(not 0 <= i < len(names) for subset in subsets for i in subset):
        raise DataError(f"{path} is inconsistent: an index or label has no image among the {len(names):,} listed.")
    return Config(names, pids, *subsets)


def read_test_set(mat: Path, boxes: str, split: int) -> ClassicSplit:
    """Read one of the 20 classic test sets.

    Raises:
        ValueError: no such split.
        DataError: the file cannot be read.
    """
    with _open(mat) as file:
        cells = _cells(file, mat, "testsets")
        if not 0 <= split < len(cells):
            raise ValueError(f"CUHK03 has the test sets 0 to {len(cells) - 1}, found split={split}.")
        # HDF5 holds MATLAB arrays transposed: 2 x 100 here.
        people = np.asarray(cells[split]).T.astype(int)
        sizes = [pair.shape[1] for pair in _cells(file, mat, boxes)]
    first_pids = tuple(int(n) for n in 1 + np.cumsum([0, *sizes[:-1]]))
    return ClassicSplit(frozenset((int(p), int(i)) for p, i in people), first_pids, len(cells))


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
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"Reading {mat} needs h5py: pip install 'crosscam[data]'.") from error
    try:
        return h5py.File(mat, "r")
    except OSError as error:
        raise DataError(f"{mat} cannot be read as HDF5: {error}. Copy or download it again.") from error


def _cells(file: Any, mat: Path, name: str) -> list[Any]:
    """What the cells of a MATLAB cell array refer to."""
    if name not in file:
        raise DataError(f"{mat} has no {name}. Expected labeled, detected and testsets; found {', '.join(file)}.")
    return [file[reference] for reference in np.ravel(file[name])]
