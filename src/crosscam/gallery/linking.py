"""Tracks to people: agglomerative, over calibrated distances, with what is certain.

Certain is that two tracks of one camera that overlap in time are two people, and what users decided. Two videos of one
camera may overlap in time, or seem to: a person may be in both. Two people of an earlier run are never merged here, so
that their numbers stay. Only the nearest tracks of each camera are compared, so
that memory grows with the number of tracks and not with its square.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from crosscam.gallery.clusters import Candidate, Cluster, Linked, nearest_pairs
from crosscam.gallery.judging import Judge, LinkOptions, Transits, learn_transits
from crosscam.gallery.people import Evidence, Pair
from crosscam.gallery.track_table import Ints, Tracks
from crosscam.system.text import FIRST_DATE, on_one_clock

# Pairs that are less probable than one in a thousand by their distance are not looked at again.
HOPELESS = -7.0
# Odds of a rival that change nothing, as a logarithm: one in a thousand.
NO_RIVAL = -7.0
# Without transit times: a pair that teaches them is this probable by distance alone.
SURE = 0.95


class Linker:
    """Links the tracks of a gallery.

    Args:
        tracks: of the gallery.
        judge: what distances mean.
        options: see there.
        persons: (T,) number of the person that a track belonged to before; 0 for new tracks.
        together, apart: pairs of tracks that users called one person, or two.
        compared: pairs of tracks that are compared although they may not be among the nearest.
    """

    def __init__(
        self,
        tracks: Tracks,
        judge: Judge,
        options: LinkOptions,
        *,
        persons: Ints,
        together: Iterable[Pair] = (),
        apart: Iterable[Pair] = (),
        compared: Iterable[Pair] = (),
    ) -> None:
        self._tracks, self._judge, self._options = tracks, judge, options
        self._rows = judge.rows(tracks)
        self._transits: Transits = {}
        times = np.concatenate([tracks.starts, tracks.ends])
        times = times[np.isfinite(times)]
        # Where there are dates, times that count from the first frame of a video are not on their clock.
        times = times[times >= FIRST_DATE] if (times >= FIRST_DATE).any() else times
        self._span = float(np.ptp(times)) if len(times) else 0.0
        counts = dict(zip(*np.unique(tracks.camids, return_counts=True), strict=True))
        self._log_count = {int(camid): math.log(count) for camid, count in counts.items()}
        self._apart = {(min(pair), max(pair)) for pair in apart}
        self._clusters: dict[int, Cluster] = {}
        self._cluster_of: dict[int, int] = {}
        self._begin(persons, together)
        # What speaks for each cluster and its neighbors; the same candidate stands on both sides.
        self._near: dict[int, dict[int, Candidate]] = {name: {} for name in self._clusters}
        for a, b in (*nearest_pairs(self._rows, tracks.camids, persons == 0, options.nearest), *compared):
            self._join(self._cluster_of[a], self._cluster_of[b])

    def link(self, transits: Transits | None = None) -> Linked:
        """Link what is sure.

        Args:
            transits: between cameras; None learns them from pairs that are sure by their distance.
        """
        self._transits = learn_transits(self._sure_gaps()) if transits is None else transits
        for one, other in self._pairs():
            self._near[one][other] = self._near[other][one] = self._compare(one, other)
        links = list(self._agglomerate())
        proposals = sorted(self._proposals(), key=lambda e: (-e.probability, e.first, e.second))
        clusters = tuple((tuple(c.members), c.person) for _, c in sorted(self._clusters.items()))
        return Linked(clusters, tuple(links), tuple(proposals), dict(self._transits))

    # Clusters

    def _begin(self, persons: Ints, together: Iterable[Pair]) -> None:
        first_of: dict[int, int] = {}
        for number in range(len(self._tracks)):
            person = int(persons[number])
            cluster = Cluster([number], self._rows[number].astype(np.float64), person or None)
            if self._tracks.timed[number]:
                times = float(self._tracks.starts[number]), float(self._tracks.ends[number])
                cluster.spans[int(self._tracks.camids[number])] = [(*times, int(self._tracks.videos[number]))]
            self._clusters[number] = cluster
            self._cluster_of[number] = number
            if person:
                first_of.setdefault(person, number)
                self._merge(self._cluster_of[first_of[person]], number)
        for a, b in together:
            one, other = self._cluster_of[a], self._cluster_of[b]
            both = self._clusters[one].person, self._clusters[other].person
            if one != other and None in both and not self._said_apart(one, other):
                self._merge(one, other)

    def _merge(self, one: int, other: int) -> int:
        """Make one cluster of two; it goes by the lower first track."""
        name, gone = sorted((one, other))
        if name == gone:
            return name
        kept, lost = self._clusters[name], self._clusters.pop(gone)
        kept.take_in(lost)
        for member in lost.members:
            self._cluster_of[member] = name
        return name

    def _join(self, one: int, other: int) -> None:
        """Let two clusters be compared, unless they are certainly two people, or far apart."""
        if one == other or other in self._near[one] or self._cannot(one, other):
            return
        candidate = self._compare(min(one, other), max(one, other))
        if candidate.alone > HOPELESS:
            self._near[one][other] = self._near[other][one] = candidate

    def _said_apart(self, one: int, other: int) -> bool:
        if not self._apart:
            return False
        pairs = ((a, b) for a in self._clusters[one].members for b in self._clusters[other].members)
        return any((min(pair), max(pair)) in self._apart for pair in pairs)

    def _cannot(self, one: int, other: int) -> bool:
        """Whether two clusters are certainly two people."""
        return self._clusters[one].excludes(self._clusters[other]) or self._said_apart(one, other)

    def _separate(self, one: int, other: int) -> bool:
        """Whether two clusters stay two: certainly two people, or two people of an earlier run."""
        known = None not in (self._clusters[one].person, self._clusters[other].person)
        return known or self._cannot(one, other)

    # Evidence

    def _compare(self, one: int, other: int) -> Candidate:
        """What speaks for two clusters."""
        a, b = self._clusters[one], self._clusters[other]
        product = float(a.total @ b.total) / (len(a.members) * len(b.members))
        distance = math.sqrt(max(0.0, 2.0 - 2.0 * product))
        first, second, gap = self._junction(a.members, b.members)
        cameras = int(self._tracks.camids[first]), int(self._tracks.camids[second])
        # Before anything is compared, each track of the camera is as likely as the others to be the one.
        alone = self._judge.ratio(distance, cameras[0] == cameras[1]) - max(self._log_count[c] for c in cameras)
        usual = None if gap is None else self._transits.get(cameras)
        weight = 0.0 if gap is None or usual is None else usual.weight(gap, self._span)
        return Candidate(first, second, alone + weight, alone, distance, gap, usual)

    def _junction(self, some: list[int], others: list[int]) -> tuple[int, int, float | None]:
        """The tracks of two clusters that lie closest in time, the earlier first, and the seconds between them."""
        starts, ends = self._tracks.starts, self._tracks.ends
        best: tuple[float, int, int, float] | None = None
        for a in some:
            for b in others:
                first, second = (a, b) if (starts[a], a) <= (starts[b], b) else (b, a)
                gap = float(starts[second] - ends[first])
                if (
                    on_one_clock(starts[first], ends[second])
                    and not math.isnan(gap)
                    and (best is None or (abs(gap), first, second) < best[:3])
                ):
                    best = (abs(gap), first, second, gap)
        if best is None:
            return min(some[0], others[0]), max(some[0], others[0]), None
        return best[1], best[2], best[3]

    def _probability(self, one: int, other: int, least: float = 0.0) -> tuple[float, float]:
        """Of one person, given who else it could be; and the probability of the best of those.

        Candidates that exclude each other share what there is: 1 stands for none of them. A probability that is below
        ``least`` without any rival is given as 0.
        """
        candidate = self._near[one][other]
        if _share(candidate.odds) < least:
            return 0.0, 0.0
        odds = math.exp(min(candidate.odds, 50.0))
        found, rival = 1.0, 0.0
        for cluster, partner in ((one, other), (other, one)):
            others = [math.exp(min(o, 50.0)) for o in self._rival_odds(cluster, partner)]
            total = math.fsum((1.0, odds, *others))  # the same in any order of the neighbors
            found = min(found, odds / total)
            rival = max(rival, max(others, default=0.0) / total)
        return found, rival

    def _rival_odds(self, cluster: int, partner: int) -> Iterator[float]:
        for other, candidate in self._near[cluster].items():
            if candidate.odds > NO_RIVAL and other != partner and self._separate(other, partner):
                yield candidate.odds

    def _evidence(self, one: int, other: int) -> Evidence:
        candidate = self._near[one][other]
        probability, rival = self._probability(one, other)
        names = sorted(self._tracks.entries[number][0] for number in (candidate.first, candidate.second))
        usual = candidate.usual
        return Evidence(
            names[0],
            names[1],
            probability=round(probability, 6),
            distance=round(candidate.distance, 6),
            alone=round(_share(candidate.alone), 6),
            gap=None if candidate.gap is None else round(candidate.gap, 3),
            usual=None if usual is None else (round(usual.seconds, 3), round(usual.spread, 3)),
            rival=round(rival, 6),
            calibrated=self._judge.calibrated and not self._judge.elsewhere,
        )

    def _sure_gaps(self) -> Iterator[tuple[int, int, float]]:
        """The gaps between tracks of two cameras that were linked before, or are one person by their distance alone."""
        camids = self._tracks.camids
        for cluster in self._clusters.values():
            yield from self._gaps_within(cluster.members)
        for one, other in self._pairs():
            if self._probability(one, other, SURE)[0] >= SURE:
                found = self._near[one][other]
                if found.gap is not None and camids[found.first] != camids[found.second]:
                    yield int(camids[found.first]), int(camids[found.second]), found.gap

    def _gaps_within(self, members: list[int]) -> Iterator[tuple[int, int, float]]:
        starts, ends, camids = self._tracks.starts, self._tracks.ends, self._tracks.camids
        in_time = sorted((m for m in members if self._tracks.timed[m]), key=lambda m: (starts[m], m))
        for a, b in pairwise(in_time):
            if camids[a] != camids[b] and on_one_clock(starts[a], starts[b]):
                yield int(camids[a]), int(camids[b]), float(starts[b] - ends[a])

    # Agglomeration

    def _pairs(self) -> list[Pair]:
        return sorted((one, other) for one, near in self._near.items() for other in near if one < other)

    def _agglomerate(self) -> Iterator[Evidence]:
        """Merge the most probable pair again and again, until none is sure."""
        heap: list[tuple[float, int, int]] = []

        def push(pairs: Iterable[Pair]) -> None:
            for one, other in pairs:
                probability = self._mergeable(one, other)
                if probability >= self._options.same:
                    heapq.heappush(heap, (-probability, one, other))

        push(self._pairs())
        while heap:
            said, one, other = heapq.heappop(heap)
            if other not in self._near.get(one, ()):
                continue
            now = self._mergeable(one, other)
            if now < -said:  # a merge since then has brought a rival
                push([(one, other)])
                continue
            yield self._evidence(one, other)
            push(self._take_in(one, other))

    def _mergeable(self, one: int, other: int) -> float:
        found = self._probability(one, other, self._options.same)[0]
        return found if found and not self._separate(one, other) else 0.0

    def _take_in(self, one: int, other: int) -> list[Pair]:
        """Merge two clusters; gives the pairs whose probability that changes."""
        near = sorted((self._near.pop(one).keys() | self._near.pop(other).keys()) - {one, other})
        name = self._merge(one, other)
        self._near[name] = {}
        for neighbor in near:
            for gone in (one, other):
                self._near[neighbor].pop(gone, None)
            self._join(name, neighbor)
        changed = {(min(a, b), max(a, b)) for a in (*near, name) for b in self._near[a]}
        return sorted(changed)

    def _proposals(self) -> Iterator[Evidence]:
        """Of pairs of people that stay two, those who are perhaps one; neighbors are never certainly two."""
        for one, other in self._pairs():
            least = self._options.unsure
            if self._probability(one, other, least)[0] >= least:
                yield self._evidence(one, other)


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > 0 else 1 - 1 / (1 + math.exp(log_odds))
