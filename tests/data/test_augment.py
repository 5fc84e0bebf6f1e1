"""Augmentation against Pillow, against a loop over images, and by its properties."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscam.data import augment as module
from crosscam.data.augment import (
    Augment,
    PartGenerator,
    augment,
    random_blur,
    random_erase,
    random_flip,
    random_gray,
    random_gray_patch,
    random_jitter,
    random_shift,
    random_tint,
)
from crosscam.data.resizing import normalize, prepare, resize_bytes

PARITY = Path(__file__).parent / "parity"
BLACK_AND_WHITE = torch.tensor([0.0, 255.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(B, H, W, 3) uint8."""
    return torch.randint(0, 256, (count, height, width, 3), generator=generator(seed), dtype=torch.uint8)


def planes(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(B, 3, H, W) float, 0 to 255."""
    return noise(count, height, width, seed).permute(0, 3, 1, 2).float()


def test_resize_gives_the_published_pixels() -> None:
    with np.load(PARITY / "resize.npz") as file:
        small, large = torch.from_numpy(file["resize_up_in"]), torch.from_numpy(file["resize_up_out"])
    out = resize_bytes(small.unsqueeze(0), 384, 128)[0]
    assert (out.int() - large.int()).abs().max() <= 1


def test_normalize_takes_out_the_imagenet_mean_and_deviation() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = planes(2, 4, 3)
    before = images.clone()
    out = normalize(images)
    for channel in range(3):
        expected = (before[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(out[:, channel].double(), expected, rtol=0, atol=1e-5)
    assert torch.equal(images, before)


def test_prepare_resizes_then_normalizes() -> None:
    images = noise(2, 20, 10)
    assert torch.equal(prepare(images, 32, 16), normalize(resize_bytes(images, 32, 16).permute(0, 3, 1, 2)))


def test_flip_mirrors_left_to_right_or_leaves_alone() -> None:
    images = planes(400, 4, 6)
    out = random_flip(images, 0.3, generator())
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    untouched = (out == images).flatten(1).all(1)
    assert (mirrored ^ untouched).all()
    assert 0.22 < mirrored.float().mean() < 0.38
    assert torch.equal(random_flip(images, 1.0, generator()), images.flip(3))
    assert torch.equal(random_flip(images, 0.0, generator()), images)


def boxes_of(before: Tensor, after: Tensor) -> list[tuple[int, int, int, int] | None]:
    """Top, left, bottom and right of what changed in each image; None where nothing did.

    All inside the box must have changed, to one color, and nothing outside.
    """
    boxes: list[tuple[int, int, int, int] | None] = []
    for old, new in zip(before, after, strict=True):
        changed = (old != new).any(0)
        if not changed.any():
            boxes.append(None)
            continue
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
        patch = new[:, top:bottom, left:right]
        assert torch.equal(patch, patch[:, :1, :1].expand_as(patch)), "the patch has more than one color"
        expected = old.clone()
        expected[:, top:bottom, left:right] = patch
        assert torch.equal(new, expected)
        boxes.append((top, left, bottom, right))
    return boxes


def striped(count: int, height: int, width: int) -> Tensor:
    """Images of half levels, which no erasing color equals: every erased pixel shows."""
    return torch.full((count, 3, height, width), 127.5)


@pytest.mark.parametrize("size", [(128, 64), (64, 128), (384, 128)])
def test_the_authors_box_stands_at_its_own_size_from_the_top_left(size: tuple[int, int]) -> None:
    height, width = size
    images = striped(500, height, width)
    boxes = [b for b in boxes_of(images, random_erase(images, 1.0, "authors", generator())) if b]
    assert len(boxes) > 300
    for top, left, bottom, right in boxes:
        # The box is (h, w) to (2h, 2w), clipped at the border.
        assert bottom == min(2 * top, height)
        assert right == min(2 * left, width)
        assert top > 0
        assert left > 0
        area = top * left / (height * width)
        assert 0.02 * 0.8 < area < 0.2 * 1.1
        assert 0.3 * 0.8 < top / left < 1 / 0.3 * 1.25


def test_the_correct_box_goes_anywhere_within_the_image() -> None:
    height, width = 128, 64
    images = striped(1500, height, width)
    boxes = boxes_of(images, random_erase(images, 1.0, "correct", generator()))
    assert all(boxes), "every image finds a box within ten draws"
    found = np.array(boxes)
    heights, widths = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    areas = heights * widths / (height * width)
    assert areas.min() > 0.02 * 0.9
    assert areas.max() < 0.2 * 1.05
    assert abs(areas.mean() - 0.11) < 0.01
    ratios = heights / widths
    assert ratios.min() > 0.3 * 0.85
    assert ratios.max() < 1 / 0.3 * 1.15
    # Each edge of the image is reached, and the middle of the free range is its mean.
    assert found[:, 0].min() == 0
    assert found[:, 1].min() == 0
    assert found[:, 2].max() == height
    assert found[:, 3].max() == width
    assert abs((found[:, 0] / np.maximum(height - heights, 1)).mean() - 0.5) < 0.03
    assert abs((found[:, 1] / np.maximum(width - widths, 1)).mean() - 0.5) < 0.03


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.75, 1.0])
def test_erasing_fires_as_often_as_asked_and_every_color_is_drawn(probability: float) -> None:
    images = striped(2000, 32, 32)
    out = random_erase(images, probability, "correct", generator())
    fired = [b is not None for b in boxes_of(images, out)]
    assert abs(np.mean(fired) - probability) < 0.04
    colors = out[out != 127.5]
    if probability:
        assert torch.equal(colors, colors.round())
        assert colors.min() == 0
        assert colors.max() == 255
        assert abs(colors.mean() - 127.5) < 6


@pytest.mark.parametrize("placement", ["authors", "correct"])
def test_erasing_equals_a_loop_over_images_with_the_same_draws(
    monkeypatch: pytest.MonkeyPatch, placement: module.Erase
) -> None:
    b, height, width = 64, 40, 18
    images = planes(b, height, width)
    drawn: list[Tensor] = []
    uniform = module._uniform

    def record(like: Tensor, source: torch.Generator, *shape: int) -> Tensor:
        drawn.append(uniform(like, source, *shape))
        return drawn[-1]

    monkeypatch.setattr(module, "_uniform", record)
    out = random_erase(images, 0.6, placement, generator(3))
    fire, areas, aspects, *places, colors = (d.double().numpy() for d in drawn)
    expected = images.clone()
    for i in range(b):
        if fire[i] >= 0.6:
            continue
        for area, aspect in zip(areas[i], aspects[i], strict=True):
            target, ratio = (0.02 + 0.18 * area) * height * width, 0.3 + (1 / 0.3 - 0.3) * aspect
            h, w = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
            if h < height and w < width:
                top, left = h, w
                if placement == "correct":
                    top, left = int(places[0][i] * (height - h + 1)), int(places[1][i] * (width - w + 1))
                color = torch.from_numpy(np.floor(colors[i] * 256)).float().view(3, 1, 1)
                expected[i, :, top : top + h, left : left + w] = color
                break
    assert torch.equal(out, expected)
    assert not torch.equal(out, images)


def test_an_image_too_narrow_for_any_patch_stays_as_it_is() -> None:
    images = planes(50, 400, 1)
    assert torch.equal(random_erase(images, 1.0, "correct", generator()), images)


def test_shift_moves_whole_images_and_brings_in_black() -> None:
    images = planes(60, 10, 10) + 1
    out = random_shift(images, 0.2, generator())
    seen = set()
    for old, new in zip(images, out, strict=True):
        moves = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if torch.equal(new, moved(old, dy, dx))]
        assert len(moves) == 1
        seen.add(moves[0])
    assert {dy for dy, _ in seen} == set(range(-2, 3))
    assert {dx for _, dx in seen} == set(range(-2, 3))


def moved(image: Tensor, dy: int, dx: int) -> Tensor:
    """One image shifted down by dy and right by dx."""
    out = torch.zeros_like(image)
    height, width = image.shape[1:]
    for y in range(max(0, dy), min(height, height + dy)):
        columns = slice(max(0, dx), min(width, width + dx))
        out[:, y, columns] = image[:, y - dy, columns.start - dx : columns.stop - dx]
    return out


def test_jitter_stays_in_range_and_changes_each_image_by_its_own_factors() -> None:
    images = torch.cat((planes(60, 8, 8), BLACK_AND_WHITE[torch.randint(2, (40, 3, 8, 8), generator=generator())]))
    before = images.clone()
    out = random_jitter(images, 0.4, generator())
    assert out.min() >= 0
    assert out.max() <= 255
    assert torch.equal(images, before)
    factors = out[:60].mean((1, 2, 3)) / images[:60].mean((1, 2, 3))
    assert factors.min() < 0.75
    assert factors.max() > 1.25
    assert ((factors > 0.58) & (factors < 1.42)).all()


def test_jitter_keeps_grey_images_grey_and_weak_jitter_changes_little() -> None:
    grey = torch.randint(0, 256, (20, 1, 6, 6), generator=generator()).float().expand(-1, 3, -1, -1)
    out = random_jitter(grey, 0.5, generator())
    torch.testing.assert_close(out[:, 0], out[:, 1])
    torch.testing.assert_close(out[:, 0], out[:, 2])
    assert (random_jitter(grey, 1e-4, generator()) - grey).abs().max() < 0.2


EVERYTHING = Augment(flip=0.5, erase="correct", erase_probability=0.5, shift=0.1, jitter=0.3)
NOTHING = Augment(flip=0, erase="none", erase_probability=0, shift=0, jitter=0)


@pytest.mark.parametrize(
    "settings", [EVERYTHING, Augment(), Augment(flip=0, erase="none")], ids=["all", "code", "none"]
)
@pytest.mark.parametrize("size", [(32, 16), (48, 32)])
def test_the_same_seed_gives_the_same_batch_and_the_callers_batch_stays(
    settings: Augment, size: tuple[int, int]
) -> None:
    images = noise(8, 32, 16)
    before = images.clone()
    first, again, other = (augment(images, *size, settings, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == (8, 3, *size)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (settings.erase == "none")
    assert torch.equal(images, before)


@pytest.mark.parametrize("cut", [1, 5])
def test_a_part_of_a_batch_changes_as_it_does_in_the_whole(cut: int) -> None:
    images = noise(8, 32, 16)
    settings = replace(EVERYTHING, tint=0.2, gray=0.5, gray_patch=0.5, blur=0.5)
    whole = augment(images, 48, 32, settings, generator(3))
    for rows in (slice(0, cut), slice(cut, 8)):
        part = PartGenerator.of(torch.device("cpu"), 8, rows.start)
        part.manual_seed(3)
        assert torch.equal(augment(images[rows], 48, 32, settings, part), whole[rows])


def test_nothing_at_random_is_what_evaluation_sees() -> None:
    images = noise(4, 32, 16)
    assert torch.equal(augment(images, 48, 16, NOTHING, generator()), prepare(images, 48, 16))


def test_erasing_comes_before_the_flip() -> None:
    # The authors' box never touches the left edge: after the mirror, never the right one.
    images = noise(300, 64, 32)
    settings = Augment(flip=1.0, erase="authors", erase_probability=1.0)
    out = augment(images, 64, 32, settings, generator())
    plain = prepare(images, 64, 32).flip(3)
    changed = (out != plain).any(1)
    assert changed[:, :, 0].any()
    assert not changed[:, :, -1].any()


def test_tint_multiplies_each_channel_by_one_factor() -> None:
    images = planes(6, 8, 4) / 2 + 10
    factors = random_tint(images, 0.2, generator(1)) / images
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors), rtol=1e-5)
    assert ((factors > 0.8) & (factors < 1.2)).all()
    assert len(factors[:, :, 0, 0].unique()) == 18


def test_grey_keeps_the_luminance_and_takes_the_color() -> None:
    images = planes(200, 4, 3)
    out = random_gray(images, 0.3, generator(2))
    grey = (out[:, 0] == out[:, 1]).all(dim=(1, 2)) & (out[:, 0] == out[:, 2]).all(dim=(1, 2))
    assert 0.15 < grey.float().mean() < 0.45
    luma = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(out[grey, 0], luma[grey])
    assert torch.equal(out[~grey], images[~grey])


def test_blur_is_the_gaussian_of_each_image() -> None:
    images = planes(40, 16, 12)
    out = random_blur(images, 0.5, generator(3))
    blurred = (out != images).any(dim=3).any(dim=2).any(dim=1)
    assert 0.2 < blurred.float().mean() < 0.8
    chance = generator(3)
    torch.rand(40, generator=chance)
    sigmas = 0.4 + 1.2 * torch.rand(40, 1, generator=chance).flatten()
    one = int(blurred.nonzero()[0])
    taps = [math.exp(-((k - 3) ** 2) / (2 * float(sigmas[one]) ** 2)) for k in range(7)]
    expected = 0.0
    for i in range(7):
        for j in range(7):
            y, x = min(max(5 + i - 3, 0), 15), min(max(1 + j - 3, 0), 11)
            expected += taps[i] * taps[j] * float(images[one, 1, y, x]) / sum(taps) ** 2
    assert float(out[one, 1, 5, 1]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("change", [random_tint, random_gray, random_blur])
def test_changes_of_color_and_focus_stay_between_black_and_white(change: object) -> None:
    assert callable(change)
    out = change(BLACK_AND_WHITE[noise(8, 12, 6).permute(0, 3, 1, 2).long() % 2], 1.0, generator(4))
    assert out.min() >= 0
    assert out.max() <= 255 + 1e-3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_normalize_is_the_formula_in_any_layout(dtype: torch.dtype, count: int) -> None:
    images = noise(count, 40, 24).permute(0, 3, 1, 2).to(dtype)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    mean = torch.tensor((0.485, 0.456, 0.406), dtype=kind).mul_(255).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225), dtype=kind).mul_(255).view(3, 1, 1)
    for layout in (images, images.contiguous()):
        found = normalize(layout)
        assert found.dtype == kind
        assert torch.allclose(found, (images - mean) / std, rtol=3e-7, atol=0)
        assert torch.equal(found, normalize(images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)))


def test_normalize_lets_gradients_through() -> None:
    images = planes(2, 6, 4).requires_grad_()
    normalize(images).sum().backward()
    assert images.grad is not None
    assert (images.grad[:, 0] - 1 / (0.229 * 255)).abs().max() < 1e-6


@pytest.mark.parametrize("settings", [Augment(), Augment(shift=0.1, erase="correct"), Augment(jitter=0.2)])
def test_bytes_are_augmented_as_numbers_are(settings: Augment) -> None:
    """The plain chain: every step on float numbers."""
    images = noise(6, 32, 16)
    random = generator(3)
    out = resize_bytes(images, 48, 32).permute(0, 3, 1, 2).float()
    if settings.jitter:
        out = random_jitter(out, settings.jitter, random)
    if settings.shift:
        out = random_shift(out, settings.shift, random)
    out = random_erase(out, settings.erase_probability, settings.erase, random)
    out = normalize(random_flip(out, settings.flip, random))
    assert torch.equal(augment(images, 48, 32, settings, generator(3)), out)


@pytest.mark.parametrize("fill", ["color", "pixels", "mean"])
def test_patches_are_made_of_what_the_setting_says(fill: str) -> None:
    images = torch.full((64, 3, 40, 20), 7, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    found = random_erase(images, 1.0, "correct", generator, (0.1, 0.4), fill)  # type: ignore[arg-type]
    shares, levels = [], []
    for image in found:
        changed = (image != 7).any(dim=0)
        shares.append(float(changed.float().mean()))
        levels.append(len(torch.unique(image[:, changed].T, dim=0)))
        if fill == "mean":
            assert image[:, changed].T.tolist() == [[124, 116, 104]] * int(changed.sum())
    assert min(shares) > 0.07
    assert 0.3 < max(shares) < 0.45
    assert all(n == 1 for n in levels) if fill != "pixels" else min(levels) > 20


def test_a_shift_in_pixels_is_the_same_both_ways() -> None:
    images = torch.zeros(400, 3, 32, 16, dtype=torch.uint8)
    images[:, :, 16, 8] = 255
    moved = random_shift(images, 0.0, torch.Generator().manual_seed(0), 5)
    places = moved[:, 0].nonzero()
    assert len(places) == 400
    assert set((places[:, 1] - 16).tolist()) == set(range(-5, 6))
    assert set((places[:, 2] - 8).tolist()) == set(range(-5, 6))


def test_a_patch_without_color_keeps_its_luminance_and_all_around_it() -> None:
    images = noise(200, 40, 20).permute(0, 3, 1, 2).float()
    found = random_gray_patch(images, 0.4, generator(0))
    luma = images[:, 0] * 0.299 + images[:, 1] * 0.587 + images[:, 2] * 0.114
    changed = (found != images).any(dim=1)
    for channel in range(3):
        torch.testing.assert_close(found[:, channel][changed], luma[changed])
    shares = changed.float().mean(dim=(1, 2))
    assert 0.3 < float((shares > 0).float().mean()) < 0.5
    assert 0.25 < float(shares.max()) < 0.45
    rows, columns = changed.any(dim=2).sum(dim=1), changed.any(dim=1).sum(dim=1)
    # A pixel that was gray before does not change, so that a few may be missing in a rectangle.
    assert bool((changed.sum(dim=(1, 2)) >= 0.95 * rows * columns).all())
    same = augment(noise(6, 32, 16), 32, 16, Augment(gray_patch=0.0), generator(3))
    assert torch.equal(same, augment(noise(6, 32, 16), 32, 16, Augment(), generator(3)))
    assert not torch.equal(same, augment(noise(6, 32, 16), 32, 16, Augment(gray_patch=1.0), generator(3)))
