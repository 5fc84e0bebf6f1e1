"""Lists of similar entries, for a search that does not compare all.

An inverted file (Sivic & Zisserman, "Video Google", ICCV 2003) that keeps no descriptor: entries are named by id, and
their rows are read from the segments. So forgetting needs no second place to wipe, filters and weights stay exact among
the entries that are compared, and a lost index costs nothing but its building.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from crosscam.errors import GalleryError
from crosscam.gallery.records import IndexInfo
from crosscam.gallery.rows import Rows
from crosscam.gallery.scan import Keys
from crosscam.gallery.segments import sync_folder

INDEX = "lists.npz"
UNLISTED = -1
ROUNDS = 10
SAMPLED_PER_LIST = 64
# A centre of fewer sampled members could be one person's descriptor; it is dropped.
LEAST_MEMBERS = 8
ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """The index.

    Attributes:
        centres: (C, D) of length 1.
        ids: (N,) entries in the lists, rising.
        lists: (N,) the list of each.
        info: sizes and measured recall.
    """

    centres: Rows
    ids: Keys
    lists: Keys
    info: IndexInfo

    @staticmethod
    def read(file: Path) -> InvertedLists:
        """An index from its file.

        Raises:
            GalleryError: it is damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as found:
                probes, queries = (int(v) for v in found["counts"])
                info = IndexInfo(len(found["centres"]), probes, len(found["ids"]), float(found["recall"]), queries)
                return InvertedLists(found["centres"], found["ids"], found["lists"], info)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise GalleryError(f"{file} is damaged. Delete it, and build the index again.") from error

    def write(self, file: Path) -> None:
        """Put it in its place, whole, and flush to disk."""
        part = file.with_suffix(".part")
        with open(part, "wb") as out:
            np.savez(
                out,
                centres=self.centres,
                ids=self.ids,
                lists=self.lists,
                counts=np.array([self.info.probes, self.info.queries]),
                recall=np.array(self.info.recall_at_10),
            )
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        sync_folder(file.parent)

    def of(self, ids: Keys) -> Keys:
        """(n,) the list of each id, ``UNLISTED`` for one that came later."""
        if not len(self.ids):
            return np.full(len(ids), UNLISTED, np.int64)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.lists[place], UNLISTED).astype(np.int64)


def num_lists(entries: int) -> int:
    """About the square root, a power of two."""
    return int(2 ** round(np.log2(max(16.0, np.sqrt(entries)))))


def train_centres(sample: Rows, count: int, seed: int) -> Rows:
    """Spherical k-means (Dhillon & Modha, Machine Learning 2001).

    Args:
        sample: (M, D) of length 1.
        count: centres wanted; those of fewer than ``LEAST_MEMBERS`` are dropped.
    Returns:
        (C, D) of length 1, C <= count.
    """
    points = torch.from_numpy(sample)
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:count]
    centres = points[chosen].clone()
    members = torch.zeros(len(centres))
    for _ in range(ROUNDS):
        nearest = torch.from_numpy(assign(sample, centres.numpy()))
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        members = torch.bincount(nearest, minlength=len(centres))
        # An empty list starts again at the point of a crowded one, else it would stay empty for good.
        empty = torch.nonzero(members == 0).flatten()
        sums[empty] = points[torch.argsort(members[nearest], descending=True)[: len(empty)]]
        centres = torch.nn.functional.normalize(sums, dim=1)
    members = torch.bincount(torch.from_numpy(assign(sample, centres.numpy())), minlength=len(centres))
    kept = centres[members >= LEAST_MEMBERS]
    if not len(kept):
        kept = torch.nn.functional.normalize(points.mean(dim=0, keepdim=True), dim=1)
    result: Rows = kept.numpy()
    return result


def assign(rows: Rows, centres: Rows) -> Keys:
    """(N,) the nearest centre of each row (N, D)."""
    result = np.empty(len(rows), np.int64)
    wide = torch.from_numpy(np.ascontiguousarray(centres.T))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = torch.from_numpy(np.ascontiguousarray(rows[first : first + ROWS_AT_ONCE]))
        result[first : first + ROWS_AT_ONCE] = (some @ wide).argmax(dim=1).numpy()
    return result
