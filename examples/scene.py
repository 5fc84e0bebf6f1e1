"""A short scene for the examples: two drawn people, who are hidden for a while. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 240, 480
PERSON = (128, 48)
SHIRTS = {"red": (40, 40, 200), "green": (60, 160, 60)}
TROUSERS = {"red": (90, 60, 30), "green": (40, 40, 40)}


def draw_person(name: str) -> NDArray[np.uint8]:
    """(128, 48, 3) uint8 BGR: head, shirt and trousers, with a little noise."""
    image = np.full((*PERSON, 3), (120, 125, 130), np.int64)
    image[6:28, 16:32] = (140, 170, 210)
    image[28:74, 8:40] = SHIRTS[name]
    image[74:124, 12:36] = TROUSERS[name]
    noise = np.random.default_rng(len(name)).integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def frames(hidden: int = 0) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], list[str]]]:
    """Frames of OpenCV's kind (H, W, 3) BGR, with the boxes (N, 4) that a detector would give, and who is in them.

    Args:
        hidden: for so many frames nobody is seen; afterwards each person is where the other one was.
    """
    people = {name: draw_person(name) for name in SHIRTS}
    for step in range(10 + hidden + 10):
        frame = np.full((HEIGHT, WIDTH, 3), (118, 124, 128), np.uint8)
        lefts = (40 + 4 * step, 380 - 4 * step)
        if step >= 10 and hidden:
            lefts = (300 - 4 * (step - 10 - hidden), 120 + 4 * (step - 10 - hidden))
        seen = {} if 10 <= step < 10 + hidden else dict(zip(people, lefts, strict=True))
        boxes = np.empty((len(seen), 4), np.float32)
        for row, (name, left) in enumerate(seen.items()):
            top = 60 + 20 * row
            frame[top : top + PERSON[0], left : left + PERSON[1]] = people[name]
            boxes[row] = left, top, left + PERSON[1], top + PERSON[0]
        yield frame, boxes, list(seen)


def report(numbers: dict[str, set[int]]) -> None:
    """Say which numbers each person was given."""
    for name, given in numbers.items():
        print(f"{name}: number {', '.join(map(str, sorted(given))) or 'none'}")
    kept = set(numbers) == set(SHIRTS) and all(len(given) == 1 for given in numbers.values())
    different = len({frozenset(given) for given in numbers.values()}) == len(numbers)
    print("Each person kept one number." if kept and different else "A person changed numbers.")
