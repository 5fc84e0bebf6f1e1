"""Parameters and inputs that anyone can draw again, for the comparisons with the authors' numbers.

Each array is drawn from NumPy's frozen legacy generator, seeded by the CRC-32 of its name, so that a name and a
shape are all there is to agree on.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PARITY = Path(__file__).parents[1] / "data" / "parity"
Float32 = NDArray[np.float32]


def draw(name: str, *shape: int) -> NDArray[np.float64]:
    """Standard normal numbers that depend on the name alone."""
    return np.random.RandomState(zlib.crc32(name.encode("ascii"))).standard_normal(shape)


def parameter(name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The array for one of the authors' names, scaled so that signals keep their size through the network."""
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.zeros((), np.int64)
    values = draw(name, *shape)
    if kind in ("running_mean", "bias"):
        values = 0.1 * values
    elif kind == "running_var":
        values = np.exp(0.2 * values)
    elif len(shape) == 4:
        values = values * math.sqrt(2 / math.prod(shape[1:]))
    elif len(shape) == 2:
        values = values * math.sqrt(1 / shape[1])
    else:
        # Smaller scales where a residual block ends, or the sums of the blocks would grow.
        ends_block = name.startswith("base.") and (".bn3." in name or ".downsample.1." in name)
        values = (0.5 if ends_block else 1.0) * (1 + 0.1 * values)
    return values.astype(np.float32)


def authors_state(names: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.generic]]:
    """Arrays for the given names and shapes."""
    return {name: parameter(name, tuple(shape)) for name, shape in names.items()}


def authors_names() -> dict[str, tuple[int, ...]]:
    """The 723 names of the authors' RRID-F with 10 classes, and their shapes."""
    entries = json.loads((PARITY / "state_keys.json").read_text())["entries"]
    return {name: tuple(shape) for name, shape, _ in entries}


def feature_map(images: int) -> Float32:
    """(B, 2048, 24, 8), not negative, as after a ReLU."""
    return np.maximum(draw(f"input:feat:{images}", images, 2048, 24, 8), 0).astype(np.float32)


def normalized_images(images: int) -> Float32:
    """(B, 3, 384, 128)."""
    return draw(f"input:images:{images}", images, 3, 384, 128).astype(np.float32)


def vectors(tag: str, count: int, dim: int) -> Float32:
    """(count, dim)."""
    return draw(f"input:vec:{tag}", count, dim).astype(np.float32)
