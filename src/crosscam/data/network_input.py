"""What a network takes, in one line of words: color order, size, scale and resize, such as "rgb 256x128 imagenet"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD, RESIZES, Resize, resize_bytes
from crosscam.errors import ArgumentError

Order = Literal["rgb", "bgr"]
Scale = Literal["255", "1", "imagenet"]
ORDERS: tuple[Order, ...] = ("rgb", "bgr")
SCALES: tuple[Scale, ...] = ("255", "1", "imagenet")
MOST_PIXELS = 4096
_PLAIN_MEAN, _PLAIN_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class NetworkInput:
    """The declared input of a network.

    Attributes:
        order: of the channels.
        height, width: in pixels.
        scale: ``"255"`` (0 to 255), ``"1"`` (0 to 1) or ``"imagenet"`` (0 to 1, ImageNet's mean and deviation taken
            out).
        mean, std: further taken out of and divided from the scaled channels, in the network's order of channels.
        resize: how images are brought to the size, see :mod:`crosscam.data.resizing`.
    """

    order: Order
    height: int
    width: int
    scale: Scale
    mean: tuple[float, ...] = _PLAIN_MEAN
    std: tuple[float, ...] = _PLAIN_STD
    resize: Resize = "bilinear"

    @classmethod
    def parse(cls, text: str) -> NetworkInput:
        """From words such as ``"bgr 256x128 255"`` or ``"rgb 256x128 1 mean=0.5 std=0.5 bicubic"``.

        Raises:
            ArgumentError: not of that form.
        """
        words = text.lower().split()
        size = _size(words[1]) if len(words) > 2 else None
        further = _further(words[3:])
        if size is None or words[0] not in ORDERS or words[2] not in SCALES or further is None:
            raise _refused(text)
        mean, std, resize = further
        if words[2] == "imagenet" and (mean or std):
            raise _refused(text)
        _check_range(text, words[2], mean or _PLAIN_MEAN, std or _PLAIN_STD)
        return cls(words[0], *size, words[2], mean or _PLAIN_MEAN, std or _PLAIN_STD, resize or "bilinear")

    def __str__(self) -> str:
        words = [self.order, f"{self.height}x{self.width}", self.scale]
        words += [f"mean={_joined(self.mean)}"] * (self.mean != _PLAIN_MEAN)
        words += [f"std={_joined(self.std)}"] * (self.std != _PLAIN_STD)
        return " ".join(words + [self.resize] * (self.resize != "bilinear"))

    def sized(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB of any size -> (B, 3, height, width) uint8 RGB."""
        return resize_bytes(images, self.height, self.width, self.resize).permute(0, 3, 1, 2)

    def scaled(self, planes: Tensor) -> Tensor:
        """(B, 3, height, width) uint8 RGB -> float32 of that shape as the network takes it, contiguous."""
        numbers = planes.to(torch.float32)
        if self.scale != "255":
            numbers = numbers / 255
        if self.scale == "imagenet":
            numbers = (numbers - _column(IMAGENET_MEAN, planes)) / _column(IMAGENET_STD, planes)
        if self.order == "bgr":
            numbers = numbers.flip(1)
        if (self.mean, self.std) != (_PLAIN_MEAN, _PLAIN_STD):
            numbers = (numbers - _column(self.mean, planes)) / _column(self.std, planes)
        return numbers.contiguous()


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(3, 1, 1)


def _size(word: str) -> tuple[int, int] | None:
    sides = word.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and side.isascii() and len(side) < 6 for side in sides):
        return None
    height, width = map(int, sides)
    return (height, width) if 0 < height <= MOST_PIXELS and 0 < width <= MOST_PIXELS else None


def _further(words: list[str]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, Resize | None] | None:
    """Mean, deviation and resize as far as they are given; None if a word is none of these, or one comes twice."""
    found: dict[str, tuple[float, ...]] = {}
    resizes = [word for word in words if word in RESIZES]
    for word in words:
        name, sign, value = word.partition("=")
        if word in RESIZES:
            continue
        numbers = _channels(value) if sign and name in ("mean", "std") and name not in found else None
        if numbers is None or (name == "std" and min(numbers) <= 0):
            return None
        found[name] = numbers
    if len(resizes) > 1:
        return None
    return found.get("mean"), found.get("std"), resizes[0] if resizes else None


def _channels(text: str) -> tuple[float, ...] | None:
    """Three numbers, or one for all three channels."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    if len(numbers) not in (1, 3) or not all(math.isfinite(number) for number in numbers):
        return None
    return numbers * 3 if len(numbers) == 1 else numbers


def _joined(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" if float(f"{number:g}") == number else repr(number) for number in numbers)


def _check_range(text: str, scale: Scale, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse (ArgumentError) a mean and a deviation that are of another scale, which nothing else would tell of."""
    white = 255 if scale == "255" else 1
    if not 0 <= min(mean) <= max(mean) <= white:
        raise ArgumentError(f"Input {text[:100]!r}: mean is {_joined(mean)}, and scale {scale} runs from 0 to {white}.")
    if scale == "255" and min(std) < 1:
        raise ArgumentError(
            f"Input {text[:100]!r}: std is {_joined(std)}, which is for images from 0 to 1, and scale 255 runs to 255."
        )


def _refused(text: str) -> ArgumentError:
    return ArgumentError(
        f"Input {text[:100]!r}: expected color order, height x width and scale, for example 'bgr 256x128 255' or "
        f"'rgb 256x128 imagenet'; scales: {', '.join(SCALES)}. With scale 255 or 1 may follow mean=0.5 and std=0.5 (or "
        f"three numbers with commas); and the resize: {', '.join(RESIZES)}."
    )
