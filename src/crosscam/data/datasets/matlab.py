"""Arrays in MATLAB's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import DataError


def read_matlab(path: Path, name: str, what: str | None = None) -> NDArray[np.generic]:
    """The array of a name in a ``.mat`` file; messages call it ``what``.

    Raises:
        DataError: no scipy, no such file, or no such array in it.
    """
    try:
        import scipy.io
    except ImportError as error:
        raise DataError(f"Reading {path} needs scipy: pip install 'crosscam[data]'.") from error
    if not path.is_file():
        raise DataError(f"No {path}. Unpack the data set again; see docs/datasets.md.")
    try:
        found: NDArray[np.generic] = np.asarray(scipy.io.loadmat(path)[name])
    except Exception as error:  # scipy raises classes of its own
        raise DataError(f"{path} does not hold {what or name} ({type(error).__name__}). Unpack it again.") from error
    return found
