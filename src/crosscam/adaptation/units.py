"""Which images are known to be one person, and which two people, before anything is learned: tracks and times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import Sample
from crosscam.recipes.choices import Adapt
from crosscam.system.text import counted

Ints = NDArray[np.int64]
_COARSE = (
    "Images of one camera and time are not kept apart: the times look too coarse to tell single frames. "
    "--set adapt.apart=all keeps them apart."
)


@dataclass(frozen=True, eq=False)
class Units:
    """U units of N images: each a track, or an image without one.

    Attributes:
        of_image: (N,) unit of each image; units are numbered by their first images.
        sizes: (U,) images.
        camids: (U,) cameras; below 0 for unknown ones, of which no two units are kept apart.
        spans: (U, 2) first and last time of a track in seconds; NaN without times, and for images without a track.
        frames: U sets of times, where two images of one camera and time are two people; empty ones elsewhere.
        notes: what was decided, one sentence each.
    """

    of_image: Ints
    sizes: Ints
    camids: Ints
    spans: NDArray[np.float64]
    frames: tuple[frozenset[float], ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def keeps_apart(self) -> bool:
        """Whether any two units could be known to be two people."""
        return bool(np.isfinite(self.spans).any()) or any(self.frames)

    def apart(self, first: Ints, second: Ints) -> NDArray[np.bool_]:
        """(P,) whether each pair is two people: tracks of one camera that overlap in time, or images of one frame."""
        one_camera = (self.camids[first] == self.camids[second]) & (self.camids[first] >= 0) & (first != second)
        a, b = self.spans[first], self.spans[second]
        # Also where one is a single time within the other.
        found: NDArray[np.bool_] = one_camera & (a[:, 0] < b[:, 1]) & (b[:, 0] < a[:, 1])
        for pair in np.flatnonzero(one_camera & ~found):
            found[pair] = not self.frames[first[pair]].isdisjoint(self.frames[second[pair]])
        return found


def units_of(samples: Sequence[Sample], settings: Adapt) -> Units:
    """The units of a dataset's images; identities are not looked at. Settings tell what tracks and times do."""
    members: dict[tuple[int, str] | int, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        tracked = settings.tracks and sample.track is not None
        members[(sample.camid, str(sample.track)) if tracked else place].append(place)
    found = list(members.values())
    of_image = np.empty(len(samples), np.int64)
    for unit, places in enumerate(found):
        of_image[places] = unit
    tracks = [key for key in members if not isinstance(key, int)]
    notes = [f"{counted(len(tracks), 'track')}: the images of each stay together."] if tracks else []
    times = [[samples[p].time for p in places] for places in found]
    known = [[t for t in some if t is not None] for some in times]
    spans = np.full((len(found), 2), np.nan)
    frames: list[frozenset[float]] = [frozenset()] * len(found)
    if settings.apart != "none" and any(known):
        for unit, (key, seen) in enumerate(zip(members, known, strict=True)):
            if seen and not isinstance(key, int):
                spans[unit] = min(seen), max(seen)
        if settings.apart == "all" or _tell_frames(known):
            frames = [frozenset(seen) for seen in known]
        else:
            notes.append(_COARSE)
    camids = np.array([samples[places[0]].camid for places in found], np.int64)
    sizes = np.array([len(places) for places in found], np.int64)
    return Units(of_image, sizes, camids, spans, tuple(frames), tuple(notes))


def _tell_frames(known: Sequence[Sequence[float]]) -> bool:
    """Whether times tell single frames: no track has one twice; without tracks, some are not whole seconds."""
    tracks = [seen for seen in known if len(seen) > 1]
    if tracks:
        return all(len(set(seen)) == len(seen) for seen in tracks)
    return any(t != round(t) for seen in known for t in seen)
