"""Who the drawn pedestrians are: body, hair, clothes and bags, and who shares a garment with whom."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Rgb = tuple[int, int, int]
BodyPart = Literal["upper", "lower"]
Subset = Literal["train", "test", "distractor"]

COLORS: dict[str, Rgb] = {
    "black": (26, 26, 30),
    "grey": (118, 120, 124),
    "silver": (186, 188, 192),
    "white": (238, 238, 234),
    "red": (196, 30, 36),
    "maroon": (104, 22, 40),
    "pink": (236, 142, 172),
    "orange": (234, 116, 24),
    "yellow": (236, 206, 48),
    "beige": (208, 184, 142),
    "brown": (118, 72, 36),
    "olive": (116, 128, 44),
    "green": (40, 148, 62),
    "forest": (16, 80, 50),
    "teal": (24, 142, 148),
    "sky": (126, 184, 232),
    "blue": (32, 84, 196),
    "navy": (24, 36, 88),
    "purple": (112, 52, 148),
    "lilac": (170, 130, 214),
}
SKINS: tuple[Rgb, ...] = (
    (230, 188, 158),
    (220, 174, 138),
    (204, 154, 114),
    (178, 124, 84),
    (130, 84, 56),
    (86, 56, 40),
)
HAIR_COLORS: tuple[Rgb, ...] = (
    (22, 18, 18),
    (38, 28, 24),
    (70, 44, 28),
    (112, 70, 36),
    (206, 170, 104),
    (150, 58, 28),
    (150, 150, 152),
)
HAIR_STYLES = ("short", "short", "crop", "bob", "long", "long", "ponytail", "bun", "curly", "bald")
HATS = ("none",) * 8 + ("cap", "beanie", "brimmed")
BAGS = ("none", "none", "none", "backpack", "backpack", "shoulder", "shoulder", "hand")

UPPER_PATTERNS = ("hoops", "pinstripes", "checks", "yoke", "sleeves", "print", "band", "half")
LOWER_PATTERNS = ("side_stripe", "cuffs", "checks", "pinstripes", "thigh_panel")
# How often people wear a garment that is plain, loud, or has a quiet second colour, against all others.
PLAIN_WEIGHT, LOUD_WEIGHT, QUIET_WEIGHT = 60.0, 0.25, 4.0
LOUD_PATTERNS = ("checks", "pinstripes", "hoops", "thigh_panel")
QUIET_COLORS = ("black", "grey", "silver", "white", "navy", "beige")
# Colours that people wear on their legs more often than others.
COMMON_LOWER = {"black": 4.0, "navy": 4.0, "grey": 3.0, "beige": 2.0, "blue": 3.0, "brown": 1.5, "white": 1.5}

MAX_IDS = 1500
SHARING_GROUP = 4


@dataclass(frozen=True, slots=True)
class Garment:
    """One piece of clothing. Two garments differ if their pattern or one of their colours differs.

    Attributes:
        kind: the cut, for example ``"tee"`` or ``"skirt"``.
        pattern: ``"plain"`` or one of the pattern names; every pattern shows from all sides.
        colour, second: names in ``COLORS``; ``second`` is the pattern's colour, None for a plain garment.
        inner: colour of the shirt under an open jacket; None if it is closed.
    """

    kind: str
    pattern: str
    colour: str
    second: str | None = None
    inner: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One drawn person.

    Attributes:
        pid: 1 or more; 0 for a distractor.
        subset: where all of the person's images go.
        shares: the body part whose garment is exactly that of the other members of ``group``; None if unique.
        group: number of the group that shares a garment; None if unique.
        height, build, shoulders: multiples of the average body.
        bag_side: -1 or 1, the hand or shoulder that carries the bag.
    """

    pid: int
    subset: Subset
    upper: Garment
    lower: Garment
    shares: BodyPart | None
    group: int | None
    skin: Rgb
    hair_style: str
    hair: Rgb
    hat: str
    hat_colour: str
    shoes: str
    bag: str
    bag_colour: str
    bag_side: int
    height: float
    build: float
    shoulders: float


def draw_identities(
    ids: int, test_share: float, collide: float, seed: int, group: int = SHARING_GROUP
) -> tuple[Identity, ...]:
    """Draw everybody of a dataset.

    Args:
        ids: number of identities, 4 to ``MAX_IDS``.
        test_share: share of the identities that are test identities.
        collide: share of the identities that have one garment in common with others of their subset.
        seed: the same people for the same seed and arguments.
        group: most people who share one garment.
    Returns:
        The identities by rising pid, from 1 to ``ids``.
    """
    rng = random.Random(f"crosscam/{seed}/identities")
    uppers = _draw_distinct(_uppers(rng), ids, rng)
    lowers = _draw_distinct(_lowers(rng), ids, rng)
    people = [_draw_person(i + 1, "train", uppers[i], lowers[i], rng) for i in range(ids)]
    order = rng.sample(range(ids), ids)
    num_test = min(max(2, round(ids * test_share)), ids - 2)
    test, train = order[:num_test], order[num_test:]
    for i in test:
        people[i] = replace(people[i], subset="test")
    num_train_shared, num_test_shared = _shared_counts(ids, num_test, collide)
    groups = (*_groups(train, num_train_shared, rng, group), *_groups(test, num_test_shared, rng, group))
    for group, members in enumerate(groups, start=1):
        part: BodyPart = rng.choice(("upper", "lower"))
        first = people[members[0]]
        for i in members:
            shared = {"upper": first.upper} if part == "upper" else {"lower": first.lower}
            people[i] = replace(
                people[i],
                upper=shared.get("upper", people[i].upper),
                lower=shared.get("lower", people[i].lower),
                shares=part,
                group=group,
            )
    return tuple(people)


def scaled(colour: Rgb, factor: float) -> Rgb:
    """A colour made darker or lighter."""
    red, green, blue = (min(255, int(level * factor)) for level in colour)
    return red, green, blue


def draw_stranger(rng: random.Random) -> Identity:
    """One passer-by who is nobody of the dataset (pid 0); the clothes may resemble anybody's."""
    colours = list(COLORS)
    upper = Garment(rng.choice(("tee", "shirt", "jacket")), "plain", rng.choice(colours))
    second = rng.choice([c for c in colours if c != upper.colour])
    if rng.random() < 0.3:
        upper = replace(upper, pattern=rng.choice(UPPER_PATTERNS), second=second)
    lower = Garment(rng.choice(("trousers", "slim", "shorts")), "plain", rng.choice(list(COMMON_LOWER)))
    return _draw_person(0, "distractor", upper, lower, rng)


def _shared_counts(ids: int, num_test: int, collide: float) -> tuple[int, int]:
    """How many training and test identities share a garment; never a single one, who would share with nobody."""
    total, test = round(collide * ids), round(collide * num_test)
    test = 0 if test == 1 else test
    if total - test == 1:
        test = min(total, num_test)
    return min(total - test, ids - num_test), test


def _groups(members: list[int], num_shared: int, rng: random.Random, largest: int) -> Iterator[list[int]]:
    """Cut the first ``num_shared`` members into groups of two to ``largest``; a single one is left unique."""
    start, left = 0, min(num_shared, len(members))
    while left >= 2:
        size = rng.choice([s for s in range(2, largest + 1) if s <= left and left - s != 1] or [left])
        yield members[start : start + size]
        start, left = start + size, left - size


def _uppers(rng: random.Random) -> Iterator[tuple[float, Garment]]:
    for pattern, colour, second in _looks(UPPER_PATTERNS):
        kind = rng.choice(("tee", "tee", "shirt", "shirt", "jacket", "coat", "tank"))
        if pattern == "sleeves" and kind == "tank":
            kind = "shirt"
        inner = None
        if kind in ("jacket", "coat") and pattern == "plain" and rng.random() < 0.6:
            inner = rng.choice([c for c in COLORS if c != colour])
        yield _weight(pattern, second), Garment(kind, pattern, colour, second, inner)


def _lowers(rng: random.Random) -> Iterator[tuple[float, Garment]]:
    for pattern, colour, second in _looks(LOWER_PATTERNS):
        kind = rng.choice(("trousers", "trousers", "slim", "wide", "shorts", "skirt"))
        weight = _weight(pattern, second) * COMMON_LOWER.get(colour, 1.0)
        yield weight, Garment(kind, pattern, colour, second)


def _weight(pattern: str, second: str | None) -> float:
    if second is None:
        return PLAIN_WEIGHT
    return (LOUD_WEIGHT if pattern in LOUD_PATTERNS else 1.0) * (QUIET_WEIGHT if second in QUIET_COLORS else 1.0)


def _looks(patterns: tuple[str, ...]) -> Iterator[tuple[str, str, str | None]]:
    for colour in COLORS:
        yield "plain", colour, None
    for pattern in patterns:
        for colour in COLORS:
            for second in COLORS:
                if second != colour and math.dist(COLORS[colour], COLORS[second]) > 90:
                    yield pattern, colour, second


def _draw_distinct(weighted: Iterator[tuple[float, Garment]], count: int, rng: random.Random) -> list[Garment]:
    """Weighted draw without replacement: the largest of ``log(u) / weight`` (Efraimidis & Spirakis, 2006)."""
    keyed = [(math.log(1.0 - rng.random()) / weight, garment) for weight, garment in weighted]
    keyed.sort(key=lambda pair: pair[0], reverse=True)
    chosen = [garment for _, garment in keyed[:count]]
    rng.shuffle(chosen)
    return chosen


def _draw_person(pid: int, subset: Subset, upper: Garment, lower: Garment, rng: random.Random) -> Identity:
    woman = rng.random() < 0.5
    return Identity(
        pid=pid,
        subset=subset,
        upper=upper,
        lower=lower,
        shares=None,
        group=None,
        skin=rng.choice(SKINS),
        hair_style=rng.choice(HAIR_STYLES),
        hair=rng.choice(HAIR_COLORS),
        hat=rng.choice(HATS),
        hat_colour=rng.choice(list(COLORS)),
        shoes=rng.choice(("black", "black", "white", "white", "brown", "red", "grey", "navy", "yellow")),
        bag=rng.choice(BAGS),
        bag_colour=rng.choice(list(COLORS)),
        bag_side=rng.choice((-1, 1)),
        height=rng.uniform(0.92, 1.05),
        build=min(1.4, max(0.82, rng.gauss(1.02, 0.13))),
        shoulders=rng.uniform(0.86, 0.98) if woman else rng.uniform(0.98, 1.12),
    )
