"""Files of descriptors, read: what ``crosscam extract`` and ``crosscam gallery export`` write."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, DataError
from crosscam.inference.descriptor_files import COLUMNS, UNKNOWN
from crosscam.system import needed
from crosscam.system.columns import Column, Columns, Tabular
from crosscam.system.text import counted, reason_of

# By which the length of a descriptor may differ from 1: rounding to half precision.
_LENGTH_SLACK = 2e-3


@dataclass(frozen=True, eq=False)
class DescriptorFile(Tabular):
    """The descriptors of a file, with what is known of each image; a row of a table is an image.

    Attributes:
        file: what was read.
        paths: N paths, as they were given.
        descriptors: (N, D) float32, each row of length 1.
        pids, camids, times, tracks, cameras: N values, None for what is not known; ``cameras`` are their names.
        fingerprint: of the model; None where the file does not say, as for an exported gallery.
    """

    file: Path
    paths: Sequence[str]
    descriptors: NDArray[np.float32]
    pids: Sequence[int | None]
    camids: Sequence[int | None]
    times: Sequence[float | None]
    tracks: Sequence[str | None]
    cameras: Sequence[str | None]
    fingerprint: str | None

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        model = "" if self.fingerprint is None else f", {self.fingerprint[:4]}..."
        images, numbers = counted(len(self), "image"), counted(self.descriptors.shape[1], "number")
        return f"DescriptorFile({str(self.file)!r}, {images}, {numbers}{model})"

    def _columns(self) -> Columns:
        return {
            "path": Column("text", self.paths),
            "pid": Column("int", self.pids),
            "camid": Column("int", self.camids),
            "time": Column("float", self.times),
            "track": Column("text", self.tracks),
            "camera": Column("text", self.cameras),
            "descriptor": Column("vector", self.descriptors),
        }


def read_descriptors(file: str | os.PathLike[str]) -> DescriptorFile:
    """Read a file of descriptors.

    Args:
        file: .npz or .parquet, or a folder of .parquet files, as ``crosscam extract`` or ``crosscam gallery export``
            writes them.
    Raises:
        DataError: no such file, another kind of file, or a damaged one; descriptors of several networks, or one that
            is not of length 1; or pyarrow is missing for Parquet.
    """
    path = Path(file)
    if not path.exists():
        raise DataError(f"No file of descriptors at {path}. Check the path; 'crosscam extract' writes one.")
    try:
        if path.suffix.lower() == ".npz":
            columns, descriptors, fingerprint = _read_npz(path)
        elif path.is_dir() or path.suffix.lower() == ".parquet":
            columns, descriptors, fingerprint = _read_parquet(path)
        else:
            raise DataError(f"{path} is not a file of descriptors. Expected .npz, .parquet or a folder of .parquet.")
    # Parquet's reader raises the last two for columns of other types.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, NotImplementedError) as error:
        reason = reason_of(error)
        raise DataError(
            f"{path} is damaged or not a file of descriptors ({reason}). Expected what 'crosscam extract' writes."
        ) from error
    counts = {len(descriptors), *map(len, columns.values())}
    if descriptors.ndim != 2 or len(counts) > 1:
        raise DataError(f"{path} is damaged: its columns have different lengths ({sorted(counts)}). Extract again.")
    lengths = np.linalg.norm(descriptors, axis=1)
    wrong = ~np.isclose(lengths, 1, atol=_LENGTH_SLACK)
    if wrong.any():
        row = int(wrong.argmax())
        name = columns["path"][row]
        raise DataError(f"{path}: the descriptor of {name} has length {lengths[row]:.4g}, expected 1. Extract again.")
    values = {f"{name}s": columns[name] for name in COLUMNS}
    return DescriptorFile(path, descriptors=descriptors, fingerprint=fingerprint, **values)


Found = tuple[Mapping[str, Sequence[Any]], NDArray[np.float32], str | None]


def _read_npz(path: Path) -> Found:
    with np.load(path, allow_pickle=False) as arrays:
        # An exported gallery has one word for a column, an extraction its plural.
        plural = "" if "descriptor" in arrays else "s"
        descriptors = np.asarray(arrays[f"descriptor{plural}"], np.float32)
        columns = {name: _values(arrays[name + plural]) for name in COLUMNS if name + plural in arrays}
        fingerprint = str(arrays["fingerprint"]) if "fingerprint" in arrays else None
    if "path" not in columns:
        raise DataError(
            f"{path} has no paths, so it is not a file of descriptors. Expected what 'crosscam extract' writes."
        )
    nothing = [None] * len(descriptors)
    return {name: columns.get(name, nothing) for name in COLUMNS}, descriptors, fingerprint


def _values(array: NDArray[Any]) -> list[Any]:
    """A column of an .npz file with None for what is not known."""
    missing: tuple[Any, ...] = (UNKNOWN,) if array.dtype.kind == "i" else ("",) if array.dtype.kind == "U" else ()
    return [None if value in missing or value != value else value for value in array.tolist()]


def _read_parquet(path: Path) -> Found:
    dataset = needed("pyarrow.dataset", "Reading Parquet needs pyarrow: pip install 'crosscam[data]'.")
    found = dataset.dataset(path, format="parquet")
    table = found.to_table()
    lost = [name for name in ("path", "descriptor") if name not in table.column_names]
    if lost:
        raise DataError(f"{path} has no column {lost[0]!r}, so it is not a file of descriptors.")
    nothing = [None] * table.num_rows
    columns = {name: table[name].to_pylist() if name in table.column_names else nothing for name in COLUMNS}
    return columns, _vectors(table["descriptor"]), _one_network(path, found)


def _vectors(column: Any) -> NDArray[np.float32]:
    """(N, D) of a column of lists; other programs write them without a fixed length."""
    pyarrow = needed("pyarrow", "Reading Parquet needs pyarrow: pip install 'crosscam[data]'.")
    if column.null_count:
        raise ArgumentError(f"{counted(column.null_count, 'descriptor is')} missing")
    fixed = pyarrow.types.is_fixed_size_list(column.type)
    dim = column.type.list_size if fixed else len(column[0]) if len(column) else 0
    chunks = column.cast(pyarrow.list_(pyarrow.float32(), dim)).chunks
    rows = [np.asarray(chunk.flatten(), np.float32).reshape(-1, dim) for chunk in chunks]
    return np.concatenate([np.empty((0, dim), np.float32), *rows])


def _one_network(path: Path, dataset: Any) -> str | None:
    """The fingerprint in the files of a Parquet dataset; DataError if they are of several networks."""
    texts = [(f.physical_schema.metadata or {}).get(b"crosscam.fingerprint") for f in dataset.get_fragments()]
    found = sorted({text.decode("ascii", "replace") for text in texts if text is not None})
    if len(found) > 1:
        raise DataError(
            f"{path} holds descriptors of several networks ({', '.join(found)}), which do not compare. Read the files "
            "of one."
        )
    return found[0] if found else None
