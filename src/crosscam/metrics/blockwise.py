"""The places of the matches where the gallery is too large to hold: its descriptors are read once, block by block.

Counting needs the distances of the matches first. So the gallery images whose identity is asked for are compared first,
and their distances kept: few beside the distractors of a large gallery. Then everybody else goes by, a block at a time,
and leaves nothing but counts. Junk is never compared.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.metrics.counting import Floats, Ints, Matches, Places, add_strangers, count_closer, join_places
from crosscam.retrieval.distances import (
    Descriptors,
    center_of,
    centered_distances,
    check_shapes,
    first_not_finite,
    not_finite,
    square_norms,
)

# Numbers of the gallery held at a time: 64 MB in float32.
GALLERY_ELEMENTS = 16_000_000
# Distances held at a time, 64 MB, and distances to images of the identities asked for, 256 MB.
DISTANCE_ELEMENTS = 16_000_000
KEPT_ELEMENTS = 64_000_000
# Narrower blocks go through other code of the matrix product, which may round the last digit the other way.
LEAST_ROWS = 256


@dataclass(frozen=True, eq=False)
class _Gallery:
    """(G, D) descriptors that are read in blocks, memory-mapped or not; ``center``, (D,), is taken off every block."""

    source: Descriptors
    center: Tensor

    def blocks(self, columns: Ints, num_queries: int) -> Iterator[tuple[slice, Tensor]]:
        """Which of the columns (rising gallery indices), and their centered descriptors (S, D)."""
        most = min(GALLERY_ELEMENTS // max(1, self.source.shape[1]), DISTANCE_ELEMENTS // max(1, num_queries))
        for part in even_slices(len(columns), max(LEAST_ROWS, most)):
            rows = columns[part]
            block = self._read(rows)
            if (bad := first_not_finite(block)) is not None:
                raise not_finite("gallery", int(rows[bad]))
            yield part, block.sub_(self.center)

    def _read(self, rows: Ints) -> Tensor:
        """Always a copy."""
        dtype, device = self.center.dtype, self.center.device
        if isinstance(self.source, Tensor):
            chosen = self.source.detach()[torch.from_numpy(rows).to(self.source.device)]
            return chosen.to(dtype).to(device)
        some = np.asarray(self.source[rows])
        release_pages(self.source)
        return torch.from_numpy(some).to(dtype).to(device)


def even_slices(count: int, most: int) -> Iterator[slice]:
    """``range(count)`` in as few slices of at most ``most`` as possible, of about the same length."""
    number = -(-count // most)
    for i in range(number):
        yield slice(i * count // number, (i + 1) * count // number)


def release_pages(array: NDArray[Any]) -> None:
    """Let go of the pages of a memory-mapped file that were read, which count as this process's memory until then."""
    mapped, advice = getattr(array, "_mmap", None), getattr(mmap, "MADV_DONTNEED", None)
    # A private copy ("c") would lose what was written to it.
    if mapped is not None and advice is not None and getattr(array, "mode", "c") in ("r", "r+"):
        mapped.madvise(advice)


@torch.no_grad()
def places_by_blocks(query: Descriptors, gallery: Descriptors, matches: Matches) -> Places:
    """The places of all matches by Euclidean distance, as ``count_closer`` of ``pairwise_distances`` gives them.

    Args:
        query: (Q, D) array or tensor, on any device; distances are computed there, and counted on the CPU.
        gallery: (G, D) array, memory-mapped (``numpy.load(file, mmap_mode="r")``) or not, or tensor. Any floating type;
            what is narrower than float32 is widened block by block.
    Raises:
        ValueError: descriptors that do not fit each other or are not finite.
    """
    q = query.detach() if isinstance(query, Tensor) else torch.from_numpy(np.ascontiguousarray(query))
    gallery = gallery if isinstance(gallery, Tensor | np.ndarray) else np.asarray(gallery)
    check_shapes(q, gallery)
    wide = q.dtype == torch.float64 or str(gallery.dtype).endswith("float64")
    dtype = torch.float64 if wide else torch.float32
    q = q.to(dtype)
    if (bad := first_not_finite(q)) is not None:
        raise not_finite("query", bad)
    # Of a gallery that is not finite any center will do: the row is found when its block is read.
    center = center_of(gallery).nan_to_num(0.0, 0.0, 0.0).to(dtype).to(q.device)
    q = q - center
    reader = _Gallery(gallery, center)

    wanted = np.unique(matches.same_columns)
    is_stranger = matches.usable.copy()
    is_stranger[wanted] = False
    strangers = np.flatnonzero(is_stranger)
    near_matches = Matches(
        matches.offsets,
        np.searchsorted(wanted, matches.columns),
        matches.same_offsets,
        np.searchsorted(wanted, matches.same_columns),
        np.ones(len(wanted), dtype=np.bool_),
    )
    rows = max(1, min(len(q), KEPT_ELEMENTS // max(1, len(wanted))))
    parts = []
    for some in even_slices(len(q), rows):
        near = _near_distances(q[some], reader, wanted)
        places, limits = _count_near(near, near_matches, some.start)
        more = _count_strangers(q[some], reader, strangers, matches, some.start, limits)
        before, not_after = places.others_before + more[0], places.others_not_after + more[1]
        parts.append(Places(before, not_after, places.matches_before, places.matches_not_after))
    return join_places(parts)


def _near_distances(q: Tensor, reader: _Gallery, wanted: Ints) -> Floats:
    """(B, I) distances to the images of the identities asked for."""
    near = np.empty((len(q), len(wanted)), dtype=np.float32)
    for part, block in reader.blocks(wanted, len(q)):
        near[:, part] = centered_distances(q, block, square_norms(block), squared=False).cpu().numpy()
    return near


def _count_near(near: Floats, matches: Matches, first_query: int) -> tuple[Places, Floats]:
    """The places of a block's matches among these images, and the distance of each."""
    start, stop = matches.offsets[first_query], matches.offsets[first_query + len(near)]
    rows = matches.query_of_rows(first_query, len(near)) - first_query
    return count_closer(near, matches, first_query), near[rows, matches.columns[start:stop]]


def _count_strangers(
    q: Tensor, reader: _Gallery, strangers: Ints, matches: Matches, first_query: int, limits: Floats
) -> Ints:
    """(2, M) images that match no query, before and not after, each match of a block of queries."""
    offsets = matches.offsets[first_query : first_query + len(q) + 1]
    columns = matches.columns[offsets[0] : offsets[-1]]
    counts = np.zeros((2, len(columns)), dtype=np.int64)
    for part, block in reader.blocks(strangers, len(q)):
        distances = centered_distances(q, block, square_norms(block), squared=False)
        lower = np.searchsorted(strangers[part], columns)
        if not add_strangers(distances.cpu().numpy(), offsets - offsets[0], lower, limits, counts):
            raise ArgumentError("Distances hold NaN. Expected numbers; look for descriptors that are not finite.")
    return counts
