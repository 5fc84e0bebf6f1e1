"""Pairs of a gallery: those to ask people about, so that few answers tell what distances mean, and typical ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from crosscam.explain.typical import TypicalPairs
from crosscam.gallery.answers import ANSWERS, Answer
from crosscam.gallery.entries import Entry, Hit, Where
from crosscam.gallery.interface import Gallery
from crosscam.retrieval.contributions import Array, part_contributions
from crosscam.system.text import counted

# Entries whose nearest images are asked about, and how many of these each.
ENTRIES = 200
NEAREST = 5
# Ranges of distances with equally many pairs; each gets answers.
RANGES = 8
# Descriptors nearer than this are of one image.
SAME_IMAGE = 1e-3


@dataclass(frozen=True)
class Question:
    """Two entries: the same person?

    Attributes:
        first, second: the entries, the smaller id first.
        distance: between their descriptors.
    """

    first: int
    second: int
    distance: float


def possible_questions(gallery: Gallery, *, across: bool) -> tuple[Question, ...]:
    """Pairs of entries and their nearest images, nearest first; without copies, and entries that have no small image.

    Args:
        gallery: with descriptors of length 1.
        across: only pairs of different cameras.
    """
    ids = gallery.ids()
    chosen = np.sort(np.random.default_rng(0).permutation(len(ids))[:ENTRIES])
    entries = gallery.get([ids[i] for i in chosen])
    found: dict[tuple[int, int], float] = {}
    for one, hits in nearest_images(gallery, entries, NEAREST, across=across).items():
        for hit in hits:
            if hit.distance > SAME_IMAGE:
                found[min(one, hit.entry.id), max(one, hit.entry.id)] = hit.distance
    named = sorted({number for pair in found for number in pair})
    shown = {n for n, image in zip(named, gallery.thumbnails(named), strict=True) if image is not None}
    pairs = (Question(*pair, distance) for pair, distance in found.items() if shown.issuperset(pair))
    return tuple(sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second)))


def nearest_images(gallery: Gallery, entries: Sequence[Entry], count: int, *, across: bool) -> dict[int, list[Hit]]:
    """The nearest other images of each entry, by its id; entries without any are left out.

    Args:
        gallery: with descriptors of length 1.
        entries: of the gallery.
        count: of images for each.
        across: only images of other cameras.
    """
    by_camera: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        by_camera[entry.camid if across else 0].append(entry.id)
    nearest: dict[int, list[Hit]] = {}
    for camid, some in by_camera.items():
        where = Where(not_camids=(camid,)) if across else Where()
        rows = gallery.descriptors(some)
        found = gallery.search(rows, count + 1, model=gallery.model.fingerprint, where=where)
        for number, hits in zip(some, found, strict=True):
            others = [hit for hit in hits if hit.entry.id != number][:count]
            if others:
                nearest[number] = others
    return nearest


def next_question(possible: Sequence[Question], answers: Sequence[Answer]) -> Question | None:
    """The pair whose answer tells most: of the range of distances whose share of "same" is least sure.

    Every range gets answers, and those with both kinds of answers get more.

    Args:
        possible: nearest first.
        answers: given so far; "unsure" counts as half of either.
    Returns:
        None when every pair was asked about.
    """
    asked = {(answer.first, answer.second) for answer in answers}
    ranges = [
        possible[part[0] : part[-1] + 1] for part in np.array_split(np.arange(len(possible)), RANGES) if len(part)
    ]
    edges = [part[0].distance for part in ranges[1:]]
    same, count = np.zeros(len(ranges)), np.zeros(len(ranges))
    for answer in answers:
        place = int(np.searchsorted(edges, answer.distance, side="right"))
        if place < len(ranges):
            count[place] += 1
            same[place] += 0.5 if answer.same is None else answer.same
    share = (same + 1) / (count + 2)
    unsureness = share * (1 - share) / (count + 1)
    order: list[int] = np.argsort(-unsureness, kind="stable").tolist()
    for place in order:
        left = [pair for pair in ranges[place] if (pair.first, pair.second) not in asked]
        if left:
            return left[int(np.random.default_rng(len(answers)).integers(len(left)))]
    return None


TYPICAL_ENTRIES = 2000
TYPICAL_PAIRS = 400


def typical_pairs(gallery: Gallery) -> TypicalPairs:
    """Random pairs, and pairs of one person as identities and answers tell; of different cameras, if there are any."""
    ids = gallery.ids()
    random = np.random.default_rng(0)
    some = gallery.get([ids[i] for i in np.sort(random.permutation(len(ids))[:TYPICAL_ENTRIES])])
    across = len({entry.camid for entry in some}) > 1
    others = _random_pairs(some, across, random)
    same = _same_pairs(gallery, some, across)
    origin = f"{counted(len(others), 'random pair')} of this gallery"
    origin += f" and {counted(len(same), 'pair')} of one person" if same else ""
    return TypicalPairs(_contributions(gallery, others), _contributions(gallery, same), origin)


def _random_pairs(some: Sequence[Entry], across: bool, random: np.random.Generator) -> list[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    if len(some) < 2:
        return []
    for first, second in random.integers(len(some), size=(4 * TYPICAL_PAIRS, 2)):
        a, b = some[first], some[second]
        is_known_same = a.pid is not None and a.pid > 0 and a.pid == b.pid
        if a.id != b.id and not is_known_same and not (across and a.camid == b.camid):
            found.add((min(a.id, b.id), max(a.id, b.id)))
        if len(found) == TYPICAL_PAIRS:
            break
    return sorted(found)


def _same_pairs(gallery: Gallery, some: Sequence[Entry], across: bool) -> list[tuple[int, int]]:
    by_pid: dict[int, list[Entry]] = defaultdict(list)
    for entry in some:
        if entry.pid is not None and entry.pid > 0:
            by_pid[entry.pid].append(entry)
    labeled = (
        (a.id, b.id)
        for people in by_pid.values()
        for a, b in combinations(people, 2)
        if not (across and a.camid == b.camid)
    )
    answered = ANSWERS.read(gallery.document(ANSWERS.document))
    found = dict.fromkeys((a.first, a.second) for a in answered if a.same)
    for pair in labeled:
        if len(found) >= TYPICAL_PAIRS:
            break
        found[pair] = None
    return list(found)


def _contributions(gallery: Gallery, pairs: Sequence[tuple[int, int]]) -> Array:
    if not pairs:
        return np.empty((0, len(gallery.layout)))
    first, second = (gallery.descriptors([pair[side] for pair in pairs]) for side in (0, 1))
    return part_contributions(first, second, gallery.layout)
