"""The mask of the person in an image, and people before other backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscam.data.augment import Augment, augment, random_background
from crosscam.data.background import change_backgrounds, person_mask

HEIGHT, WIDTH = 128, 48


def figure() -> Tensor:
    """(H, W) bool: head, trunk and two legs, the right one set forward."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    head = (rows - 14) ** 2 + (columns - 24) ** 2 < 8**2
    trunk = (abs(columns - 24) < 11) & (rows >= 22) & (rows < 70)
    left = (abs(columns - 18) < 4) & (rows >= 70) & (rows < 122)
    right = (abs(columns - 30 - (rows - 70) / 10) < 4) & (rows >= 70) & (rows < 122)
    return torch.from_numpy(head | trunk | left | right)


def drawn(person: tuple[int, int, int], behind: tuple[int, int, int], seed: int) -> Tensor:
    """(1, 3, H, W): a figure of one color before another, with noise."""
    colors = torch.tensor([behind, person], dtype=torch.float32)[figure().long()].permute(2, 0, 1)
    noise = 12 * torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (colors + noise).clamp(0, 255).unsqueeze(0)


@pytest.mark.parametrize("behind", [(40, 90, 200), (120, 120, 120), (230, 230, 220)])
def test_mask_covers_the_person_and_leaves_the_background_out(behind: tuple[int, int, int]) -> None:
    mask = person_mask(drawn((180, 30, 40), behind, 0))[0, 0]
    assert mask[figure()].mean() > 0.85
    # An image of one color tells nothing, so its mask is the guess by place alone.
    by_place = person_mask(torch.full((1, 3, HEIGHT, WIDTH), 128.0))[0, 0]
    assert overlap(mask) > overlap(by_place) + 0.02
    assert mask[110:120, 34:36].mean() > by_place[110:120, 34:36].mean(), "the foot set forward"


def overlap(mask: Tensor) -> float:
    """Intersection over union with the figure."""
    found, true = mask > 0.5, figure()
    return float((found & true).sum() / (found | true).sum())


def test_mask_is_finite_where_an_image_tells_nothing() -> None:
    flat = torch.full((2, 3, 65, 33), 128, dtype=torch.uint8)
    mask = person_mask(flat)
    assert mask.shape == (2, 1, 65, 33)
    assert torch.isfinite(mask).all()
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_person_stays_and_background_comes_from_the_other_image() -> None:
    red = drawn((180, 30, 40), (40, 90, 200), 0)
    green = drawn((30, 160, 60), (230, 230, 220), 1)
    mixed = change_backgrounds(red, green)[0]
    assert (mixed[:, 30:60, 18:30].mean((1, 2)) - torch.tensor([180.0, 30, 40])).abs().max() < 15
    assert (mixed[:, :, :4].mean((1, 2)) - torch.tensor([230.0, 230, 220])).abs().max() < 15
    # Nothing of the other person, whose green is nowhere in the first image or in the background.
    assert ((mixed - torch.tensor([30.0, 160, 60]).view(3, 1, 1)).abs().sum(0) < 60).float().mean() < 0.01


def test_probability_and_generator_decide() -> None:
    images = torch.cat([drawn((180, 30, 40), (k, 90, 200), k) for k in range(0, 240, 20)])
    assert torch.equal(random_background(images, 0.0, torch.Generator().manual_seed(1)), images)
    once = random_background(images, 0.5, torch.Generator().manual_seed(1))
    again = random_background(images, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(once, again)
    changed = (once != images).flatten(1).any(1)
    assert 0 < changed.sum() < len(images)
    everyone = random_background(images, 1.0, torch.Generator().manual_seed(1))
    edges = (everyone - images)[:, 0, :, :4].mean((1, 2)).abs()
    assert (edges > 10).all(), "an image kept its own background"


def test_one_image_alone_keeps_its_background() -> None:
    image = drawn((180, 30, 40), (40, 90, 200), 0)
    alone = random_background(image, 1.0, torch.Generator().manual_seed(0))
    assert (alone[:, :, :, :4] - image[:, :, :, :4]).abs().mean() < 15


def test_augment_applies_it() -> None:
    rows = torch.cat([drawn((180, 30, 40), (k, 90, 200), k) for k in (0, 120, 240)]).permute(0, 2, 3, 1).byte()
    still = Augment(flip=0.0, erase="none")
    moved = Augment(flip=0.0, erase="none", background=1.0)
    plain = augment(rows, HEIGHT, WIDTH, still, torch.Generator().manual_seed(0))
    other = augment(rows, HEIGHT, WIDTH, moved, torch.Generator().manual_seed(0))
    assert (plain - other)[:, :, :, :4].abs().mean() > 0.2
    assert (plain - other)[:, :, 30:60, 20:28].abs().mean() < 0.2
