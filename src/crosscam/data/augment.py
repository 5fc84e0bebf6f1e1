"""Random changes of whole batches of images: flip, erase, shift, recolor, blur, and what is behind a person.

All of it works on any device. Images come as uint8 and stay in the range 0 to 255 until they are normalized, as whole
bytes where nothing else is asked for: a quarter of the memory to go through. Random choices are drawn from the
generator that the caller passes, so that a batch can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from crosscam.data.background import change_backgrounds
from crosscam.data.resizing import IMAGENET_MEAN, normalize, resize_bytes

ERASE_AREA = (0.02, 0.2)
ERASE_ASPECT = 0.3
GRAY_AREA = (0.02, 0.4)
ERASE_TRIES = 10
LUMA = (0.299, 0.587, 0.114)
BLUR_PIXELS = (0.4, 1.6)
BLUR_REACH = 3

Erase = Literal["authors", "correct", "none"]
EraseFill = Literal["color", "pixels", "mean"]


@dataclass(frozen=True)
class Augment:
    """What happens at random to a training image.

    Attributes:
        flip: probability of a mirror image.
        erase: ``"authors"`` pastes the erased patch as the authors' code does, at (h, w) of the patch and not at a free
            place, so that the top left is never hit (``differences.md`` row 22); ``"correct"`` anywhere.
        erase_probability: how often; 0.75 is what the authors' code amounts to, 0.5 the usual value.
        erase_area: smallest and largest patch, as shares of the image; 0.02 to 0.4 in Zhong et al. 2017.
        erase_fill: what a patch is made of: ``"color"``: one random color (the authors' code); ``"pixels"``: a random
            level for each number (Zhong et al.'s best); ``"mean"``: ImageNet's mean (Zhong et al.; bag of tricks).
        shift: largest shift in each direction, as a share of the image's sides; what comes in is black.
        shift_pixels: the same in pixels, added to that.
        jitter: largest change of brightness, contrast and saturation, as a factor 1 +- jitter.
        tint: largest change of each color channel on its own, as a factor 1 +- tint: another camera's white balance.
        gray: probability of an image without color.
        gray_patch: probability of a patch without color, of the shapes that erasing has; 0.4 in Gong et al. 2021, with
            ``gray=0.05``.
        blur: probability of an image out of focus.
        background: probability that the person stands before another image's background, see
            :mod:`crosscam.data.background`.
    """

    flip: float = 0.5
    erase: Erase = "authors"
    erase_probability: float = 0.75
    erase_area: tuple[float, float] = ERASE_AREA
    erase_fill: EraseFill = "color"
    shift: float = 0.0
    shift_pixels: int = 0
    jitter: float = 0.0
    tint: float = 0.0
    gray: float = 0.0
    gray_patch: float = 0.0
    blur: float = 0.0
    background: float = 0.0


def augment(images: Tensor, height: int, width: int, settings: Augment, generator: torch.Generator) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, height, width) float32 for training.

    The order is that of the authors' code: resize, erase, flip, normalize; changes of color, focus, background and
    place come before erasing.
    """
    out = resize_bytes(images, height, width).permute(0, 3, 1, 2)
    recolored = (
        (settings.jitter, random_jitter),
        (settings.tint, random_tint),
        (settings.gray, random_gray),
        (settings.gray_patch, random_gray_patch),
        (settings.blur, random_blur),
    )
    if any(strength for strength, _ in recolored):
        out = out.float()
    for strength, change in (*recolored, (settings.background, random_background)):
        if strength:
            out = change(out, strength, generator)
    if settings.shift or settings.shift_pixels:
        out = random_shift(out, settings.shift, generator, settings.shift_pixels)
    if settings.erase != "none":
        out = random_erase(
            out, settings.erase_probability, settings.erase, generator, settings.erase_area, settings.erase_fill
        )
    if settings.flip:
        out = random_flip(out, settings.flip, generator)
    return normalize(out)


def random_flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror each image of (B, 3, H, W), of any type, left to right with the given probability."""
    flip = _uniform(images, generator, len(images)) < probability
    return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


def random_erase(
    images: Tensor,
    probability: float,
    placement: Erase,
    generator: torch.Generator,
    area: tuple[float, float] = ERASE_AREA,
    fill: EraseFill = "color",
) -> Tensor:
    """Paste a patch over each image with the given probability.

    Source: Zhong et al., AAAI 2020 (random erasing, 2017), with aspect 0.3 to 1/0.3. An image for which ten draws of
    area and aspect give no patch that fits is left as it is.

    Args:
        images: (B, 3, H, W), 0 to 255, of any type.
        probability: how often an image is erased.
        placement: ``"correct"`` or ``"authors"``, see :class:`Augment`.
        generator: source of all choices.
        area: smallest and largest patch, as shares of the image.
        fill: what the patch is made of, see :class:`Augment`.
    """
    b, _, height, width = images.shape
    inside = _patches(images, probability, generator, area, free=placement == "correct")
    if fill == "mean":
        patch = (torch.tensor(IMAGENET_MEAN, device=images.device) * 255).round().view(1, 3, 1, 1).to(images.dtype)
    else:
        size = (height, width) if fill == "pixels" else (1, 1)
        levels = _uniform(images, generator, b, 3 * size[0] * size[1])
        patch = (levels * 256).floor().view(b, 3, *size).to(images.dtype)
    return torch.where(inside, patch, images)


def _patches(
    images: Tensor, probability: float, generator: torch.Generator, area: tuple[float, float], free: bool
) -> Tensor:
    """(B, 1, H, W): the pixels of each image's patch, if it has one; where it is not ``free`` it begins at its size."""
    b, _, height, width = images.shape
    fire = _uniform(images, generator, b) < probability
    pixels = height * width * (area[0] + (area[1] - area[0]) * _uniform(images, generator, b, ERASE_TRIES))
    aspect = ERASE_ASPECT + (1 / ERASE_ASPECT - ERASE_ASPECT) * _uniform(images, generator, b, ERASE_TRIES)
    h = (pixels * aspect).sqrt().round()
    w = (pixels / aspect).sqrt().round()
    fits = (h < height) & (w < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    h, w = h.gather(1, first).squeeze(1), w.gather(1, first).squeeze(1)
    fire = fire & fits.any(dim=1)
    top, left = h, w
    if free:
        top = (_uniform(images, generator, b) * (height - h + 1)).floor()
        left = (_uniform(images, generator, b) * (width - w + 1)).floor()
    inside = _between(height, top, h, images).unsqueeze(2) & _between(width, left, w, images).unsqueeze(1)
    return (inside & fire.view(b, 1, 1)).unsqueeze(1)


def _between(size: int, start: Tensor, length: Tensor, like: Tensor) -> Tensor:
    """(B, size): whether each place lies in [start, start + length)."""
    place = torch.arange(size, device=like.device).unsqueeze(0)
    return (place >= start.unsqueeze(1)) & (place < (start + length).unsqueeze(1))


def random_shift(images: Tensor, share: float, generator: torch.Generator, pixels: int = 0) -> Tensor:
    """Shift each image of (B, 3, H, W) by up to ``share`` of its sides and ``pixels``; what comes in is black."""
    b, _, height, width = images.shape
    dy, dx = round(share * height) + pixels, round(share * width) + pixels
    padded = pad(images, (dx, dx, dy, dy))
    y = (_uniform(images, generator, b) * (2 * dy + 1)).long()
    x = (_uniform(images, generator, b) * (2 * dx + 1)).long()
    if images.device.type == "cpu":
        # Copies of whole rows; an index for every pixel takes many times as long.
        places = zip(padded.permute(0, 2, 3, 1), y.tolist(), x.tolist(), strict=True)
        moved = [image[top : top + height, left : left + width] for image, top, left in places]
        return torch.stack(moved).permute(0, 3, 1, 2)
    rows = (y.unsqueeze(1) + torch.arange(height, device=images.device)).view(b, height, 1)
    columns = (x.unsqueeze(1) + torch.arange(width, device=images.device)).view(b, 1, width)
    batch = torch.arange(b, device=images.device).view(b, 1, 1)
    return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def random_jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of each image by a factor within 1 +- ``strength``."""
    b = len(images)
    factors = 1 + strength * (2 * _uniform(images, generator, 3, b, dim=1) - 1)
    brightness, contrast, saturation = factors.view(3, b, 1, 1, 1).unbind(0)
    out = images * brightness
    mean = out.mean(dim=(1, 2, 3), keepdim=True)
    out = mean + (out - mean) * contrast
    gray = out.mean(dim=1, keepdim=True)
    return (gray + (out - gray) * saturation).clamp_(0, 255)


def random_tint(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each color channel of each image by a factor of its own within 1 +- ``strength``."""
    factors = 1 + strength * (2 * _uniform(images, generator, len(images), 3, 1, 1) - 1)
    return (images * factors).clamp_(0, 255)


def random_gray(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Replace all three channels of an image by their weighted mean (ITU-R BT.601) with the given probability."""
    gray = _uniform(images, generator, len(images)) < probability
    return torch.where(gray.view(-1, 1, 1, 1), _without_color(images), images)


def random_gray_patch(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Take the color out of a patch of each image with the given probability.

    Source: Gong et al., "Eliminate deviation with deviation for data augmentation and a general multi-modal data
    learning method", 2021 (local grayscale patches); 2 to 40 % of the image, aspect 0.3 to 1/0.3, as random erasing.
    """
    inside = _patches(images, probability, generator, GRAY_AREA, free=True)
    return torch.where(inside, _without_color(images), images)


def _without_color(images: Tensor) -> Tensor:
    """(B, 1, H, W) weighted means of the channels (ITU-R BT.601)."""
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)


def random_blur(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Blur an image with the given probability by a Gaussian of 0.4 to 1.6 pixels, cut at 3 pixels."""
    fire = _uniform(images, generator, len(images)) < probability
    low, high = BLUR_PIXELS
    sigma = (low + (high - low) * _uniform(images, generator, len(images), 1))[fire]
    place = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=images.device)
    taps = torch.exp(-(place**2) / (2 * sigma**2))
    taps = (taps / taps.sum(dim=1, keepdim=True)).T.view(len(place), -1, 1, 1, 1)
    out = images.clone()
    out[fire] = _weighted_shifts(_weighted_shifts(images[fire], taps, 2), taps, 3)
    return out


def random_background(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Put each person of (B, 3, H, W) before the background of another of these images with the given probability.

    A batch that is divided among processes takes backgrounds from its own part.
    """
    b = len(images)
    fire = _uniform(images, generator, b) < probability
    away = 1 + (_uniform(images, generator, b) * (b - 1)).long()
    other = (torch.arange(b, device=images.device) + away) % b
    out = images.to(torch.float32, copy=True)
    out[fire] = change_backgrounds(out[fire], out[other[fire]])
    return out


def _weighted_shifts(images: Tensor, taps: Tensor, dim: int) -> Tensor:
    """The sum of the images shifted along one side by each place of the taps, edges repeated."""
    reach, size = len(taps) // 2, images.shape[dim]
    sides = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
    padded = pad(images, sides, mode="replicate") if len(images) else images
    out = torch.zeros_like(images)
    for shift, tap in enumerate(taps) if len(images) else ():
        out += tap * padded.narrow(dim, shift, size)
    return out


class PartGenerator(torch.Generator):
    """Random numbers for some images of a batch, drawn for all of it: an image gets its own however a batch is divided.

    Attributes:
        total: images of the whole batch.
        start: place of the first of these images.
    """

    total: int
    start: int

    @classmethod
    def of(cls, device: torch.device, total: int, start: int) -> Self:
        """For images on a device."""
        made = cls(device)
        made.total, made.start = total, start
        return made


def _uniform(like: Tensor, generator: torch.Generator, *shape: int, dim: int = 0) -> Tensor:
    """Uniform numbers from 0 to 1; the images stand along ``dim``."""
    if not isinstance(generator, PartGenerator):
        return torch.rand(shape, generator=generator, device=like.device)
    whole = [*shape[:dim], generator.total, *shape[dim + 1 :]]
    drawn = torch.rand(whole, generator=generator, device=like.device)
    return drawn.narrow(dim, generator.start, shape[dim])
