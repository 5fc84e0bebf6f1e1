"""The largest sizes that a recipe may ask for: above them a training would fill the memory before its first step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# By setting, or by group; the first that fits counts.
_MOST = {
    "data.height": 4096,
    "data.width": 4096,
    "data.small": 4096,
    "data.augment.shift_pixels": 4096,
    "distill.unlabelled_images": 65_536,
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


def too_large(settings: Mapping[str, Any]) -> str | None:
    """One sentence on the first setting that is absurdly large; None if all fit.

    Args:
        settings: all settings of a recipe by dotted name.
    """
    for name, value in settings.items():
        most = next(limit for start, limit in _MOST.items() if name.startswith(start))
        for number in _sizes(name, value):
            if number > most:
                return f"{name}={_short(value)}: expected at most {most:,}."
    for batch in (
        {"data.batch_ids": settings["data.batch_ids"], "data.batch_images": settings["data.batch_images"]},
        {"evaluation.batch_size": settings["evaluation.batch_size"]},
    ):
        sizes = batch | {name: settings[name] for name in ("data.height", "data.width")}
        pixels = 1
        for value in sizes.values():
            pixels *= value
        if pixels > MOST_BATCH_PIXELS:
            stated = ", ".join(f"{name}={value}" for name, value in sizes.items())
            return f"{stated}: a batch of {pixels:,} pixels. Expected at most {MOST_BATCH_PIXELS:,}; lower one of them."
    return None


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
