"""Checksums of what a gallery keeps.

Two kinds, for two questions. A CRC-32 of each row, of each thumbnail and of each entry's own fields is what ``verify``,
``backup`` and ``descriptors`` compare. A search reads every row, and a CRC of them all would take longer than to open
the gallery; it compares one sum for each segment, which runs at the speed of the memory (7 GB/s against 1 GB/s).
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.rows import Rows

Keys = NDArray[np.int64]
Sums = NDArray[np.uint64]


def row_sums(rows: Rows) -> Sums:
    """(n,) the sum of each row's 32-bit words, modulo 2**32."""
    words = np.ascontiguousarray(rows).view(np.uint32)
    sums: Sums = np.add.reduce(words, axis=1, dtype=np.uint32).astype(np.uint64)
    return sums


def segment_sum(sums: Sums, numbers: Keys) -> int:
    """What some rows contribute to the sum of their segment, as a signed 64-bit number.

    Each row counts with an odd factor by its place, so that rows that changed places are noticed. Contributions of
    different rows add up, modulo 2**64.

    Args:
        sums: (n,) of :func:`row_sums`.
        numbers: (n,) places of the rows in their segment.
    """
    factors = 2 * numbers.astype(np.uint64) + np.uint64(1)
    return signed(int(np.add.reduce(sums * factors, dtype=np.uint64)))


def signed(value: int) -> int:
    """A number modulo 2**64 as SQLite keeps it."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def entry_crc(fields: tuple[Any, ...]) -> int:
    """CRC-32 of an entry's own fields, in the order of :data:`crosscam.gallery.database.CHECKED`."""
    return zlib.crc32(repr(fields).encode("utf-8", "surrogatepass"))


def value_crc(name: str, text: str) -> int:
    """CRC-32 of a document or of what a gallery says of itself."""
    # A damaged database may give bytes, which are never what was kept.
    return zlib.crc32(json.dumps([name, text], default=repr).encode())
