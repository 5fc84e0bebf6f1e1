"""The camera of images as the user states it: a number for all, or a pattern that finds it in their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.labels import label_names, numbered, read_label, whole_number
from crosscam.errors import ArgumentError, DataError

CamidRule = int | str | None


def camids_by_rule(paths: Sequence[Path], rule: CamidRule, where: Path, notes: list[str]) -> list[int]:
    """Camera of each image as the user states it.

    Args:
        paths: the images.
        where: what lacks the cameras, for the message.
        notes: gets a sentence where cameras have names.
        rule: a number if one camera took all images, or a regular expression whose one group finds the camera in the
            file name; with a slash in it, in the path below ``where``, which begins with a slash.
    Raises:
        DataError: no rule, or a file name without a match.
        ValueError: not a regular expression with exactly one group.
    """
    if rule is None:
        raise DataError(
            f"{where} does not say which camera took an image. State it: camids=0 (--camids 0) if one camera took all, "
            "a regular expression with one group over the file name, such as camids='_c([0-9]+)', or, in a table, a "
            "column camid."
        )
    if not isinstance(rule, str):
        return [whole_number(rule, "camids")] * len(paths)
    if rule.strip().lstrip("+-").replace(".", "0").isdecimal():  # a number, as a command line gives it
        label = read_label(rule)
        if isinstance(label, str):
            raise ArgumentError(
                f"camids={rule!r}: expected a whole number of at most 63 bits, or a regular expression."
            )
        return [label] * len(paths)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ArgumentError(f"camids={rule!r} is not a regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ArgumentError(f"camids={rule!r} has {pattern.groups} groups. Expected one, around the camera.")
    found = [match[1] if (match := pattern.search(_searched(path, rule, where))) else None for path in paths]
    lost = [path for path, camera in zip(paths, found, strict=True) if camera is None]
    if lost:
        what = "paths" if "/" in rule else "file names"
        raise DataError(
            f"camids={rule!r} finds no camera in {len(lost):,} of {len(paths):,} {what}, such as "
            f"{_searched(lost[0], rule, where)}."
        )
    return numbered([camera or "" for camera in found], "cameras", notes, lambda place: str(paths[place]))


def names_by_rule(paths: Sequence[Path], rule: CamidRule, camids: Sequence[int], where: Path) -> dict[int, str]:
    """Names of the cameras that :func:`camids_by_rule` numbered, by number; none where they are numbers."""
    if not isinstance(rule, str) or re.compile(rule).groups != 1:
        return {}
    found = [match[1] if (match := re.search(rule, _searched(path, rule, where))) else "" for path in paths]
    return label_names(found, camids)


def _searched(path: Path, rule: str, where: Path) -> str:
    """What a rule looks at: the file's name, or, where the rule has a slash, the path below the source."""
    if "/" not in rule:
        return path.name
    folder = where if where.is_dir() else where.parent
    return f"/{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else path.as_posix()
