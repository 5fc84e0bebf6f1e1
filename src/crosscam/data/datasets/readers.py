"""Recognize a data set on disk and read it; several data sets as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from crosscam.data.datasets.camera_folders import has_camera_folders, has_pictures, read_camera_folders, read_pictures
from crosscam.data.datasets.clothes_changes import is_celeb_reid, is_last, read_celeb_reid, read_last
from crosscam.data.datasets.cuhk01 import is_cuhk01, read_cuhk01
from crosscam.data.datasets.cuhk02 import is_cuhk02, read_cuhk02
from crosscam.data.datasets.cuhk03 import is_cuhk03, is_cuhk03_pair, read_cuhk03, read_cuhk03_pair
from crosscam.data.datasets.cuhk_sysu import is_cuhk_sysu, read_cuhk_sysu
from crosscam.data.datasets.distractors import with_distractors
from crosscam.data.datasets.grid import is_grid, read_grid
from crosscam.data.datasets.identity_folders import has_identity_folders, read_identity_folders
from crosscam.data.datasets.ilids import is_ilids, read_ilids
from crosscam.data.datasets.market1501 import (
    is_dukemtmc_reid,
    is_market_layout,
    is_rendered,
    read_dukemtmc_reid,
    read_market1501,
)
from crosscam.data.datasets.mars import is_mars, read_mars
from crosscam.data.datasets.msmt17 import is_msmt17, read_msmt17
from crosscam.data.datasets.occluded import (
    is_occluded_reid,
    is_p_dukemtmc,
    is_partial_reid,
    read_occluded,
    read_p_dukemtmc,
)
from crosscam.data.datasets.prid2011 import is_prid2011, read_prid2011
from crosscam.data.datasets.sequences import (
    is_ilids_vid,
    is_prid2011_video,
    read_ilids_vid,
    read_prid2011_video,
)
from crosscam.data.datasets.table import CamidRule, is_table, read_table
from crosscam.data.datasets.viper import is_viper, read_viper
from crosscam.data.image_limits import foreign_fault, foreign_kind, tell_left_out
from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.tracklets import RANKED_BY_TRACKLETS
from crosscam.data.walk import find_files
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import did_you_mean


@dataclass(frozen=True)
class ReadOptions:
    """What a user may state about a data set; each reader takes some of it."""

    split: int | None = None
    protocol: str | None = None
    camids: CamidRule = None
    boxes: str | None = None
    extract_to: Path | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Reader:
    """One kind of data set.

    Attributes:
        recognizes: whether a folder or file is of this kind.
        read: reads it.
        takes: names of the options that ``read`` looks at; others are refused.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], ReidDataset]
    takes: frozenset[str] = frozenset()


def _read_cuhk03(path: Path, options: ReadOptions) -> ReidDataset:
    return read_cuhk03(
        path,
        boxes=options.boxes,
        protocol=options.protocol or "767/700",
        split=options.split or 0,
        extract_to=options.extract_to,
    )


# Special layouts stand before those that would also fit them.
READERS: dict[str, Reader] = {
    "cuhk03": Reader(is_cuhk03, _read_cuhk03, frozenset({"boxes", "protocol", "split", "extract_to"})),
    "dukemtmc-reid": Reader(is_dukemtmc_reid, lambda root, _: read_dukemtmc_reid(root)),
    "rendered": Reader(is_rendered, lambda root, _: read_market1501(root, name="rendered")),
    "market1501": Reader(is_market_layout, lambda root, _: read_market1501(root)),
    "msmt17": Reader(
        is_msmt17, lambda root, o: read_msmt17(root, protocol=o.protocol or "train+val"), frozenset({"protocol"})
    ),
    "mars": Reader(
        is_mars,
        lambda root, o: read_mars(root, protocol=o.protocol or "official", frames=o.frames),
        frozenset({"protocol", "frames"}),
    ),
    "ilids-vid": Reader(
        is_ilids_vid,
        lambda root, o: read_ilids_vid(root, split=o.split or 0, frames=o.frames),
        frozenset({"split", "frames"}),
    ),
    "prid2011": Reader(is_prid2011, lambda root, o: read_prid2011(root, split=o.split or 0), frozenset({"split"})),
    "prid2011-video": Reader(
        is_prid2011_video,
        lambda root, o: read_prid2011_video(root, split=o.split or 0, frames=o.frames),
        frozenset({"split", "frames"}),
    ),
    "grid": Reader(is_grid, lambda root, o: read_grid(root, split=o.split or 0), frozenset({"split"})),
    "ilids": Reader(is_ilids, lambda root, o: read_ilids(root, split=o.split or 0), frozenset({"split"})),
    "cuhk-sysu": Reader(is_cuhk_sysu, lambda root, _: read_cuhk_sysu(root)),
    "cuhk02": Reader(is_cuhk02, lambda root, _: read_cuhk02(root)),
    "partial-reid": Reader(is_partial_reid, lambda root, _: read_occluded(root)),
    "occluded-reid": Reader(is_occluded_reid, lambda root, _: read_occluded(root)),
    "p-dukemtmc-reid": Reader(is_p_dukemtmc, lambda root, _: read_p_dukemtmc(root)),
    "last": Reader(is_last, lambda root, o: read_last(root, protocol=o.protocol or "test"), frozenset({"protocol"})),
    "celeb-reid": Reader(is_celeb_reid, lambda root, _: read_celeb_reid(root)),
    "viper": Reader(
        is_viper,
        lambda root, o: read_viper(root, protocol=o.protocol or "316/316", split=o.split or 0),
        frozenset({"protocol", "split"}),
    ),
    "cuhk01": Reader(
        is_cuhk01,
        lambda root, o: read_cuhk01(root, protocol=o.protocol or "485/486", split=o.split or 0),
        frozenset({"protocol", "split"}),
    ),
    "cuhk03-pair": Reader(is_cuhk03_pair, lambda root, o: read_cuhk03_pair(root, boxes=o.boxes), frozenset({"boxes"})),
    "table": Reader(is_table, lambda path, o: read_table(path, camids=o.camids), frozenset({"camids"})),
    "folders": Reader(
        has_identity_folders,
        lambda root, o: read_identity_folders(root, camids=o.camids),
        frozenset({"camids"}),
    ),
    "cameras": Reader(has_camera_folders, lambda root, _: read_camera_folders(root)),
    "pictures": Reader(has_pictures, lambda root, o: read_pictures(root, camids=o.camids), frozenset({"camids"})),
}
# Kinds that fit nearly everything come last; pictures without labels only by name.
_LAST = ("folders", "cameras", "pictures")


def recognize(path: Path, kind: str | None = None) -> tuple[str, Path] | None:
    """Kind of a data set and the folder or file it stands in: ``path`` itself or one folder below.

    Args:
        path: a folder or file.
        kind: the only kind to look for; None looks for all.
    Raises:
        DataError: several data sets stand below ``path``.
    """
    layouts = [name for name in READERS if name not in _LAST] if kind is None else [kind]
    found = _first_fit(path, layouts)
    if found is not None:
        return found, path
    children = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
    below = [(found, child) for child in children if (found := _first_fit(child, layouts)) is not None]
    if len(below) > 1:
        names = ", ".join(child.name for _, child in below)
        raise DataError(f"{path} holds several data sets: {names}. Give the path of one, or --kind pictures.")
    if below:
        return below[0]
    last = _first_fit(path, ("folders", "cameras")) if kind is None else None
    return None if last is None else (last, path)


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
    """Read a data set, whatever it is.

    Args:
        path: the unpacked folder, its parent, or a table.
        kind: one of ``READERS``; None recognizes it.
        split: which of the random or numbered splits, for data sets that have several; the first by default.
        protocol: which of the published protocols, for data sets that have several.
        camids: the camera, for own data that does not say it: a number for all images, or a regular
            expression with one group over the file name.
        boxes: ``"labeled"`` or ``"detected"``, for CUHK03.
        extract_to: folder for the images of CUHK03's raw file; beside it by default.
        frames: at most so many frames of each tracklet, evenly spread, for data sets of tracklets; all by default.
        distractors: a folder of images of strangers, which are added to the gallery and match nobody.
    Raises:
        DataError: nothing there, of no known kind, or not as its kind should be.
        ValueError: an unknown kind, or an option that this kind does not have.
    """
    # Absolute and without "..": samples stay valid after a change of the working folder.
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise DataError(f"No data set at {path}. Check the path; see docs/datasets.md.")
    options = ReadOptions(split, protocol, camids, boxes, extract_to, frames)
    if kind is not None and kind not in READERS:
        raise ArgumentError(
            f"Unknown kind of data set {kind!r}. {did_you_mean(kind, READERS)}Expected one of {', '.join(READERS)}."
        )
    try:
        dataset = _read(root, kind, options)
        return dataset if distractors is None else with_distractors(dataset, distractors)
    except OSError as error:
        place = root if error.filename is None else os.fsdecode(error.filename)
        raise DataError(f"{place} cannot be read: {error.strerror or error}. Check its permissions.") from error


def _read(path: Path, kind: str | None, options: ReadOptions) -> ReidDataset:
    found = recognize(path, kind)
    if found is None:
        _refuse_foreign(path)
        expected = kind or f"one of {', '.join(READERS)}"
        raise DataError(f"{path} is not a data set that crosscam knows. Expected {expected}; see docs/datasets.md.")
    kind, root = found
    for option in fields(options):
        if getattr(options, option.name) is not None and option.name not in READERS[kind].takes:
            raise ArgumentError(f"{option.name} means nothing for {kind} ({root}). Leave it out.")
    return READERS[kind].read(root, options)


def _refuse_foreign(path: Path) -> None:
    """Say what a video, or a folder of videos and photographs in other formats, is.

    Raises:
        DataError: it is one of these.
    """
    if path.is_file():
        kind = foreign_kind(path.name)
        if kind is not None:
            raise DataError(foreign_fault(str(path), kind))
        return
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        raise DataError(
            f"{path} was saved by Hugging Face's datasets. Read it once in Python: "
            "crosscam.data.from_hugging_face(path, folder); folder/images.csv is then a data set."
        )
    found = find_files(path)
    told = [t.removeprefix("warning: ") for t in tell_left_out(found.others, 0) if t.startswith("warning: ")]
    if told and not found.pictures:
        raise DataError(f"No pictures in {path} or its folders. {' '.join(told)}")


def join(datasets: Sequence[ReidDataset], name: str = "joined") -> ReidDataset:
    """Put data sets side by side for one training.

    Identities and cameras are numbered anew, data set after data set, in the order of their old numbers; junk,
    distractors and unknown cameras (negative ones) keep theirs. A track's name gets the data set's place in front.

    Args:
        datasets: two or more.
        name: of the result.
    Raises:
        DataError: fewer than two data sets, an image that is in two of them, or two ranking protocols.
    """
    if len(datasets) < 2:
        raise DataError(f"Joining takes at least two data sets, found {len(datasets)}.")
    protocols = sorted({d.protocol for d in datasets})
    if len(protocols) > 1:
        raise DataError(f"The data sets are ranked by different protocols ({', '.join(protocols)}). Join alike ones.")
    tracklets = {d.tracklets for d in datasets if d.query or d.gallery} == {True}
    subsets: dict[str, list[Sample]] = {"train": [], "query": [], "gallery": []}
    notes: list[str] = []
    first_pid, first_camid, owners = 1, 1, dict[Path, int]()
    for number, dataset in enumerate(datasets, 1):
        pids, camids = _numbers(dataset, first_pid, first_camid)
        for subset, samples in dataset.subsets.items():
            for s in samples:
                if owners.setdefault(s.path, number) != number:
                    raise DataError(f"{s.path} is in data sets {owners[s.path]} and {number}. Join distinct ones.")
                track = None if s.track is None else f"{number}.{s.track}"
                pid, camid = pids.get(s.pid, s.pid), camids.get(s.camid, s.camid)
                subsets[subset].append(replace(s, pid=pid, camid=camid, track=track))
        untrue = () if tracklets else RANKED_BY_TRACKLETS
        notes += [f"{dataset.name}: {note}" for note in dataset.notes if not note.startswith(untrue)]
        notes.append(
            f"{dataset.name}: identities {first_pid} to {first_pid + len(pids) - 1}, "
            f"cameras {first_camid} to {first_camid + len(camids) - 1}."
        )
        first_pid, first_camid = first_pid + len(pids), first_camid + len(camids)
    root = Path(os.path.commonpath([d.root.absolute() for d in datasets]))
    train, query, gallery = (tuple(subset) for subset in subsets.values())
    return ReidDataset(name, root, train, query, gallery, protocols[0], tuple(notes), True, tracklets)


def _numbers(dataset: ReidDataset, first_pid: int, first_camid: int) -> tuple[dict[int, int], dict[int, int]]:
    """New numbers of a data set's identities and cameras, from the given ones on."""
    samples = [s for subset in dataset.subsets.values() for s in subset]
    pids = sorted({s.pid for s in samples if s.pid > DISTRACTOR_PID})
    camids = sorted({s.camid for s in samples if s.camid >= 0})
    return {p: new for new, p in enumerate(pids, first_pid)}, {c: new for new, c in enumerate(camids, first_camid)}
