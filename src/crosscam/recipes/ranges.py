"""Which numbers the settings of a recipe take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crosscam.errors import RecipeError
from crosscam.recipes.choices import ADAPT_RANGES

_SHARES = (
    *(f"data.augment.{name}" for name in ("flip", "erase_probability", "shift", "jitter", "tint", "gray")),
    *(f"data.augment.{name}" for name in ("gray_patch", "blur", "background")),
    *("data.small_until", "loss.center_rate", "schedule.gamma", "schedule.warmup_start", "schedule.floor"),
)
_NOT_NEGATIVE = (
    *("data.augment.shift_pixels", "loss.margin", "loss.cross_entropy_weight", "loss.center_weight"),
    *("distill.similarity", "distill.mapping", "distill.unlabeled_images", "optim.weight_decay"),
    *("schedule.warmup_epochs", "schedule.constant_epochs", "train.seed", "train.frozen_stages"),
    *("train.swa_epochs", "train.checkpoint_steps", "evaluation.every"),
)
_AT_LEAST_ONE = ("data.batch_images", "train.epochs", "train.accumulate", "evaluation.batch_size")
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_SHARES, (0, 1)),
    **dict.fromkeys(_NOT_NEGATIVE, (0, math.inf)),
    **dict.fromkeys(_AT_LEAST_ONE, (1, math.inf)),
    # A triplet needs two identities in a batch.
    "data.batch_ids": (2, math.inf),
    "loss.softmax_margin": (0, 1.5),
    **ADAPT_RANGES,
}
_POSITIVE = ("optim.lr_backbone", "optim.lr_head", "optim.clip_norm", "loss.softmax_scale")
_BELOW_ONE = ("loss.label_smoothing", "optim.momentum", "optim.betas", "train.ema")
# By setting, or by group; the first that fits counts.
_MOST = {
    "data.height": 4096,
    "data.width": 4096,
    "data.small": 4096,
    "distill.unlabeled_images": 65_536,
    "data.batch_ids": 65_536,
    "data.batch_images": 65_536,
    "evaluation.batch_size": 65_536,
    "train.accumulate": 65_536,
    "train.epochs": 100_000,
    "train.seed": 2**63 - 1,
    "model.": 16_384,
    "": 2**31,
}
MOST_BATCH_PIXELS = 2**28


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse (RecipeError) the first of all settings, by dotted name, whose numbers lie outside what it takes."""
    for name, value in values.items():
        if name in _RANGES and value is not None:
            low, high = _RANGES[name]
            if not low <= value <= high:
                limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                raise RecipeError(f"{name}={value}: expected {limits}.")
        if name in _POSITIVE and value is not None and not value > 0:
            raise RecipeError(f"{name}={value} must be greater than 0.")
        if name in _BELOW_ONE and not all(0 <= v < 1 for v in (value if isinstance(value, tuple) else (value,))):
            raise RecipeError(f"{name}={value} must lie in [0, 1).")
    milestones = values.get("schedule.milestones", ())
    if list(milestones) != sorted(set(milestones)):
        raise RecipeError(f"schedule.milestones={milestones}: give rising epochs.")
    _check_sizes(values)


def _check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse (RecipeError) the first setting that is absurdly large, or batches that are."""
    for name, value in settings.items():
        most = next(limit for start, limit in _MOST.items() if name.startswith(start))
        for number in _sizes(name, value):
            if number > most:
                raise RecipeError(f"{name}={_short(value)}: expected at most {most:,}.")
    for batch in (
        {"data.batch_ids": settings["data.batch_ids"], "data.batch_images": settings["data.batch_images"]},
        {"evaluation.batch_size": settings["evaluation.batch_size"]},
    ):
        sizes = batch | {name: settings[name] for name in ("data.height", "data.width")}
        pixels = math.prod(sizes.values())
        if pixels > MOST_BATCH_PIXELS:
            stated = ", ".join(f"{name}={value}" for name, value in sizes.items())
            raise RecipeError(
                f"{stated}: a batch of {pixels:,} pixels. Expected at most {MOST_BATCH_PIXELS:,}; lower one of them."
            )


def _sizes(name: str, value: Any) -> Iterator[int]:
    """The whole numbers of a setting: its own, its items', or those in the description of a backbone."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _sizes(name, item)
    elif isinstance(value, int):
        yield value
    elif name == "model.backbone" and isinstance(value, str) and ":" in value:
        # Nine digits say enough, and Python refuses to read thousands.
        yield from (int(digits[:9]) for digits in re.findall(r"[0-9]+", value))


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
