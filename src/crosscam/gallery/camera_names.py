"""Names of the cameras of a gallery: one document, from number to name, of cameras that have entries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from crosscam.data.labels import read_label, same_spelling
from crosscam.errors import ArgumentError
from crosscam.system.text import did_you_mean

if TYPE_CHECKING:
    from crosscam.gallery.entries import NewEntry

DOCUMENT = "cameras"
LONGEST_NAME = 200
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read_names(document: Any) -> dict[int, str]:
    """Names by camera from the gallery's document; what has another form is left out."""
    found = document if isinstance(document, dict) else {}
    kept = {int(k): v for k, v in found.items() if isinstance(v, str) and k.removeprefix("-").isdecimal()}
    names = {camid: same_spelling(name) for camid, name in kept.items()}
    # Earlier versions kept two spellings of one name apart.
    return names if len(set(names.values())) == len(names) else kept


def as_document(names: Mapping[int, str]) -> dict[str, str] | None:
    """For the gallery; None, which removes the document, without a name."""
    return {str(camid): names[camid] for camid in sorted(names)} or None


def with_new(names: Mapping[int, str], entries: Iterable[NewEntry]) -> dict[int, str]:
    """The names, and those that new entries bring.

    Raises:
        ValueError: a camera that has another name already, or a name that another camera has.
    """
    return renamed(
        names, dict.fromkeys((int(e.camid), same_spelling(e.camera)) for e in entries if e.camera), replace=False
    )


def renamed(names: Mapping[int, str], new: Iterable[tuple[int, str | None]], *, replace: bool = True) -> dict[int, str]:
    """The names after some cameras got others; None takes a name away.

    Raises:
        ValueError: a name that is none (empty, a number), that another camera has, or, without ``replace``, a camera
            that has another name already.
    """
    after = dict(names)
    for camid, name in new:
        if name is None:
            after.pop(camid, None)
            continue
        check_name(name)
        if not replace and after.get(camid, name) != name:
            raise ArgumentError(f"Camera {camid} is called {after[camid]!r} in this gallery, and {name!r} here.")
        after[camid] = name
    numbers: dict[str, int] = {}
    for camid, name in after.items():
        if numbers.setdefault(name, camid) != camid:
            raise ArgumentError(
                f"Cameras {numbers[name]} and {camid} would both be called {name!r}. Give another name."
            )
    return after


def check_name(name: str) -> None:
    """Refuse a name that no camera can have.

    Raises:
        ValueError: it is empty, too long, of several lines, or a number, which stands for the camera of that number.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        raise ArgumentError(f"{name!r} is not a valid camera name. Expected a text of 1 to {LONGEST_NAME} characters.")
    if _CONTROL.search(name):
        raise ArgumentError(f"{name!r} is not a valid camera name: it has a line break or another control character.")
    try:
        number = isinstance(read_label(name), int)
    except ArgumentError as error:  # "nan", "null"
        raise ArgumentError(f"{name!r} is not a valid camera name: {error}.") from error
    if number:
        raise ArgumentError(f"{name!r} is a number, not a camera name. Give it as the camera's number.")


def check_label(camera: str) -> int | str:
    """The number that a text spells, or the camera's name.

    Raises:
        ValueError: a name that no camera can have.
    """
    label = read_label(camera) if camera.strip().lstrip("+-").isdecimal() else same_spelling(camera)
    if isinstance(label, str):
        check_name(label)
    return label


def camid_of(names: Mapping[int, str], wanted: str) -> int:
    """The number of a camera that the user gives by name or by number.

    Raises:
        ValueError: no camera has this name.
    """
    for camid, name in names.items():
        if name in (wanted, same_spelling(wanted)):
            return camid
    try:
        label = read_label(wanted)
    except ArgumentError as error:
        raise ArgumentError(f"{wanted!r} is not a valid camera: {error}.") from error
    if isinstance(label, int):
        return label
    known = sorted(names.values())
    near = did_you_mean(wanted, known)
    said = f"Known by name: {', '.join(known)}." if known else "Its cameras have numbers only."
    raise ArgumentError(f"No camera is called {wanted!r} in this gallery. {near}{said}")
