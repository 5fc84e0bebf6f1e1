"""Recognize a dataset on disk and read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from crosscam.data.datasets.camera_folders import (
    has_camera_folders,
    has_identity_folders,
    read_camera_folders,
    read_identity_folders,
)
from crosscam.data.datasets.camera_rules import CamidRule
from crosscam.data.datasets.cuhk import is_cuhk01, is_cuhk02, is_cuhk_sysu, read_cuhk01, read_cuhk02, read_cuhk_sysu
from crosscam.data.datasets.cuhk03 import is_cuhk03, is_cuhk03_pair, read_cuhk03, read_cuhk03_pair
from crosscam.data.datasets.market1501 import (
    is_dukemtmc_reid,
    is_market_layout,
    is_rendered,
    read_dukemtmc_reid,
    read_market1501,
)
from crosscam.data.datasets.msmt17 import is_msmt17, read_msmt17
from crosscam.data.datasets.small_sets import (
    is_grid,
    is_ilids,
    is_prid2011,
    is_viper,
    read_grid,
    read_ilids,
    read_prid2011,
    read_viper,
)
from crosscam.data.datasets.table import is_table, read_table
from crosscam.data.datasets.tracklet_sets import (
    is_ilids_vid,
    is_mars,
    is_prid2011_video,
    read_ilids_vid,
    read_mars,
    read_prid2011_video,
)
from crosscam.data.datasets.unlabeled import has_images, is_unlabeled_table, read_images
from crosscam.data.datasets.without_cameras import (
    is_celeb_reid,
    is_last,
    is_occluded_reid,
    is_p_dukemtmc,
    is_partial_reid,
    read_celeb_reid,
    read_last,
    read_occluded,
    read_p_dukemtmc,
)
from crosscam.data.image_limits import foreign_fault, foreign_kind, tell_left_out
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import copies_between, file_key, find_files
from crosscam.errors import ArgumentError, DataError, UnusedOptionError
from crosscam.system.text import counted, did_you_mean


@dataclass(frozen=True)
class Reader:
    """One kind of dataset.

    Attributes:
        recognizes: whether a folder or file is of this kind.
        read: reads it.
        takes: names of the options that ``read`` has; others are refused.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[..., ReidDataset]
    takes: tuple[str, ...] = ()


# Special layouts stand before those that would also fit them.
READERS: dict[str, Reader] = {
    "cuhk03": Reader(is_cuhk03, read_cuhk03, ("boxes", "protocol", "split", "extract_to")),
    "dukemtmc-reid": Reader(is_dukemtmc_reid, read_dukemtmc_reid),
    "rendered": Reader(is_rendered, partial(read_market1501, name="rendered")),
    "market1501": Reader(is_market_layout, read_market1501),
    "msmt17": Reader(is_msmt17, read_msmt17, ("protocol",)),
    "mars": Reader(is_mars, read_mars, ("protocol", "frames")),
    "ilids-vid": Reader(is_ilids_vid, read_ilids_vid, ("split", "frames")),
    "prid2011": Reader(is_prid2011, read_prid2011, ("split",)),
    "prid2011-video": Reader(is_prid2011_video, read_prid2011_video, ("split", "frames")),
    "grid": Reader(is_grid, read_grid, ("split",)),
    "ilids": Reader(is_ilids, read_ilids, ("split",)),
    "cuhk-sysu": Reader(is_cuhk_sysu, read_cuhk_sysu),
    "cuhk02": Reader(is_cuhk02, read_cuhk02),
    "partial-reid": Reader(is_partial_reid, read_occluded),
    "occluded-reid": Reader(is_occluded_reid, read_occluded),
    "p-dukemtmc-reid": Reader(is_p_dukemtmc, read_p_dukemtmc),
    "last": Reader(is_last, read_last, ("protocol",)),
    "celeb-reid": Reader(is_celeb_reid, read_celeb_reid),
    "viper": Reader(is_viper, read_viper, ("protocol", "split")),
    "cuhk01": Reader(is_cuhk01, read_cuhk01, ("protocol", "split")),
    "cuhk03-pair": Reader(is_cuhk03_pair, read_cuhk03_pair, ("boxes",)),
    "table": Reader(is_table, read_table, ("camids",)),
    "folders": Reader(has_identity_folders, read_identity_folders, ("camids",)),
    "cameras": Reader(has_camera_folders, read_camera_folders),
    "images": Reader(has_images, read_images, ("camids",)),
}
# What a kind was called before.
_EARLIER = {"pictures": "images"}
# Kinds that fit nearly everything come last; images without labels only by name.
_LAST = ("folders", "cameras", "images")


def recognize(path: Path, kind: str | None = None) -> tuple[str, Path] | None:
    """Kind of a dataset and the folder or file it stands in: ``path`` itself or one folder below.

    Args:
        path: a folder or file.
        kind: the only kind to look for; None looks for all.
    Raises:
        DataError: several datasets stand below ``path``.
    """
    layouts = [name for name in READERS if name not in _LAST] if kind is None else [_EARLIER.get(kind, kind)]
    found = _first_fit(path, layouts)
    if found is not None:
        return found, path
    children = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
    below = [(found, child) for child in children if (found := _first_fit(child, layouts)) is not None]
    if len(below) > 1:
        names = ", ".join(child.name for _, child in below)
        raise DataError(f"{path} holds several datasets: {names}. Give the path of one, or --kind images.")
    if below:
        return below[0]
    last = _first_fit(path, ("folders", "cameras")) if kind is None else None
    return None if last is None else (last, path)


def is_unlabeled(path: Path, kind: str | None = None, *, camids: CamidRule = None) -> bool:
    """Whether ``path`` holds images of which nothing says who is on them.

    A folder for each person and a folder for each camera look alike. Where ``camids`` tells the cameras, the folders
    are people; else they are cameras. Folders in these may be people or days: they are people if ``kind`` says so.
    """
    if kind is None or kind == "table":
        if is_table(path):
            return is_unlabeled_table(path)
        found = recognize(path, kind)
        if found is None:
            return kind is None and has_images(path)
        return found[0] == "cameras" or (found[0] == "folders" and camids is None)
    return _EARLIER.get(kind, kind) == "images"


def _first_fit(path: Path, kinds: Iterable[str]) -> str | None:
    return next((kind for kind in kinds if READERS[kind].recognizes(path)), None)


def read_dataset(
    path: Path | str,
    *,
    kind: str | None = None,
    split: int | None = None,
    protocol: str | None = None,
    camids: CamidRule = None,
    boxes: str | None = None,
    extract_to: Path | None = None,
    frames: int | None = None,
    distractors: Path | None = None,
) -> ReidDataset:
    """Read a dataset, whatever it is.

    Args:
        path: the unpacked folder, its parent, or a table.
        kind: one of ``READERS``; None recognizes it.
        split: which of the random or numbered splits, for datasets that have several; the first by default.
        protocol: which of the published protocols, for datasets that have several.
        camids: the camera, for own data that does not say it: a number for all images, or a regular
            expression with one group over the file name.
        boxes: ``"labeled"`` or ``"detected"``, for CUHK03.
        extract_to: folder for the images of CUHK03's raw file; beside it by default.
        frames: at most so many frames of each tracklet, evenly spread, for datasets of tracklets; all by default.
        distractors: a folder of images of strangers, which are added to the gallery and never match.
    Raises:
        DataError: nothing there, of no known kind, or not as its kind should be.
        ValueError: an unknown kind, or an option that this kind does not have.
    """
    # Absolute and without "..": samples stay valid after a change of the working folder.
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise DataError(f"No dataset at {path}. Check the path; see docs/datasets.md.")
    options = {
        "split": split,
        "protocol": protocol,
        "camids": camids,
        "boxes": boxes,
        "extract_to": extract_to,
        "frames": frames,
    }
    if kind is not None and kind not in READERS and kind not in _EARLIER:
        raise ArgumentError(
            f"Unknown kind of dataset {kind!r}. {did_you_mean(kind, READERS)}Expected one of {', '.join(READERS)}."
        )
    try:
        dataset = _with_unknown(
            _read(root, kind, {name: value for name, value in options.items() if value is not None})
        )
        return dataset if distractors is None else with_distractors(dataset, distractors)
    except OSError as error:
        place = root if error.filename is None else os.fsdecode(error.filename)
        raise DataError(f"{place} cannot be read: {error.strerror or error}. Check its permissions.") from error


def _read(path: Path, kind: str | None, options: Mapping[str, object]) -> ReidDataset:
    found = recognize(path, kind)
    if found is None:
        _refuse_foreign(path)
        expected = kind or f"one of {', '.join(READERS)}"
        raise DataError(f"{path} is not a dataset that crosscam knows. Expected {expected}; see docs/datasets.md.")
    kind, root = found
    for option in options:
        if option not in READERS[kind].takes:
            raise UnusedOptionError(option, f"means nothing for {kind} ({root}). Leave it out.")
    return READERS[kind].read(root, **options)


def _with_unknown(dataset: ReidDataset) -> ReidDataset:
    """With a note on cameras that are not known, if any."""
    unknown = sum(s.camid < 0 for samples in dataset.subsets.values() for s in samples)
    if not unknown:
        return dataset
    note = (
        f"warning: {counted(unknown, 'image')} with a negative camera number, which means unknown. A ranking counts "
        "each such number as one camera, so that matches of these images are left out. State their cameras."
    )
    return replace(dataset, notes=(*dataset.notes, note))


def _refuse_foreign(path: Path) -> None:
    """Say what a video, or a folder of videos and photographs in other formats, is (DataError: it is one of these)."""
    if path.is_file():
        kind = foreign_kind(path.name)
        if kind is not None:
            raise DataError(foreign_fault(str(path), kind))
        return
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        raise DataError(
            f"{path} was saved by Hugging Face's datasets. Read it once in Python: "
            "crosscam.data.from_hugging_face(path, folder); folder/images.csv is then a dataset."
        )
    found = find_files(path)
    told = [t.removeprefix("warning: ") for t in tell_left_out(found.others, 0) if t.startswith("warning: ")]
    if told and not found.images:
        raise DataError(f"No images in {path} or its folders. {' '.join(told)}")


def with_distractors(dataset: ReidDataset, folder: Path) -> ReidDataset:
    """The dataset with all images of a folder and its folders in the gallery, as identity 0; Market-1501's 500,000.

    Raises:
        DataError: no images there, some that the dataset has already, or a ranking that draws one image of each
            identity, where all distractors together would count as one.
    """
    if dataset.protocol == "cuhk03":
        raise DataError(
            f"{dataset.place} is ranked with one gallery image of each identity, and distractors would be one of them. "
            "Leave --distractors out, or choose another --protocol."
        )
    if not folder.is_dir():
        raise DataError(f"No folder {folder} with distractors. Check the path of --distractors.")
    root = Path(os.path.abspath(folder))
    paths = find_files(root).images
    known = {file_key(s.path) for samples in dataset.subsets.values() for s in samples}
    if not paths or not known.isdisjoint(map(file_key, paths)):
        what = "images of the dataset itself" if paths else "no images"
        raise DataError(f"{folder} holds {what}. Expected a folder of other people's images, as distractors.")
    added = tuple(Sample(path, DISTRACTOR_PID, 0) for path in paths)
    note = f"{counted(len(added), 'distractor')} of {folder} in the gallery, which never match."
    gallery, notes = (*dataset.gallery, *added), [*dataset.notes, note]
    copies = copies_between([(s.path for samples in dataset.subsets.values() for s in samples), paths])
    if copies:
        notes.append(
            f"warning: {counted(len(copies), 'distractor')} with the same bytes as images of the dataset, such as "
            f"{copies[0][1]} and {copies[0][0]}. They stay, as wrong matches of whom they show; remove them."
        )
    return replace(dataset, name=f"{dataset.name}-distractors", gallery=gallery, notes=tuple(notes), distractors=root)
