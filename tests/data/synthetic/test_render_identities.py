from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from crosscam.data.synthetic.identities import COLORS, MAX_IDS, Garment, Identity, draw_identities


def look(garment: Garment) -> tuple[str, str, str | None]:
    """What tells garments apart from every side: pattern and colors, not the cut."""
    return garment.pattern, garment.colour, garment.second


def sharing(people: tuple[Identity, ...]) -> list[Identity]:
    """Those who wear a garment whose pattern and colours somebody else wears on the same body part."""
    uppers = Counter(look(person.upper) for person in people)
    lowers = Counter(look(person.lower) for person in people)
    return [p for p in people if uppers[look(p.upper)] > 1 or lowers[look(p.lower)] > 1]


@pytest.mark.parametrize("collide", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_dial_is_the_share_of_identities_with_a_garment_in_common(collide: float, seed: int) -> None:
    people = draw_identities(80, 0.4, collide, seed)
    found = sharing(people)
    assert len(found) == round(collide * 80)
    assert {p.pid for p in found} == {p.pid for p in people if p.shares is not None}


@pytest.mark.parametrize("ids", [4, 5, 6, 7, 9, 12])
@pytest.mark.parametrize("collide", [0.1, 0.3, 0.5, 0.6, 0.8])
def test_few_identities_share_too_unless_it_would_be_a_single_one(ids: int, collide: float) -> None:
    found = len(sharing(draw_identities(ids, 0.4, collide, 0)))
    assert found != 1
    assert abs(found - round(collide * ids)) <= 1


def test_a_group_shares_exactly_one_garment_within_its_subset() -> None:
    people = draw_identities(100, 0.4, 0.75, 3)
    groups: dict[int, list[Identity]] = {}
    for person in people:
        if person.group is not None:
            groups.setdefault(person.group, []).append(person)
    for members in groups.values():
        assert 2 <= len(members) <= 4
        assert len({p.subset for p in members}) == 1
        assert len({p.shares for p in members}) == 1
        same, other = ("upper", "lower") if members[0].shares == "upper" else ("lower", "upper")
        assert len({getattr(p, same) for p in members}) == 1
        assert len({look(getattr(p, other)) for p in members}) == len(members)


def test_as_many_distinct_garments_as_identities_allowed() -> None:
    people = draw_identities(MAX_IDS, 0.5, 0.0, 0)
    assert len(people) == MAX_IDS
    assert not sharing(people)


def test_turning_the_dial_leaves_everything_but_the_shared_garments_as_it_was() -> None:
    for before, after in zip(draw_identities(60, 0.4, 0.0, 7), draw_identities(60, 0.4, 0.8, 7), strict=True):
        assert before.subset == after.subset
        assert before.hair == after.hair
        assert before.bag == after.bag
        assert (before.upper == after.upper) or after.shares == "upper"
        assert (before.lower == after.lower) or after.shares == "lower"


@pytest.mark.parametrize(("share", "tests"), [(0.4, 8), (0.01, 2), (0.99, 18)])
def test_the_split_leaves_two_identities_on_either_side(share: float, tests: int) -> None:
    people = draw_identities(20, share, 0.0, 0)
    assert sum(p.subset == "test" for p in people) == tests
    assert [p.pid for p in people] == list(range(1, 21))


def test_colours_differ_from_each_other() -> None:
    for (_, a), (_, b) in itertools.combinations(COLORS.items(), 2):
        assert math.dist(a, b) > 50


@pytest.mark.parametrize("group", [2, 8, 30])
def test_groups_are_as_large_as_allowed_and_the_dial_keeps_its_meaning(group: int) -> None:
    people = draw_identities(300, 0.4, 0.75, 1, group)
    sizes = Counter(p.group for p in people if p.group is not None)
    # A single one that is left over joins the last pair.
    assert max(sizes.values()) <= max(group, 3)
    assert max(sizes.values()) >= min(group, 20)
    assert min(sizes.values()) >= 2
    assert len(sharing(people)) == round(0.75 * 300)
