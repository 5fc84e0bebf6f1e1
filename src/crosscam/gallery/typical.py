"""Typical pairs of a gallery, to compare one pair with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from crosscam.explain.parts import Array, part_contributions
from crosscam.explain.typical import TypicalPairs
from crosscam.gallery import answers
from crosscam.gallery.interface import Gallery
from crosscam.gallery.records import Entry
from crosscam.system.names import counted

ENTRIES = 2000
PAIRS = 400


def typical_pairs(gallery: Gallery) -> TypicalPairs:
    """Random pairs, and pairs of one person as identities and answers tell; of different cameras, if there are any."""
    ids = gallery.ids()
    random = np.random.default_rng(0)
    some = gallery.get([ids[i] for i in np.sort(random.permutation(len(ids))[:ENTRIES])])
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
    for first, second in random.integers(len(some), size=(4 * PAIRS, 2)):
        a, b = some[first], some[second]
        is_known_same = a.pid is not None and a.pid > 0 and a.pid == b.pid
        if a.id != b.id and not is_known_same and not (across and a.camid == b.camid):
            found.add((min(a.id, b.id), max(a.id, b.id)))
        if len(found) == PAIRS:
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
    answered = answers.read_answers(gallery.document(answers.DOCUMENT))
    found = dict.fromkeys((a.first, a.second) for a in answered if a.same)
    for pair in labeled:
        if len(found) >= PAIRS:
            break
        found[pair] = None
    return list(found)


def _contributions(gallery: Gallery, pairs: Sequence[tuple[int, int]]) -> Array:
    if not pairs:
        return np.empty((0, len(gallery.layout)))
    first, second = (gallery.descriptors([pair[side] for pair in pairs]) for side in (0, 1))
    return part_contributions(first, second, gallery.layout)
