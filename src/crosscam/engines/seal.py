"""A digest within an exported file, of all its bytes but the digest's own: a flipped bit gives other descriptors."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from crosscam.errors import EngineError

NAME = "digest"
UNSEALED = "0" * 64
# As ONNX and OpenVINO hold a named text; both leave texts as they are.
_PLACE = re.compile(rb'digest(?:\x12\x40| value=")([0-9a-f]{64})')


def seal(path: Path) -> None:
    """Write the digest into a file whose card holds :data:`UNSEALED` in its place."""
    data = path.read_bytes()
    place = _PLACE.search(data)
    assert place is not None
    start, end = place.span(1)
    path.write_bytes(data[:start] + _digest(path, data, start, end).encode() + data[end:])


def is_sealed(path: Path) -> bool | None:
    """Whether a file is what was written; None for files of earlier versions, which have no digest.

    Of an .xml, the .bin beside it counts: the two may also be of different exports.
    """
    data = path.read_bytes()
    place = _PLACE.search(data)
    if place is None:
        return None
    return place[1].decode() == _digest(path, data, *place.span(1))


def refuse_changed(path: Path) -> None:
    """Refuse a file that is not what was written.

    Raises:
        EngineError: it was damaged, or its .bin is of another export.
    """
    try:
        sealed = is_sealed(path)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be opened ({error.strerror or error}). Export it again, or copy the file again."
        ) from error
    if sealed is False:
        beside = f" together with its {path.with_suffix('.bin').name}" if path.suffix.lower() == ".xml" else ""
        raise EngineError(
            f"{path} is damaged: its bytes are not those that were written. Export it again, or copy it again{beside}."
        )


def _digest(path: Path, data: bytes, start: int, end: int) -> str:
    digest = hashlib.sha256(data[:start])
    digest.update(data[end:])
    if path.suffix.lower() == ".xml":
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest()
