"""Datasets of Hugging Face's library ``datasets``: out as a ``DatasetDict``, in as image files and a table."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from crosscam.data.datasets.camera_rules import CamidRule
from crosscam.data.datasets.cells import write_cells
from crosscam.data.datasets.table import read_table
from crosscam.data.images import FORMATS
from crosscam.data.records import ReidDataset
from crosscam.data.text_files import refuse_names
from crosscam.data.walk import is_image_name
from crosscam.errors import DataError
from crosscam.system.files import check_folder, folder_in_place
from crosscam.system.text import reason_of

TABLE_NAME = "images.csv"

# Hugging Face's type of each column; "image" and "path" come first and last.
_TYPES = {"pid": "int64", "camid": "int64", "time": "float64", "track": "string", "camera": "string"}
_READ = ("pid", "camid", "time", "track", "camera", "protocol")
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}

Rows = Iterable[Mapping[str, Any]]


def to_hugging_face(dataset: ReidDataset) -> Any:
    """A ``datasets.DatasetDict`` of the images, split into train, query and gallery as far as these hold any.

    Columns: ``image`` (an ``Image`` feature), ``pid``, ``camid``, ``time``, ``track`` and ``camera`` where some image
    has one, ``protocol`` where it is not the usual one, and ``path``, which counts from the dataset's folder. Images
    stay where they are until the result is saved: ``save_to_disk`` and ``push_to_hub`` copy their bytes unchanged.

    Raises:
        DataError: ``datasets`` is not installed, no image, or a file name that is not UTF-8.
    """
    library = _library()
    splits = columns_of(dataset)
    if not splits:
        raise DataError(f"{dataset.name} has no images. Nothing was made of it.")
    types = {**_TYPES, "protocol": "string", "path": "string"}
    names = next(iter(splits.values()))
    features = library.Features(
        {name: library.Image() if name == "image" else library.Value(types[name]) for name in names}
    )
    return library.DatasetDict(
        {split: library.Dataset.from_dict(columns, features=features) for split, columns in splits.items()}
    )


def columns_of(dataset: ReidDataset) -> dict[str, dict[str, list[Any]]]:
    """The columns of each split that has images; all splits have the same ones, as :func:`to_hugging_face` says.

    Raises:
        DataError: a file name or track that is not UTF-8.
    """
    samples = [s for subset in dataset.subsets.values() for s in subset]
    refuse_names([text for s in samples for text in (str(s.path), s.track or "")], "Arrow", "Rename the files.")
    kept = [name for name in _TYPES if any(getattr(s, name) is not None for s in samples)]
    splits: dict[str, dict[str, list[Any]]] = {}
    for split, subset in dataset.subsets.items():
        if not subset:
            continue
        columns: dict[str, list[Any]] = {"image": [str(s.path) for s in subset]}
        columns |= {name: [getattr(s, name) for s in subset] for name in kept}
        if dataset.protocol != "market1501":
            columns["protocol"] = [dataset.protocol] * len(subset)
        # An absolute path would tell others how this machine's folders are called.
        inside = [s.path.is_relative_to(dataset.root) for s in subset]
        columns["path"] = [
            s.path.relative_to(dataset.root).as_posix() if within else s.path.name
            for s, within in zip(subset, inside, strict=True)
        ]
        splits[split] = columns
    return splits


def from_hugging_face(source: Any, folder: Path | str, *, camids: CamidRule = None) -> ReidDataset:
    """Write the images of a Hugging Face dataset to a folder, with a table, and read it.

    ``folder/images.csv`` is from then on a dataset for every command. The images' bytes are written unchanged, by
    their ``path`` where it is a relative one, else as ``SPLIT/000000.jpg`` in the order of the rows.

    Args:
        source: a ``datasets.DatasetDict`` with splits among train, query and gallery, or one ``datasets.Dataset`` for
            training; streamed ones, too; or the folder that ``save_to_disk`` wrote. Its columns are ``image`` and
            ``pid``, and perhaps ``camid``, ``time``, ``track``, ``camera``, with the meaning of a table's.
        folder: must not exist, or be empty.
        camids: needed where there is no column ``camid``, see :func:`crosscam.read_dataset`.
    Raises:
        DataError: ``datasets`` is not installed, no such folder, another split, a missing column, a row without an
            image, or a label that a table does not hold either.
    """
    folder = Path(os.path.abspath(folder))
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Name a new folder for the images.")
    table = write_rows(_rows_of(source), folder)
    return read_table(table, camids=camids)


def write_rows(splits: Mapping[str, Rows], folder: Path) -> Path:
    """Write rows as image files and a table that :func:`crosscam.data.read_table` reads.

    Args:
        splits: rows of each; ``image`` is ``{"bytes": ..., "path": ...}``, of which one is given.
    Returns:
        the table.
    Raises:
        DataError: as :func:`from_hugging_face`.
    """
    wrong = [name for name in splits if name not in ("train", "query", "gallery")]
    if wrong or not splits:
        raise DataError(
            f"The dataset has the splits {', '.join(splits) or '(none)'}. Expected some of train, query and gallery: "
            "DatasetDict({'train': data['train'], 'gallery': data['test']}) renames them."
        )
    columns: dict[str, list[object]] = {name: [] for name in ("path", "split", *_READ)}
    with folder_in_place(folder, error=DataError) as part:
        for split, number, row in _each(splits):
            where = f"split {split}, row {number}"
            data = _bytes_of(row, where)
            name = _place(row.get("path"), part) or f"{split}/{number:06}{_suffix(data, where)}"
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            with open(part / name, "xb") as file:  # never onto another image
                file.write(data)
            cells = {**row, "path": name, "split": split}
            for column in columns:
                columns[column].append(cells.get(column))
        known = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
        write_cells(part / TABLE_NAME, ".csv", known)
    return folder / TABLE_NAME


def _each(splits: Mapping[str, Rows]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    for split, rows in splits.items():
        for number, row in enumerate(rows):
            for name in ("image", "pid"):
                if name not in row:
                    raise DataError(
                        f"The dataset has no column {name!r}. Expected image, pid[, camid, time, track, camera], found "
                        f"{', '.join(row)}. data.rename_columns({{'label': {name!r}}}) renames one."
                    )
            yield split, number, row


def _bytes_of(row: Mapping[str, Any], where: str) -> bytes:
    image = row["image"]
    if not isinstance(image, Mapping) or (image.get("bytes") is None and not image.get("path")):
        raise DataError(f"{where}: no image. Leave such rows out with data.filter.")
    try:
        return image["bytes"] if image.get("bytes") is not None else Path(image["path"]).read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {image['path']} cannot be read: {error.strerror or error}.") from error


def _place(path: object, folder: Path) -> str | None:
    """Where an image goes by the path that the data give it; None where that leads elsewhere or is another image's."""
    if not isinstance(path, str) or not is_image_name(path) or any(sign in path for sign in "\\:\0"):
        return None
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or (folder / place).exists():
        return None
    return place.as_posix()


def _suffix(data: bytes, where: str) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            kind = str(image.format)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: no image in one of the formats {', '.join(FORMATS)}.") from error
    return _SUFFIXES.get(kind, f".{kind.lower()}")


def _rows_of(source: Any) -> dict[str, Rows]:
    """The rows of each split, with images as bytes and classes by their names."""
    library = _library()
    if isinstance(source, (str, Path)):
        try:
            source = library.load_from_disk(str(source))
        except Exception as error:  # a damaged folder makes the library raise nearly anything
            raise DataError(
                f"{source} is not a folder that save_to_disk of Hugging Face's datasets wrote: "
                f"{reason_of(error)} Other files: from_hugging_face(datasets.load_dataset(...), folder)."
            ) from error
    splits = source if isinstance(source, dict) else {"train": source}
    return {name: _plain(library, data) for name, data in splits.items()}


def _plain(library: Any, data: Any) -> Rows:
    features = data.features or {}
    if isinstance(features.get("image"), library.Image):
        data = data.cast_column("image", library.Image(decode=False))
    classes = {name: f for name, f in features.items() if name in _READ and isinstance(f, library.ClassLabel)}
    for row in data:
        yield {**row, **{name: _name(label, row[name]) for name, label in classes.items()}}


def _name(label: Any, value: int | None) -> str | None:
    return None if value is None else str(label.int2str(value))


def _library() -> Any:
    try:
        import datasets

        # Without the library, a folder of that name on the path is imported in its place.
        _ = datasets.Features
    except (ImportError, AttributeError) as error:
        raise DataError("Hugging Face's datasets is not installed: pip install 'crosscam[huggingface]'.") from error
    return datasets
