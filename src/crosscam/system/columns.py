"""Columns as a table of pandas or Arrow, where these are installed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import CrosscamError
from crosscam.system import needed
from crosscam.system.text import printable

Kind = Literal["int", "float", "text", "vector"]


@dataclass(frozen=True)
class Column:
    """N values of one kind, (N, D) for ``"vector"``; None where one is not known."""

    kind: Kind
    values: Sequence[Any] | NDArray[Any]


Columns = Mapping[str, Column]


class Tabular(ABC):
    """What can go to pandas and Arrow: a class says its columns and, in its own docstring, what a row is."""

    @abstractmethod
    def _columns(self) -> Columns: ...

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``; numbers that are not known are ``<NA>`` or NaN, and a vector is an array in its cell.

        Raises:
            CrosscamError: pandas is not installed.
        """
        pandas = _library("pandas")
        return pandas.DataFrame({name: _for_pandas(pandas, column) for name, column in self._columns().items()})

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table``; what is not known is null, and vectors are lists of fixed length.

        Raises:
            CrosscamError: pyarrow is not installed.
        """
        pyarrow = _library("pyarrow")
        return pyarrow.table({name: _for_arrow(pyarrow, column) for name, column in self._columns().items()})


def _library(name: Literal["pandas", "pyarrow"]) -> Any:
    method = {"pandas": "to_pandas()", "pyarrow": "to_arrow()"}[name]
    return needed(name, f"{method} needs {name}, which is not installed: pip install {name}.", CrosscamError)


def _for_pandas(pandas: Any, column: Column) -> Any:
    if column.kind == "int":
        return pandas.array(list(column.values), dtype="Int64")
    if column.kind == "float":
        return _floats(column)
    return list(column.values)


def _for_arrow(pyarrow: Any, column: Column) -> Any:
    if column.kind == "vector":
        rows = np.ascontiguousarray(column.values, dtype=np.float32)
        flat = pyarrow.array(rows.reshape(-1), pyarrow.float32())
        return pyarrow.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    if column.kind == "text":
        texts = [None if value is None else printable(value) for value in column.values]
        return pyarrow.array(texts, pyarrow.string())
    if column.kind == "int":
        return pyarrow.array([None if v is None else int(v) for v in column.values], pyarrow.int64())
    return pyarrow.array(_floats(column), pyarrow.float64(), from_pandas=True)


def _floats(column: Column) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in column.values], np.float64)
