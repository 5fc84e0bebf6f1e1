"""Tracks as single entries: the mean of their pictures' descriptors, scaled to length 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.rows import Rows, widen
from crosscam.gallery.scan import Chunk, Keys
from crosscam.gallery.snapshot import NONE, Snapshot
from crosscam.models.output import Layout

PICTURES_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class PooledTracks:
    """Chosen entries with the pictures of each track as one.

    A key below N is the place of an entry without a track in the snapshot, N + t is track t.

    Attributes:
        snapshot: the N entries.
        single: (N,) chosen entries without a track.
        means: (T, D + L) rows of the tracks.
        members: (M,) places of the tracks' pictures, track by track, by rising id.
        offsets: (T + 1,) track t has ``members[offsets[t]:offsets[t + 1]]``.
    """

    snapshot: Snapshot
    single: NDArray[np.bool_]
    means: Rows
    members: Keys
    offsets: Keys

    def chunks(self) -> Iterator[Chunk]:
        """Keys and rows of all."""
        yield from self.snapshot.chunks(self.single)
        if len(self.means):
            yield len(self.snapshot) + np.arange(len(self.means)), lambda: (self.means,)

    def rows(self, keys: Keys) -> Rows:
        """(n, D + L) rows."""
        result = np.empty((len(keys), self.means.shape[1]), np.float32)
        track = keys >= len(self.snapshot)
        result[track] = self.means[keys[track] - len(self.snapshot)]
        if not track.all():
            result[~track] = self.snapshot.rows(keys[~track])
        return result

    def first_ids(self, keys: Keys) -> Keys:
        """(n,) the lowest id that a key stands for."""
        return np.array([self.snapshot.columns["id"][self.pictures(key)[0]] for key in keys], np.int64)

    def pictures(self, key: int) -> Keys:
        """Places of the pictures that a key stands for, by rising id."""
        track = int(key) - len(self.snapshot)
        if track < 0:
            return np.array([key], np.int64)
        return self.members[self.offsets[track] : self.offsets[track + 1]]


def pool_tracks(snapshot: Snapshot, chosen: NDArray[np.bool_], layout: Layout) -> PooledTracks:
    """Pool the chosen entries; reads all those of tracks once."""
    columns = snapshot.columns
    tracked = chosen & (columns["track"] != NONE)
    places = np.flatnonzero(tracked)
    places = places[np.lexsort((columns["id"][places], columns["track"][places], columns["camid"][places]))]
    camids, tracks = columns["camid"][places], columns["track"][places]
    starts = np.flatnonzero(np.r_[True, (np.diff(camids) != 0) | (np.diff(tracks) != 0)]) if len(places) else places
    offsets = np.r_[starts, len(places)].astype(np.int64)
    dim = layout[-1].stop
    sums = np.zeros((len(starts), dim))
    number = np.repeat(np.arange(len(starts)), np.diff(offsets))
    for first in range(0, len(places), PICTURES_AT_ONCE):
        mine = number[first : first + PICTURES_AT_ONCE]
        rows = snapshot.rows(places[first : first + PICTURES_AT_ONCE])[:, :dim].astype(np.float64)
        within = np.flatnonzero(np.r_[True, np.diff(mine) != 0])
        sums[mine[within]] += np.add.reduceat(rows, within, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Pictures that cancel out have no direction; they are far from everybody.
    means = widen((sums / np.maximum(lengths, 1e-12)).astype(np.float32), layout)
    return PooledTracks(snapshot, chosen & ~tracked, means, places, offsets)
